"""The exact receptive field along one axis for any mixture of windows: intervals that repeat.

The intervals of a strided convolution move by a constant step; those of a transposed one differ from position
to position and repeat. One interval for each position of a period describes both. Nothing here needs torch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

# First and last pixel; None for an output that does not depend on the image, as with a transposed convolution
# whose stride is larger than its kernel.
Interval = tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The inputs of each output: output i + `output_period` has those of i, shifted by `input_period`."""

    inputs: Callable[[int], Iterable[int]]
    input_period: int = 1
    output_period: int = 1


@dataclass(frozen=True, kw_only=True)
class Span:
    """The interval of pixels of each output; output i + period has that of i, moved by `shift`."""

    intervals: tuple[Interval, ...] = ((0, 0),)
    shift: int = 1

    def at(self, position: int) -> Interval:
        turns, phase = divmod(position, len(self.intervals))
        interval = self.intervals[phase]
        move = turns * self.shift
        return None if interval is None else (interval[0] + move, interval[1] + move)

    @property
    def size(self) -> int:
        """Pixels from the first to the last, the maximum over all positions."""
        return max((each[1] - each[0] + 1 for each in self.intervals if each), default=0)

    @property
    def jump(self) -> Fraction:
        return Fraction(self.shift, len(self.intervals))

    @property
    def start(self) -> Fraction:
        first = self.at(0)
        return Fraction(first[0] if first else 0)

    def through(self, windows: Windows) -> "Span":
        """Return the span of the outputs of windows over this map.

        Example:
            >>> strided = Windows(inputs=lambda i: range(2 * i - 1, 2 * i + 2), input_period=2)
            >>> Span().through(strided).through(strided).size
            7
        """
        period = len(self.intervals)
        repeats = period // gcd(period, windows.input_period)
        return Span(
            intervals=tuple(
                union(self.at(position) for position in windows.inputs(output))
                for output in range(windows.output_period * repeats)
            ),
            shift=windows.input_period * repeats * self.shift // period,
        )

    def combine(self, other: "Span", count: int) -> "Span":
        """Return the union with another map of the same `count` positions."""
        period = lcm(len(self.intervals), len(other.intervals))
        moves = [span.shift * period // len(span.intervals) for span in (self, other)]
        if moves[0] != moves[1]:
            # The branches drift apart, so every position has its own interval.
            period, moves = count, [int(count * max(self.jump, other.jump))]
        return Span(intervals=tuple(union((self.at(i), other.at(i))) for i in range(period)), shift=moves[0])

    def centres(self, count: int) -> list[Fraction]:
        """Return the centres of the intervals of the first `count` positions, without empty ones."""
        intervals = map(self.at, range(count))
        return [Fraction(each[0] + each[1], 2) for each in intervals if each]


def union(intervals: Iterable[Interval]) -> Interval:
    """Return the smallest interval that contains all of them.

    >>> union([(0, 2), None, (1, 5)])
    (0, 5)
    """
    present = [each for each in intervals if each is not None]
    return (min(low for low, _ in present), max(high for _, high in present)) if present else None


def convolution(*, kernel: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> Windows:
    """Return the windows of a convolution or pool."""
    return Windows(
        inputs=lambda i: range(
            i * stride - padding, i * stride - padding + dilation * (kernel - 1) + 1, dilation
        ),
        input_period=stride,
    )


def transposed(*, kernel: int, stride: int, dilation: int, padding: int) -> Windows:
    """Return the windows of a transposed convolution.

    Input i contributes to the outputs `i * stride - padding + dilation * tap`.
    """

    def inputs(output: int) -> list[int]:
        places = (output + padding - dilation * tap for tap in range(kernel))
        return [place // stride for place in places if place % stride == 0]

    return Windows(inputs=inputs, output_period=stride)


def resized(in_size: int, out_size: int, inputs: Callable[[int], Iterable[int]]) -> Windows:
    """Return the windows of a resize, as in upsampling and adaptive pooling."""
    common = gcd(in_size, out_size)
    return Windows(inputs=inputs, input_period=in_size // common, output_period=out_size // common)


def nearest(in_size: int, out_size: int) -> Windows:
    """Return the windows of nearest upsampling: each output has the input under it."""
    return resized(in_size, out_size, lambda i: [i * in_size // out_size])


def linear(in_size: int, out_size: int) -> Windows:
    """Return the windows of bilinear upsampling without aligned corners: the two inputs at the centre."""

    def inputs(output: int) -> range:
        # Exact: (output + 1/2) * in / out - 1/2, rounded down.
        place = ((2 * output + 1) * in_size - out_size) // (2 * out_size)
        exact = ((2 * output + 1) * in_size - out_size) % (2 * out_size) == 0
        return range(place, place + (1 if exact else 2))

    return resized(in_size, out_size, inputs)


def adaptive(in_size: int, out_size: int) -> Windows:
    """Return the windows of adaptive pooling: each output has its share of the inputs, rounded outwards."""
    return resized(
        in_size, out_size, lambda i: range(i * in_size // out_size, -(-(i + 1) * in_size // out_size))
    )
