"""The exact receptive field of each output along one axis, as one bit mask an output.

Strides larger than the kernel and sizes that do not divide leave pixels out. Dilation leaves gaps that later
layers may fill. Windows are rectangles, so each axis is computed on its own.
"""

from collections.abc import Sequence
from functools import reduce
from operator import or_

# Bit p of the mask of output i is set if output i depends on pixel p.
Masks = tuple[int, ...]


def image_masks(size: int) -> Masks:
    """Return the masks of the image itself: each pixel depends on itself."""
    return tuple(1 << pixel for pixel in range(size))


def through(masks: Masks, windows: Sequence[Sequence[int]]) -> Masks:
    """Return the masks of outputs whose windows are lists of inputs; inputs outside the map are padding.

    Example:
        >>> [f"{mask:05b}" for mask in through(image_masks(5), [[-1, 0, 1], [1, 2, 3]])]
        ['00011', '01110']
    """
    size = len(masks)
    return tuple(reduce(or_, (masks[i] for i in window if 0 <= i < size), 0) for window in windows)


def union(first: Masks, second: Masks) -> Masks:
    """Return the masks of the sum of two maps of one size."""
    return tuple(a | b for a, b in zip(first, second, strict=True))


def pooled(masks: Masks, size: int) -> Masks:
    """Return the masks of a map of `size` positions.

    Masks of another length are of a map that was pooled globally: every position depends on all of them.

    >>> pooled((1, 2, 4), 3), pooled((1, 2, 4), 1)
    ((1, 2, 4), (7,))
    """
    return masks if len(masks) == size else (reduce(or_, masks, 0),) * size


def uncovered(masks: Masks, size: int) -> int:
    """Count the pixels, of `size`, that no output depends on."""
    return size - reduce(or_, masks, 0).bit_count()


def window_inputs(count: int, *, kernel: int, stride: int, dilation: int, padding: int) -> list[range]:
    """Return the inputs of each of `count` outputs of a convolution or pool."""
    starts = range(-padding, count * stride - padding, stride)
    return [range(start, start + dilation * (kernel - 1) + 1, dilation) for start in starts]
