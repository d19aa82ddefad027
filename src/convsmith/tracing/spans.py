"""The exact receptive field along one axis for any mixture of windows: intervals that repeat.

The intervals of a strided convolution move by a constant step; those of a transposed one differ from
position to position and repeat. One interval for each position of a period describes both, also in the
padding beyond the map. Nothing here needs torch.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise, zip_longest
from math import ceil, floor, gcd, lcm

# First and last pixel; None for an output that does not depend on the image, as with a transposed convolution
# whose stride is larger than its kernel.
Interval = tuple[int, int] | None
# The inputs of an output, by its position.
Inputs = Callable[[int], Iterable[int]]
# Spans with longer common periods, as after several odd resizes, stay separate.
_LONGEST_PERIOD = 4096
_HALF = Fraction(1, 2)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The inputs of each output: output i + `output_period` has those of i, shifted by `input_period`.

    Attributes:
        inputs: The inputs of an output; those outside the map are padding.
        real: The inputs whose values are read, where padding repeats the map, as reflection does.
        bounded: No period: outputs outside the map have no inputs, as after rolling.
    """

    inputs: Inputs
    input_period: int = 1
    output_period: int = 1
    real: Inputs | None = None
    bounded: bool = False


@dataclass(frozen=True, kw_only=True)
class Span:
    """The interval of pixels of each output; output i + period has that of i, moved by `shift`.

    A bounded span has one interval for each position of its map, and none outside.
    """

    intervals: tuple[Interval, ...] = ((0, 0),)
    shift: int = 1
    bounded: bool = False

    def at(self, position: int) -> Interval:
        if self.bounded:
            return self.intervals[position] if 0 <= position < len(self.intervals) else None
        turns, phase = divmod(position, len(self.intervals))
        interval = self.intervals[phase]
        move = turns * self.shift
        return None if interval is None else (interval[0] + move, interval[1] + move)

    @property
    def jump(self) -> Fraction:
        if not self.bounded:
            return abs(Fraction(self.shift, len(self.intervals)))
        firsts = [each[0] for each in self.intervals if each]
        steps = Counter(abs(after - before) for before, after in pairwise(firsts))
        return Fraction(steps.most_common(1)[0][0] if steps else 0)

    def through(self, windows: Windows, count: int) -> "Span":
        """Return the span of the `count` outputs of windows over this map.

        Example:
            >>> strided = Windows(inputs=lambda i: range(2 * i - 1, 2 * i + 2), input_period=2)
            >>> Span().through(strided, 16).through(strided, 8).intervals
            ((-3, 3),)
        """
        if self.bounded or windows.bounded:
            period, shift, bounded = count, 0, True
        else:
            repeats = len(self.intervals) // gcd(len(self.intervals), windows.input_period)
            period = windows.output_period * repeats
            shift, bounded = windows.input_period * repeats * self.shift // len(self.intervals), False
        intervals = (
            union(self.at(position) for position in windows.inputs(output)) for output in range(period)
        )
        return Span(intervals=tuple(intervals), shift=shift, bounded=bounded)

    def merge(self, other: "Span") -> "Span | None":
        """Return the union with a span of the same kind and jump; None if they drift apart."""
        if self.bounded != other.bounded:
            return None
        if self.bounded:
            pairs = zip_longest(self.intervals, other.intervals)
            return Span(intervals=tuple(map(union, pairs)), shift=0, bounded=True)
        period = lcm(len(self.intervals), len(other.intervals))
        shift, other_shift = (span.shift * period // len(span.intervals) for span in (self, other))
        if shift != other_shift or period > _LONGEST_PERIOD:
            return None
        return Span(intervals=tuple(union((self.at(i), other.at(i))) for i in range(period)), shift=shift)


@dataclass(frozen=True)
class Reach:
    """The union of the spans of several paths; those that drift apart stay separate.

    Attributes:
        spans: One for each path, or for several that move together.
        count: The positions of the map.
    """

    spans: tuple[Span, ...]
    count: int

    def at(self, position: int) -> Interval:
        return union(span.at(position) for span in self.spans)

    @cached_property
    def size(self) -> int:
        """Pixels from the first to the last, the maximum over all positions."""
        count = self.count
        if len(self.spans) == 1:
            count = min(count, len(self.spans[0].intervals))
        intervals = map(self.at, range(count))
        return max((each[1] - each[0] + 1 for each in intervals if each), default=0)

    @property
    def jump(self) -> Fraction:
        return max(span.jump for span in self.spans)

    @property
    def start(self) -> Fraction:
        first = self.at(0)
        return Fraction(first[0] if first else 0)

    def through(self, windows: Windows, count: int) -> "Reach":
        return Reach(tuple(span.through(windows, count) for span in self.spans), count)

    def combine(self, other: "Reach") -> "Reach":
        """Return the union with another map of the same positions."""
        spans = list(self.spans)
        for added in other.spans:
            for index, span in enumerate(spans):
                merged = span.merge(added)
                if merged is not None:
                    spans[index] = merged
                    break
            else:
                spans.append(added)
        return Reach(tuple(spans), self.count)

    def centres(self) -> list[Fraction]:
        """Return the centres of the intervals of all positions, without empty ones."""
        intervals = map(self.at, range(self.count))
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


def resized(ratio: Fraction, inputs: Inputs) -> Windows:
    """Return the windows of a resize with `ratio` inputs for each output."""
    return Windows(inputs=inputs, input_period=ratio.numerator, output_period=ratio.denominator)


def nearest(ratio: Fraction) -> Windows:
    """Return the windows of nearest upsampling: each output has the input under it."""
    return resized(ratio, lambda i: [floor(i * ratio)])


def nearest_exact(ratio: Fraction) -> Windows:
    """Return the windows of nearest-exact upsampling: the input under the centre of each output."""
    return resized(ratio, lambda i: [floor((i + _HALF) * ratio)])


def smooth(ratio: Fraction, reach: int) -> Windows:
    """Return the windows of linear (reach 1) or cubic (2) interpolation without aligned corners.

    They are the inputs next to the centre of each output, or the one under it.
    """
    return resized(ratio, lambda i: _around((i + _HALF) * ratio - _HALF, reach))


def aligned(in_size: int, out_size: int, reach: int) -> Windows:
    """Return the windows of linear (reach 1) or cubic (2) interpolation with aligned corners."""
    ratio = Fraction(in_size - 1, out_size - 1) if out_size > 1 else Fraction(0)
    return resized(ratio, lambda i: _around(i * ratio, reach))


def antialiased(ratio: Fraction, support: int) -> Windows:
    """Return the windows of a resize whose filter of `support` inputs a side widens as a map shrinks."""
    reach = support * max(ratio, Fraction(1))

    def inputs(output: int) -> range:
        # The filter is zero at its ends.
        centre = (output + _HALF) * ratio - _HALF
        return range(floor(centre - reach) + 1, ceil(centre + reach))

    return resized(ratio, inputs)


def adaptive(in_size: int, out_size: int) -> Windows:
    """Return the windows of adaptive pooling: each output has its share of the inputs, rounded outwards."""
    return resized(
        Fraction(in_size, out_size),
        lambda i: range(i * in_size // out_size, -(-(i + 1) * in_size // out_size)),
    )


def _around(place: Fraction, reach: int) -> range:
    first = floor(place)
    return range(first, first + 1) if place == first else range(first - reach + 1, first + reach + 1)


def strided(start: int, step: int = 1) -> Windows:
    """Return the windows of a slice: every `step`-th input from `start`."""
    return Windows(inputs=lambda i: [start + i * step], input_period=step)


def table(inputs: Sequence[Iterable[int]]) -> Windows:
    """Return the windows that are listed, one for each output."""
    listed = [tuple(each) for each in inputs]
    return Windows(inputs=lambda i: listed[i] if 0 <= i < len(listed) else (), bounded=True)
