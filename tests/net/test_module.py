"""From plan to PyTorch module: residuals and initial weights."""

import pytest
import torch
from torch import nn

from convsmith.net.module import Residual, build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings


def test_residual_adds_its_projected_input() -> None:
    planned = plan(parse("+(C8:s2) / G F2"), (3, 9, 9), NetSettings(norm="none", activation="none"))
    net = build(planned)
    residual = net.get_submodule("block1.residual1")
    assert isinstance(residual, Residual)
    image = torch.randn(2, 3, 9, 9)
    expected = residual.body(image) + residual.projection(image)
    assert torch.equal(residual(image), expected)
    (projection,) = residual.projection
    assert isinstance(projection, nn.Conv2d)
    assert (projection.kernel_size, projection.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize("init", ["default", "kaiming-normal", "kaiming-uniform", "orthogonal"])
def test_initial_weights_follow_the_generator(init: str) -> None:
    planned = plan(parse("C8 C8 / G F10"), (3, 8, 8), NetSettings.model_validate({"init": init}))
    before = torch.random.get_rng_state()
    first, second, other = (
        build(planned, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    name = "block1.conv2.weight"
    weights = [net.state_dict()[name] for net in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_kaiming_normal_keeps_the_variance() -> None:
    planned = plan(parse("C256 C256 / G F10"), (3, 8, 8), NetSettings(init="kaiming-normal", norm="none"))
    weight = build(planned, generator=torch.Generator().manual_seed(0)).state_dict()["block1.conv2.weight"]
    # He et al., arXiv 1502.01852: variance 2 / fan in.
    assert weight.var().item() == pytest.approx(2 / (256 * 9), rel=0.02)


def test_gain_scales_only_weights_before_a_norm() -> None:
    def weights(**values: object) -> dict[str, torch.Tensor]:
        config = NetSettings.model_validate({"init": "kaiming-normal", **values})
        planned = plan(parse("C8 S8 +(C8:s2 C4) / C10 G"), (3, 8, 8), config)
        return build(planned, generator=torch.Generator().manual_seed(1)).state_dict()

    plain, scaled = weights(), weights(init_gain=20.0)
    for name in plain:
        factor = 20 if name.endswith("weight") and "conv" in name and "block2" not in name else 1
        assert torch.equal(scaled[name], plain[name] * factor), name
    assert set(weights(classifier_norm=True)) - set(plain) >= {
        "block2.norm1.weight",
        "block2.norm1.running_mean",
    }
    assert "block2.conv1.bias" not in weights(classifier_norm=True)
    both = weights(classifier_norm=True, init_gain=20.0)["block2.conv1.weight"]
    assert torch.allclose(both, 20 * weights(classifier_norm=True)["block2.conv1.weight"])
