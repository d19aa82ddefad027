"""Training and evaluation mode of a net for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def restored_modes(net: nn.Module) -> Iterator[None]:
    """Restore the mode of every module after the block.

    Example:
        >>> net = nn.Sequential(nn.Dropout())
        >>> with restored_modes(net):
        ...     _ = net.eval()
        >>> net.training, net[0].training
        (True, True)
    """
    modes = [(module, module.training) for module in net.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Set evaluation mode for the block, then restore the mode of every module."""
    with restored_modes(net):
        net.eval()
        yield
