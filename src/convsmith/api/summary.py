"""The numbers of a network."""

from typing import TYPE_CHECKING

from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.settings import NetSettings

if TYPE_CHECKING:
    from torch import nn


def summary(
    net: "str | nn.Module", input_shape: tuple[int, ...], settings: NetSettings | None = None
) -> Analysis:
    """Work out the numbers of a net: of the notation by arithmetic, without torch; of a module by tracing it.

    Args:
        net: In the notation, or any `torch.nn.Module`, which is left exactly as it was.
        input_shape: `(C, H, W)` of one image.
        settings: Bias, norm, activation, dropout, ... of a net in the notation; the defaults where left out.

    Raises:
        NotationError: The notation cannot be read.
        ShapeError: The layers do not fit.
        ModuleError: The module's forward pass fails, or branches on the values of the image.

    Example:
        >>> import convsmith as cs
        >>> facts = cs.summary("C16 C16:s2 / G F10", (3, 32, 32))
        >>> facts.parameters, facts.receptive_field
        (2970, 5)
        >>> from torch import nn
        >>> cs.summary(nn.Conv2d(3, 8, 5), (3, 32, 32)).macs
        470400
    """
    if isinstance(net, str):
        return analyze_notation(net, input_shape, settings)
    from convsmith.tracing.trace import trace

    return trace(net, input_shape)
