"""Convolutions in bf16 whose windows may miss the map, padded before they are computed.

On CPUs with AVX-512, PyTorch 2.13 ends the process with a segmentation fault in the forward or backward pass
of a convolution in bf16 if a window has no pixel of the map: all its taps lie in the padding, as those of a
dilation that is larger than the map. No upstream issue is known. The result of explicit padding is the same.
Remove this when `tests/system/test_explicit_padding.py` passes without it on such a CPU.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}


class ExplicitPadding(TorchFunctionMode):
    """Pads the maps of convolutions whose windows may miss them.

    Example:
        >>> import torch
        >>> layer = torch.nn.Conv2d(3, 8, 2, padding=2, dilation=4)
        >>> with torch.autocast("cpu", torch.bfloat16), ExplicitPadding():
        ...     layer(torch.ones(1, 3, 2, 35)).shape
        torch.Size([1, 8, 2, 35])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.conv2d:
            values = {**_DEFAULTS, **dict(zip(_NAMES, args, strict=False)), **kwargs}
            return func(*without_misses([values[name] for name in _NAMES]))
        return func(*args, **kwargs)


def without_misses(arguments: Sequence[Any]) -> Sequence[Any]:
    """Return the seven arguments of `functional.conv2d`, with a padded map if a window may miss it."""
    values = dict(zip(_NAMES, arguments, strict=True))
    pads = _pads(values)
    if not _may_miss(values, pads):
        return arguments
    (top, bottom), (left, right) = pads
    maps = functional.pad(values["input"], (left, right, top, bottom))
    return [*({**values, "input": maps, "padding": (0, 0)}[name] for name in _NAMES)]


def _pads(values: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding before and after each axis."""
    padding = values["padding"]
    if padding == "valid":
        padding = 0
    if padding != "same":
        rows, columns = _pair(padding)
        return (rows, rows), (columns, columns)
    dilations = _pair(values["dilation"])
    rows, columns = (
        each * (size - 1) for each, size in zip(dilations, _sizes(values["weight"]), strict=True)
    )
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)


def _may_miss(values: Mapping[str, Any], pads: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    """Whether a window can lie before or after the map, or around it with a dilation larger than the map."""
    axes = zip(
        _sizes(values["input"]), _sizes(values["weight"]), pads, _pair(values["dilation"]), strict=True
    )
    return any(
        any(pad) and (max(pad) > dilation * (kernel - 1) or dilation > size)
        for size, kernel, pad, dilation in axes
    )


def _sizes(tensor: Tensor) -> tuple[int, int]:
    """Return height and width."""
    return tensor.shape[-2], tensor.shape[-1]


def _pair(value: Any) -> tuple[int, int]:
    """Return an argument for both axes."""
    if isinstance(value, int):
        return value, value
    first, *others = value
    return first, others[0] if others else first
