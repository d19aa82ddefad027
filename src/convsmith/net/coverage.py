"""Which pixels of the image each output sees, exactly: along one axis, one bit mask an output.

Strides larger than the kernel and sizes that do not divide leave pixels out; dilation leaves holes that
later layers may fill. Windows are rectangles, so each axis can be followed alone.
"""

from collections.abc import Sequence
from functools import reduce
from operator import or_

# Bit p of the mask of output i is set where output i sees pixel p.
Seen = tuple[int, ...]


def of_image(size: int) -> Seen:
    """Each pixel sees itself."""
    return tuple(1 << pixel for pixel in range(size))


def through(seen: Seen, windows: Sequence[Sequence[int]]) -> Seen:
    """What outputs see whose windows are lists of inputs; inputs outside the map are padding.

    Example:
        >>> [f"{mask:05b}" for mask in through(of_image(5), [[-1, 0, 1], [1, 2, 3]])]
        ['00011', '01110']
    """
    size = len(seen)
    return tuple(reduce(or_, (seen[i] for i in window if 0 <= i < size), 0) for window in windows)


def joined(first: Seen, second: Seen) -> Seen:
    """What the sum of two maps of one size sees."""
    return tuple(a | b for a, b in zip(first, second, strict=True))


def unseen(seen: Seen, size: int) -> int:
    """How many of an image's pixels no output sees."""
    return size - reduce(or_, seen, 0).bit_count()


def window_inputs(count: int, *, kernel: int, stride: int, dilation: int, padding: int) -> list[range]:
    """The inputs of each of `count` outputs of a convolution or pool."""
    starts = range(-padding, count * stride - padding, stride)
    return [range(start, start + dilation * (kernel - 1) + 1, dilation) for start in starts]
