"""What outputs see along one axis, exactly, for any mixture of windows: intervals that repeat.

A strided convolution sees intervals that move by a constant step; a transposed one sees some that differ from
position to position and repeat. An interval for each position of one period describes both. Nothing here
needs torch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

# First and last pixel; None where an output sees nothing of the image, as between the teeth of a transposed
# convolution whose stride is larger than its kernel.
Interval = tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Which inputs each output takes: i + `outputs_a_period` those of i, moved by `inputs_a_period`."""

    inputs: Callable[[int], Iterable[int]]
    inputs_a_period: int = 1
    outputs_a_period: int = 1


@dataclass(frozen=True, kw_only=True)
class Span:
    """The interval of pixels that each output sees; output i + period those of i, moved by `advance`."""

    intervals: tuple[Interval, ...] = ((0, 0),)
    advance: int = 1

    def at(self, position: int) -> Interval:
        turns, phase = divmod(position, len(self.intervals))
        interval = self.intervals[phase]
        move = turns * self.advance
        return None if interval is None else (interval[0] + move, interval[1] + move)

    @property
    def size(self) -> int:
        """Pixels from the first to the last, the most of all positions."""
        return max((each[1] - each[0] + 1 for each in self.intervals if each), default=0)

    @property
    def jump(self) -> Fraction:
        return Fraction(self.advance, len(self.intervals))

    @property
    def start(self) -> Fraction:
        first = self.at(0)
        return Fraction(first[0] if first else 0)

    def through(self, windows: Windows) -> "Span":
        """What the outputs of windows over this map see.

        Example:
            >>> strided = Windows(inputs=lambda i: range(2 * i - 1, 2 * i + 2), inputs_a_period=2)
            >>> Span().through(strided).through(strided).size
            7
        """
        period = len(self.intervals)
        repeats = period // gcd(period, windows.inputs_a_period)
        return Span(
            intervals=tuple(
                union(self.at(position) for position in windows.inputs(output))
                for output in range(windows.outputs_a_period * repeats)
            ),
            advance=windows.inputs_a_period * repeats * self.advance // period,
        )

    def joined(self, other: "Span", count: int) -> "Span":
        """The union with another map of the same `count` positions."""
        period = lcm(len(self.intervals), len(other.intervals))
        moves = [span.advance * period // len(span.intervals) for span in (self, other)]
        if moves[0] != moves[1]:
            # The branches drift apart: only the positions that there are can be told.
            period, moves = count, [int(count * max(self.jump, other.jump))]
        return Span(
            intervals=tuple(union((self.at(i), other.at(i))) for i in range(period)), advance=moves[0]
        )

    def centres(self, count: int) -> list[Fraction]:
        """The middles of the intervals of the first `count` positions that see anything."""
        found = (self.at(position) for position in range(count))
        return [Fraction(each[0] + each[1], 2) for each in found if each]


def union(intervals: Iterable[Interval]) -> Interval:
    """The smallest interval that holds all of them.

    >>> union([(0, 2), None, (1, 5)])
    (0, 5)
    """
    found = [each for each in intervals if each is not None]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def convolution(*, kernel: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> Windows:
    """Windows of a convolution or pool."""
    return Windows(
        inputs=lambda i: range(
            i * stride - padding, i * stride - padding + dilation * (kernel - 1) + 1, dilation
        ),
        inputs_a_period=stride,
    )


def transposed(*, kernel: int, stride: int, dilation: int, padding: int) -> Windows:
    """Windows of a transposed convolution: input i reaches `i * stride - padding + dilation * tap`."""

    def inputs(output: int) -> list[int]:
        reached = (output + padding - dilation * tap for tap in range(kernel))
        return [place // stride for place in reached if place % stride == 0]

    return Windows(inputs=inputs, outputs_a_period=stride)


def resized(in_size: int, out_size: int, inputs: Callable[[int], Iterable[int]]) -> Windows:
    """Windows of a change from one size to another, as in upsampling and adaptive pooling."""
    common = gcd(in_size, out_size)
    return Windows(inputs=inputs, inputs_a_period=in_size // common, outputs_a_period=out_size // common)


def nearest(in_size: int, out_size: int) -> Windows:
    """Each output takes the input that lies under it."""
    return resized(in_size, out_size, lambda i: [i * in_size // out_size])


def linear(in_size: int, out_size: int) -> Windows:
    """Each output takes the two inputs around its centre, as bilinear upsampling without aligned corners."""

    def inputs(output: int) -> range:
        # Exact: (output + 1/2) * in / out - 1/2, rounded down.
        place = ((2 * output + 1) * in_size - out_size) // (2 * out_size)
        exact = ((2 * output + 1) * in_size - out_size) % (2 * out_size) == 0
        return range(place, place + (1 if exact else 2))

    return resized(in_size, out_size, inputs)


def adaptive(in_size: int, out_size: int) -> Windows:
    """Each output takes its share of the inputs, rounded outwards."""
    return resized(
        in_size, out_size, lambda i: range(i * in_size // out_size, -(-(i + 1) * in_size // out_size))
    )
