"""The classifier of a net: its last layer with weights, which optimizers and standardization treat apart."""

import torch
from torch import Tensor, nn

from convsmith.modules.state import BufferSnapshot
from convsmith.system.rng import own_random_state
from convsmith.training.modes import eval_mode


@torch.no_grad()
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
    last: list[nn.Module] = []

    def note(layer: nn.Module, _: object) -> None:
        last[:] = [layer]

    handles = [layer.register_forward_pre_hook(note) for layer in _weighted_layers(net)]
    snapshot = BufferSnapshot([net])
    try:
        with own_random_state(images_NCHW.device), eval_mode(net):
            net(images_NCHW)
    finally:
        for handle in handles:
            handle.remove()
        snapshot.restore()
    return last[0] if last else None


def hidden_layers(net: nn.Module, classifier: nn.Module | None = None) -> list[nn.Conv2d | nn.Linear]:
    """Return all convolutions and linear layers except the classifier, by default the last one of the net."""
    layers = _weighted_layers(net)
    classifier = classifier or (layers[-1] if layers else None)
    return [layer for layer in layers if layer is not classifier]


def _weighted_layers(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
