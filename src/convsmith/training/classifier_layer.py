"""The classifier of a net: its last layer with weights, which optimizers and standardization treat apart."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from convsmith.modules.state import BufferSnapshot
from convsmith.system.rng import own_random_state
from convsmith.training.modes import eval_mode


def classifier_of(net: nn.Module, images_NCHW: Tensor) -> nn.Module | None:  # noqa: N803 - shape suffix
    """Return the convolution or linear layer that runs last; None if none runs. The net is unchanged.

    Example:
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc, self.conv = nn.Linear(4, 10), nn.Conv2d(1, 4, 3)
        ...     def forward(self, images):
        ...         return self.fc(self.conv(images).mean((2, 3)))
        >>> classifier_of(Net(), torch.zeros(2, 1, 8, 8))
        Linear(in_features=4, out_features=10, bias=True)
    """
    weighted = _weighted_layers(net)
    calls = [layer for layer in calls_of(net, images_NCHW, weighted) if layer in weighted]
    return calls[-1] if calls else None


@torch.no_grad()
def calls_of(
    net: nn.Module,
    images_NCHW: Tensor,  # noqa: N803 - shape suffix
    layers: Iterable[nn.Module],
) -> list[nn.Module]:
    """Return layers in the order of their calls in a forward pass in evaluation. The net is unchanged.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
        >>> calls_of(net, torch.zeros(1, 1, 8, 8), [net[2], net[0]]) == [net[0], net[2]]
        True
    """
    calls: list[nn.Module] = []

    def note(layer: nn.Module, _: object) -> None:
        calls.append(layer)

    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    snapshot = BufferSnapshot([net])
    try:
        with own_random_state(images_NCHW.device), eval_mode(net):
            net(images_NCHW)
    finally:
        for handle in handles:
            handle.remove()
        snapshot.restore()
    return calls


def hidden_layers(net: nn.Module, classifier: nn.Module | None = None) -> list[nn.Conv2d | nn.Linear]:
    """Return all convolutions and linear layers except the classifier, by default the last one of the net."""
    layers = _weighted_layers(net)
    classifier = classifier or (layers[-1] if layers else None)
    return [layer for layer in layers if layer is not classifier]


def _weighted_layers(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
