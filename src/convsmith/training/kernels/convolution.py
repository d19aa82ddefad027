"""Convolutions with correct and fast gradients on CPUs.

PyTorch 2.13 has three problems; no upstream issue is known for any of them.

1. In fp32, the backward pass of a 1x1 convolution with a stride writes out of bounds for 2 to 6 channels in
   channels-last format, on CPUs with AVX2 and without AVX-512. `slice_strides` replaces the stride of all 1x1
   convolutions by a slice, with the same result. Remove it when `tests/helpers/convolution_sweep.py
   --unguarded` succeeds on such a CPU.
2. In bf16, gradients are wrong: those of dilated filters, often infinite, on maps at least 31 pixels wide if
   the layer is depthwise or its channels are no multiple of 16; and the gradient of filter columns that never
   overlap the image because of the stride is uninitialized, for example with a 3x3 window of stride 2 on maps
   one pixel wide. Remove this part when `tests/training/kernels/test_backward.py` passes without it on a CPU
   with bf16 instructions.
3. In bf16, depthwise layers with a stride, a dilation, or windows larger than 3x3 are slow. Remove this part
   when `python -m benchmarks backward` shows no gain.

The second and third are reduced to operations that PyTorch computes well: a depthwise convolution of stride
1, and the gradient of small filters without dilation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# The largest depthwise filters whose gradient PyTorch computes fast, and the vector width of its fast kernels
# in channels.
_TILE, _LANES = 3, 16


@dataclass(frozen=True)
class _Geometry:
    """Parameters of a convolution with square windows."""

    kernel: int
    stride: int
    padding: int
    dilation: int
    groups: int

    @property
    def reach(self) -> int:
        """Distance between the first and the last pixel of a window."""
        return self.dilation * (self.kernel - 1)

    def used_columns(self, width: int) -> list[bool]:
        """Return for each column of a filter whether it ever overlaps the image, not just its padding."""
        offsets = range(-self.padding, width + self.padding - self.reach, self.stride)
        return [
            any(0 <= left + column * self.dilation < width for left in offsets)
            for column in range(self.kernel)
        ]

    def is_supported(self, channels: tuple[int, int], width: int) -> bool:
        """Return whether PyTorch's gradients are correct and fast, for channels of input and output."""
        if self.stride > 1 and not all(self.used_columns(width)):
            return False
        if self.groups == 1:
            return self.dilation == 1 or not any(each % _LANES for each in channels)
        if self.groups < max(channels):
            return self.dilation == 1
        return self.dilation == self.stride == 1 and self.kernel <= _TILE


def slice_strides(arguments: Sequence[Any]) -> list[Any]:
    """Replace the stride of a 1x1 convolution by a slice of the images.

    Args:
        arguments: The seven arguments of `functional.conv2d`, with images `(N, C, H, W)`.

    Returns:
        The new arguments; for other convolutions, the same arguments.
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


def convolve_bf16(arguments: Sequence[Any]) -> Tensor | None:
    """Convolve in bf16.

    Args:
        arguments: The seven arguments of `functional.conv2d`, with images `(N, C, H, W)`.

    Returns:
        The output; None if PyTorch's gradients are correct and fast, windows are not square, or the padding
        is a name.
    """
    images, filters, bias, *numbers, groups = arguments
    pairs = (filters.shape[2:], *numbers)
    if any(isinstance(pair, str) or pair[0] != pair[1] for pair in pairs):
        return None
    kernel, stride, padding, dilation = (pair[0] for pair in pairs)
    geometry = _Geometry(kernel, stride, padding, dilation, groups)
    if geometry.is_supported((images.shape[1], len(filters)), images.shape[3]):
        return None
    # Like autocast.
    inputs = (each if each is None else each.bfloat16() for each in (images, filters, bias))
    output: Tensor = _Convolution.apply(*inputs, geometry)  # type: ignore[no-untyped-call]
    return output


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
        needs_images, needs_filters, needs_bias, _ = ctx.needs_input_grad
        return (
            _image_gradient(gradient, images, filters, ctx.geometry) if needs_images else None,
            _filter_gradient(gradient, images, filters, ctx.geometry) if needs_filters else None,
            gradient.sum((0, 2, 3)) if needs_bias else None,
            None,
        )


def _image_gradient(gradient: Tensor, images: Tensor, filters: Tensor, geometry: _Geometry) -> Tensor:
    padding = geometry.reach - geometry.padding
    if not _is_depthwise(images, filters, geometry) or padding < 0:
        return _native(gradient, images, filters, geometry, of_images=True)
    gradient = _spread(gradient, images, geometry)
    # The transposed convolution: a convolution with the flipped filters.
    flipped = filters.flip(2, 3)
    return functional.conv2d(gradient, flipped, None, 1, padding, geometry.dilation, geometry.groups)


def _filter_gradient(gradient: Tensor, images: Tensor, filters: Tensor, geometry: _Geometry) -> Tensor:
    large = _is_depthwise(images, filters, geometry) and geometry.kernel > _TILE
    if geometry.dilation > 1 or large:
        gradient = _spread(gradient, images, geometry)
        geometry = replace(geometry, stride=1)
    if geometry.dilation > 1:
        gradient, images = _phases(gradient, images, geometry)
        geometry = replace(geometry, padding=0, dilation=1)
    if large:
        return _by_tiles(gradient, images, filters, geometry)
    result = _native(gradient, images, filters, geometry, of_images=False)
    if geometry.stride == 1:
        return result
    used = result.new_tensor(geometry.used_columns(images.shape[3]), dtype=torch.bool)
    return result.where(used, 0)


def _is_depthwise(images: Tensor, filters: Tensor, geometry: _Geometry) -> bool:
    return geometry.groups == images.shape[1] == len(filters)


def _native(
    gradient: Tensor, images: Tensor, filters: Tensor, geometry: _Geometry, *, of_images: bool
) -> Tensor:
    """Return PyTorch's gradient of the images or of the filters."""
    stride, padding, dilation = (
        [each, each] for each in (geometry.stride, geometry.padding, geometry.dilation)
    )
    output_mask = [of_images, not of_images, False]
    gradients: list[Tensor] = torch.ops.aten.convolution_backward(
        gradient,
        images,
        filters,
        None,
        stride,
        padding,
        dilation,
        False,
        [0, 0],
        geometry.groups,
        output_mask,
    )
    return gradients[0 if of_images else 1]


def _spread(gradient: Tensor, images: Tensor, geometry: _Geometry) -> Tensor:
    """Return the output gradient of the same convolution with stride 1: zero at skipped positions."""
    if geometry.stride == 1:
        return gradient
    height, width = (length + 2 * geometry.padding - geometry.reach for length in images.shape[2:])
    shape = (*gradient.shape[:2], height, width)
    spread = gradient.new_zeros(shape).contiguous(memory_format=torch.channels_last)
    spread[:, :, :: geometry.stride, :: geometry.stride] = gradient
    return spread


def _phases(gradient: Tensor, images: Tensor, geometry: _Geometry) -> tuple[Tensor, Tensor]:
    """Split images and gradient into the d x d phases of a dilation d, as separate small images.

    A phase has every d-th pixel of every d-th row. A dilated filter covers adjacent pixels of one phase. The
    images returned include their padding.
    """
    dilation, before = geometry.dilation, geometry.padding
    missing = [-length % dilation for length in gradient.shape[2:]]
    after = [
        more + length + geometry.reach - size - before
        for more, length, size in zip(missing, gradient.shape[2:], images.shape[2:], strict=True)
    ]
    gradient = functional.pad(gradient, (0, missing[1], 0, missing[0]))
    images = functional.pad(images, (before, after[1], before, after[0]))
    return _split_phases(gradient, dilation), _split_phases(images, dilation)


def _split_phases(images: Tensor, step: int) -> Tensor:
    """Reshape `(N, C, H, W)` to `(step * step * N, C, H / step, W / step)`."""
    count, channels, height, width = images.shape
    grid = images.permute(0, 2, 3, 1).reshape(count, height // step, step, width // step, step, channels)
    phases = grid.permute(2, 4, 0, 1, 3, 5).reshape(-1, height // step, width // step, channels)
    return phases.permute(0, 3, 1, 2)


def _by_tiles(gradient: Tensor, images: Tensor, filters: Tensor, geometry: _Geometry) -> Tensor:
    """Compose the gradient of large depthwise filters of those of 3x3 filters on shifted images."""
    kernel, padding, (height, width) = geometry.kernel, geometry.padding, gradient.shape[2:]
    offsets = range(0, kernel, _TILE)
    after = padding + len(offsets) * _TILE - kernel
    images = functional.pad(images, (padding, after, padding, after))
    small = filters.new_empty(len(filters), 1, _TILE, _TILE)
    plain = _Geometry(_TILE, 1, 0, 1, geometry.groups)
    rows = []
    for top in offsets:
        tiles = []
        for left in offsets:
            window = images[:, :, top : top + height + _TILE - 1, left : left + width + _TILE - 1]
            window = window.contiguous(memory_format=torch.channels_last)
            tiles.append(_native(gradient, window, small, plain, of_images=False))
        rows.append(torch.cat(tiles, 3))
    return torch.cat(rows, 2)[:, :, :kernel, :kernel]
