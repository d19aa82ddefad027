"""Convolutions whose gradients are right and fast on a CPU, where PyTorch's own are not.

In fp32, PyTorch 2.13 writes past its memory in the backward pass of a 1x1 convolution with a stride over 2 to
6 channels that lie last in memory, on CPUs with AVX2 and without AVX-512. No upstream issue is known. All 1x1
convolutions with a stride are therefore a slice and a 1x1 convolution of stride 1, which computes the same.
The guard can go once `tests/helpers/convolution_sweep.py` finds no bad shape without it on such a CPU.

In bf16, PyTorch 2.13 gets the gradient of dilated filters wrong, often infinite, on maps at least 31 pixels
wide, where a layer is depthwise or its channels are no multiple of 16. It leaves unset what belongs to
columns of a filter that a stride keeps off the image, as at a 3x3 window of stride 2 on maps one pixel wide.
And it is slow at depthwise layers that have a stride, a dilation, or windows larger than 3x3. All are brought
back to what it does well: a depthwise convolution of stride 1, forward, and the gradient of small filters
without dilation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# The largest filters whose gradient PyTorch computes fast where a layer is depthwise, and the channels that
# its fast routines take at once.
_TILE, _LANES = 3, 16


@dataclass(frozen=True)
class _Geometry:
    """Of a convolution with square windows."""

    kernel: int
    stride: int
    padding: int
    dilation: int
    groups: int

    @property
    def reach(self) -> int:
        """From the first pixel under a window to the last."""
        return self.dilation * (self.kernel - 1)

    def columns_seen(self, width: int) -> list[bool]:
        """Of a filter: whether each ever lies on the image, not on its padding alone."""
        places = range(-self.padding, width + self.padding - self.reach, self.stride)
        return [
            any(0 <= left + column * self.dilation < width for left in places)
            for column in range(self.kernel)
        ]

    def is_well_computed(self, channels: tuple[int, int], width: int) -> bool:
        """Whether PyTorch's own gradients are right and fast; `channels` are those of input and output."""
        if self.stride > 1 and not all(self.columns_seen(width)):
            return False
        if self.groups == 1:
            return self.dilation == 1 or not any(each % _LANES for each in channels)
        if self.groups < max(channels):
            return self.dilation == 1
        return self.dilation == self.stride == 1 and self.kernel <= _TILE


def without_stride(arguments: Sequence[Any]) -> list[Any]:
    """The arguments of `functional.conv2d` for a 1x1 convolution, its stride replaced by a slice.

    Args:
        arguments: All seven of `functional.conv2d`, the images `(N, C, H, W)`.

    Returns:
        The arguments as they are for all other convolutions.
    """
    images, filters, bias, stride, padding, dilation, groups = arguments
    is_point = tuple(filters.shape[2:]) == (1, 1)
    if not is_point or tuple(stride) == (1, 1) or isinstance(padding, str) or any(padding):
        return list(arguments)
    sliced = _Slice.apply(images, *stride)  # type: ignore[no-untyped-call]
    return [sliced, filters, bias, (1, 1), padding, dilation, groups]


class _Slice(torch.autograd.Function):
    """Every n-th pixel of every m-th row; unlike PyTorch's slice, its gradient has the channels last."""

    @staticmethod
    def forward(ctx, images: Tensor, rows: int, columns: int) -> Tensor:  # type: ignore[no-untyped-def] # noqa: ANN001
        ctx.shape, ctx.steps = images.shape, (rows, columns)
        return images[:, :, ::rows, ::columns].contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def] # noqa: ANN001
        rows, columns = ctx.steps
        spread = gradient.new_zeros(ctx.shape).contiguous(memory_format=torch.channels_last)
        spread[:, :, ::rows, ::columns] = gradient
        return spread, None, None


def convolved(arguments: Sequence[Any]) -> Tensor | None:
    """A convolution in bf16; None where PyTorch's own does well.

    Args:
        arguments: All seven of `functional.conv2d`, the images `(N, C, H, W)`. Windows that are not square,
            and padding by name, are left to PyTorch.
    """
    images, filters, bias, *numbers, groups = arguments
    pairs = (filters.shape[2:], *numbers)
    if any(isinstance(pair, str) or pair[0] != pair[1] for pair in pairs):
        return None
    kernel, stride, padding, dilation = (pair[0] for pair in pairs)
    geometry = _Geometry(kernel, stride, padding, dilation, groups)
    if geometry.is_well_computed((images.shape[1], len(filters)), images.shape[3]):
        return None
    # In the type that autocast brings convolutions to.
    given = (each if each is None else each.bfloat16() for each in (images, filters, bias))
    made: Tensor = _Convolution.apply(*given, geometry)  # type: ignore[no-untyped-call]
    return made


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images: Tensor, filters: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:  # type: ignore[no-untyped-def] # noqa: ANN001
        ctx.save_for_backward(images, filters)
        ctx.geometry = geometry
        return functional.conv2d(
            images, filters, bias, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def] # noqa: ANN001
        images, filters = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_images, of_filters, of_bias, _ = ctx.needs_input_grad
        return (
            _gradient_of_images(gradient, images, filters, ctx.geometry) if of_images else None,
            _gradient_of_filters(gradient, images, filters, ctx.geometry) if of_filters else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
        )


def _gradient_of_images(gradient: Tensor, images: Tensor, filters: Tensor, geometry: _Geometry) -> Tensor:
    padding = geometry.reach - geometry.padding
    if not _is_depthwise(images, filters, geometry) or padding < 0:
        return _native(gradient, images, filters, geometry, of_images=True)
    gradient = _spread(gradient, images, geometry)
    # Each pixel goes back to where it came from, by the filters upside down.
    turned = filters.flip(2, 3)
    return functional.conv2d(gradient, turned, None, 1, padding, geometry.dilation, geometry.groups)


def _gradient_of_filters(gradient: Tensor, images: Tensor, filters: Tensor, geometry: _Geometry) -> Tensor:
    large = _is_depthwise(images, filters, geometry) and geometry.kernel > _TILE
    if geometry.dilation > 1 or large:
        gradient = _spread(gradient, images, geometry)
        geometry = replace(geometry, stride=1)
    if geometry.dilation > 1:
        gradient, images = _phases(gradient, images, geometry)
        geometry = replace(geometry, padding=0, dilation=1)
    if large:
        return _by_tiles(gradient, images, filters, geometry)
    found = _native(gradient, images, filters, geometry, of_images=False)
    if geometry.stride == 1:
        return found
    seen = found.new_tensor(geometry.columns_seen(images.shape[3]), dtype=torch.bool)
    return found.where(seen, 0)


def _is_depthwise(images: Tensor, filters: Tensor, geometry: _Geometry) -> bool:
    return geometry.groups == images.shape[1] == len(filters)


def _native(
    gradient: Tensor, images: Tensor, filters: Tensor, geometry: _Geometry, *, of_images: bool
) -> Tensor:
    """PyTorch's gradient of the images, or else of the filters."""
    stride, padding, dilation = (
        [each, each] for each in (geometry.stride, geometry.padding, geometry.dilation)
    )
    wanted = [of_images, not of_images, False]
    found: list[Tensor] = torch.ops.aten.convolution_backward(
        gradient, images, filters, None, stride, padding, dilation, False, [0, 0], geometry.groups, wanted
    )
    return found[0 if of_images else 1]


def _spread(gradient: Tensor, images: Tensor, geometry: _Geometry) -> Tensor:
    """The gradient of the same convolution with stride 1: zero where the strides do not come."""
    if geometry.stride == 1:
        return gradient
    height, width = (length + 2 * geometry.padding - geometry.reach for length in images.shape[2:])
    shape = (*gradient.shape[:2], height, width)
    spread = gradient.new_zeros(shape).contiguous(memory_format=torch.channels_last)
    spread[:, :, :: geometry.stride, :: geometry.stride] = gradient
    return spread


def _phases(gradient: Tensor, images: Tensor, geometry: _Geometry) -> tuple[Tensor, Tensor]:
    """Every d-th pixel of every d-th row, from each of the d x d first ones, as small images of their own.

    A filter with dilation d sees pixels of one of them only, side by side. The new images have their padding.
    """
    dilation, before = geometry.dilation, geometry.padding
    missing = [-length % dilation for length in gradient.shape[2:]]
    after = [
        more + length + geometry.reach - known - before
        for more, length, known in zip(missing, gradient.shape[2:], images.shape[2:], strict=True)
    ]
    gradient = functional.pad(gradient, (0, missing[1], 0, missing[0]))
    images = functional.pad(images, (before, after[1], before, after[0]))
    return _taken_apart(gradient, dilation), _taken_apart(images, dilation)


def _taken_apart(images: Tensor, step: int) -> Tensor:
    """From `(N, C, H, W)` to `(step * step * N, C, H / step, W / step)`."""
    count, channels, height, width = images.shape
    by_place = images.permute(0, 2, 3, 1).reshape(count, height // step, step, width // step, step, channels)
    apart = by_place.permute(2, 4, 0, 1, 3, 5).reshape(-1, height // step, width // step, channels)
    return apart.permute(0, 3, 1, 2)


def _by_tiles(gradient: Tensor, images: Tensor, filters: Tensor, geometry: _Geometry) -> Tensor:
    """The gradient of large filters, from those of 3x3 filters that see the images from further on."""
    kernel, padding, (height, width) = geometry.kernel, geometry.padding, gradient.shape[2:]
    places = range(0, kernel, _TILE)
    beyond = padding + len(places) * _TILE - kernel
    images = functional.pad(images, (padding, beyond, padding, beyond))
    small = filters.new_empty(len(filters), 1, _TILE, _TILE)
    plain = _Geometry(_TILE, 1, 0, 1, geometry.groups)
    rows = []
    for top in places:
        tiles = []
        for left in places:
            seen = images[:, :, top : top + height + _TILE - 1, left : left + width + _TILE - 1]
            seen = seen.contiguous(memory_format=torch.channels_last)
            tiles.append(_native(gradient, seen, small, plain, of_images=False))
        rows.append(torch.cat(tiles, 3))
    return torch.cat(rows, 2)[:, :, :kernel, :kernel]
