"""Summarize a network: shapes, parameters, MACs, memory and receptive field."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convsmith.errors import ShapeError
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.inputs import Inputs, image_shape, inputs_of
from convsmith.net.settings import NetSettings

if TYPE_CHECKING:
    from torch import nn


def summary(
    net: "str | nn.Module",
    input_shape: Inputs | None = None,
    settings: NetSettings | None = None,
    *,
    args: object = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Analysis:
    """Compute shapes, parameters, MACs, memory and receptive field of a network.

    Notation is analyzed by arithmetic, without torch. A module is traced.

    Args:
        net: Notation, or any `torch.nn.Module`, which is left unchanged.
        input_shape: `(C, H, W)` of one image. For a module with several inputs a list: shapes without the
            batch, or texts as on the command line, such as "16:int64" or "mask=1x32x32".
        settings: Bias, norm, activation, dropout and initialization of a network in notation.
        args: Instead of `input_shape`, the positional arguments of a module's `forward`: tensors with their
            batch, also in lists, dictionaries and dataclasses, and any other values. The numbers are for one
            image if the batch is 1, otherwise for the call.
        kwargs: Its keyword arguments.

    Raises:
        NotationError: The notation is invalid.
        ShapeError: The layers do not fit the input or each other, or the input's shape is invalid.
        ModuleError: The module's forward pass fails, or branches on the values of the image.

    Example:
        >>> import convsmith as cs
        >>> analysis = cs.summary("C16 C16:s2 / G F10", (3, 32, 32))
        >>> analysis.parameters, analysis.receptive_field
        (2970, 5)
        >>> import torch
        >>> cs.summary(torch.nn.Conv2d(3, 8, 5), (3, 32, 32)).macs
        470400
        >>> cs.summary(torch.nn.Bilinear(4, 5, 6), args=(torch.ones(1, 4), torch.ones(1, 5))).parameters
        126
        >>> cs.summary(torch.nn.Embedding(100, 8), ["16:int64"]).parameters
        800
    """
    if not isinstance(net, str):
        from convsmith.tracing.trace import trace

        return trace(net, input_shape, args=args, kwargs=kwargs)
    if input_shape is None:
        raise ShapeError(
            "a net in notation takes the shape of one image",
            where="input_shape",
            fix="for example cs.summary(net, (3, 32, 32))",
        )
    return analyze_notation(net, image_shape(inputs_of(input_shape)), settings)
