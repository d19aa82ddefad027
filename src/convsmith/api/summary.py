"""Summarize a network: shapes, parameters, MACs, memory and receptive field."""

from typing import TYPE_CHECKING

from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.settings import NetSettings

if TYPE_CHECKING:
    from torch import nn


def summary(
    net: "str | nn.Module", input_shape: tuple[int, ...], settings: NetSettings | None = None
) -> Analysis:
    """Compute shapes, parameters, MACs, memory and receptive field of a network.

    Notation is analyzed by arithmetic, without torch. A module is traced.

    Args:
        net: Notation, or any `torch.nn.Module`, which is left unchanged.
        input_shape: `(C, H, W)` of one image.
        settings: Bias, norm, activation, dropout and initialization of a network in notation.

    Raises:
        NotationError: The notation is invalid.
        ShapeError: The layers do not fit the input or each other.
        ModuleError: The module's forward pass fails, or branches on the values of the image.

    Example:
        >>> import convsmith as cs
        >>> analysis = cs.summary("C16 C16:s2 / G F10", (3, 32, 32))
        >>> analysis.parameters, analysis.receptive_field
        (2970, 5)
        >>> from torch import nn
        >>> cs.summary(nn.Conv2d(3, 8, 5), (3, 32, 32)).macs
        470400
    """
    if isinstance(net, str):
        return analyze_notation(net, input_shape, settings)
    from convsmith.tracing.trace import trace

    return trace(net, input_shape)
