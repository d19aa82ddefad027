"""Grad-CAM against the class-activation map of a net with an affine head."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.evaluation.gradient_maps import LEAST_MAP, gradient_maps


class Net(nn.Module):
    """A net whose last layers are functions, but for its convolutions."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.activation = nn.ReLU(inplace=True)
        self.small = nn.AdaptiveAvgPool2d(size)
        self.head = nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.small(self.activation(self.norm(self.first(images))))
        return functional.log_softmax(self.head(maps.mean((2, 3))), dim=1)


def test_maps_are_those_of_the_head_without_its_bias() -> None:
    torch.manual_seed(0)
    conv, head = nn.Conv2d(1, 6, 3), nn.Linear(6, 10)
    net = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    images, classes = torch.randn(5, 1, 10, 10), torch.tensor([3, 1, 4, 1, 5])
    before = {name: each.clone() for name, each in net.state_dict().items()}
    maps = gradient_maps(net, images, classes)
    assert maps is not None
    # Zhou et al.: the sum of the channels, weighted by the weights of the class.
    with torch.no_grad():
        expected = torch.einsum("nchw,nc->nhw", conv(images), head.weight[classes]).relu()
    large = functional.interpolate(expected[:, None], (10, 10), mode="bilinear")[:, 0]
    torch.testing.assert_close(maps, large / large.amax((1, 2), keepdim=True), rtol=1e-4, atol=1e-5)
    assert maps.amax((1, 2)).allclose(torch.ones(5))
    assert all(torch.equal(each, before[name]) for name, each in net.state_dict().items())
    assert all(each.grad is None for each in net.parameters())
    assert not any(each._forward_hooks for each in net.modules())


def test_a_map_that_is_too_small_is_passed_over() -> None:
    torch.manual_seed(0)
    images, classes = torch.randn(3, 1, 12, 12), torch.tensor([0, 1, 2])
    large, small = (Net(size).eval() for size in (LEAST_MAP, LEAST_MAP - 1))
    small.load_state_dict(large.state_dict())
    # The map is that of the pooling, or of the activation before it.
    maps = [gradient_maps(net, images, classes) for net in (large, small)]
    assert all(each is not None and each.shape == (3, 12, 12) for each in maps)
    assert not torch.equal(*maps)  # type: ignore[arg-type]
    assert gradient_maps(Net(1).eval(), images[..., :6, :6], classes) is None


def test_a_net_without_gradients_of_its_own_has_maps() -> None:
    net = Net(6).eval().requires_grad_(False)
    with torch.no_grad():
        assert gradient_maps(net, torch.randn(1, 1, 12, 12), torch.tensor([7])) is not None
