"""What is known of a tensor while a module is traced: which dimension is which axis, and what it sees.

Dimensions are products of atoms, so that an axis is not lost when maps are flattened, permuted or seen as
tokens.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from convsmith.net import coverage
from convsmith.net.analysis import AxisReceptiveField, ReceptiveField, misalignments
from convsmith.net.coverage import Masks
from convsmith.tracing.spans import Span, Windows

# A factor of a dimension: the image's axis that it runs along, None for channels and the like, and its size.
Atom = tuple[int | None, int]
Dims = tuple[tuple[Atom, ...], ...]

GATED = "a path that sees the whole image joins here; the figures are those of the other paths"


@dataclass(frozen=True, kw_only=True)
class AxisState:
    """What positions along one axis see: the union of all paths, the narrowest path, and pixel by pixel."""

    wide: Span
    narrow: Span
    masks: Masks

    @classmethod
    def of_image(cls, size: int) -> "AxisState":
        return cls(wide=Span(), narrow=Span(), masks=coverage.image_masks(size))

    def through(self, windows: Windows, count: int) -> "AxisState":
        return AxisState(
            wide=self.wide.through(windows),
            narrow=self.narrow.through(windows),
            masks=coverage.through(self.masks, [list(windows.inputs(output)) for output in range(count)]),
        )

    def joined(self, other: "AxisState", count: int) -> "AxisState":
        return AxisState(
            wide=self.wide.joined(other.wide, count),
            narrow=min(self.narrow, other.narrow, key=lambda span: span.size),
            masks=coverage.union(self.masks, other.masks),
        )

    @property
    def view(self) -> AxisReceptiveField:
        return AxisReceptiveField(
            size=self.wide.size, jump=self.wide.jump, start=self.wide.start, min_size=self.narrow.size
        )


@dataclass(frozen=True, kw_only=True)
class Track:
    """A tensor that depends on the image.

    Attributes:
        dims: The atoms of each dimension.
        axes: One state for each axis of the image; None where every value sees all of the axis.
        unknown: Why it is not known what the tensor sees.
        rows: The rows that made it.
    """

    dims: Dims
    axes: tuple[AxisState | None, ...] = ()
    unknown: str = ""
    rows: frozenset[int] = frozenset()

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> "Track":
        """That of the net's input `(N, C, H, W)`."""
        batch, channels, *sizes = shape
        return cls(
            dims=(
                ((None, batch),),
                ((None, channels),),
                *(((axis, size),) for axis, size in enumerate(sizes)),
            ),
            axes=tuple(map(AxisState.of_image, sizes)),
            rows=frozenset({-1}),
        )

    @property
    def view(self) -> ReceptiveField:
        if self.unknown:
            return ReceptiveField(unknown=self.unknown)
        if all(state is None for state in self.axes):
            return ReceptiveField()
        whole = AxisReceptiveField(size=0, jump=Span(advance=0).jump)
        return ReceptiveField(axes=tuple(whole if state is None else state.view for state in self.axes))

    def sized(self, place: int, size: int) -> "Track":
        """The same with a dimension that is no axis of the image in one place, of another size."""
        return replace(self, dims=(*self.dims[:place], ((None, size),), *self.dims[place + 1 :]))

    def without(self, axes: Iterable[int]) -> "Track":
        """The same with every value seeing all of some axes."""
        gone = set(axes)
        return replace(
            self,
            dims=tuple(
                tuple((None if axis in gone else axis, size) for axis, size in atoms) for atoms in self.dims
            ),
            axes=tuple(None if axis in gone else state for axis, state in enumerate(self.axes)),
        )

    def reshaped(self, shape: Sequence[int]) -> "Track":
        dims = regrouped(self.dims, shape)
        if dims is None:
            lost = labels(self.dims)
            if lost:
                return self.lost(shape, "the map's positions are split among several dimensions")
            dims = plain(shape)
        return replace(self, dims=dims)

    def moved(self, order: Sequence[int]) -> "Track":
        return replace(self, dims=tuple(self.dims[place] for place in order))

    def lost(self, shape: Sequence[int], reason: str) -> "Track":
        """A tensor made of this one, of which it is not known what it sees."""
        return replace(self, dims=plain(shape), axes=(None,) * len(self.axes), unknown=self.unknown or reason)

    def contracted(self, places: Iterable[int], *, keep: bool = False) -> "Track":
        """The same after a sum over some dimensions, which stay with size 1 or go."""
        places = set(places) & set(range(len(self.dims)))
        seen_whole = {axis for place in places for axis in _labels(self.dims[place])}
        rest = self.without(seen_whole)
        dims = [
            ((None, 1),) if place in places else atoms
            for place, atoms in enumerate(rest.dims)
            if keep or place not in places
        ]
        return replace(rest, dims=tuple(dims))

    def through(self, windows: Sequence[Windows], places: Sequence[int], shape: Sequence[int]) -> "Track":
        """The same after windows have moved over some dimensions, one each."""
        result = self
        for place, window in zip(places, windows, strict=True):
            result = result._through(place, window, shape[place])
        return replace(
            result,
            dims=tuple(
                ((None, size),) if prod(s for _, s in atoms) != size else atoms
                for atoms, size in zip(result.dims, shape, strict=True)
            ),
        )

    def _through(self, place: int, window: Windows, count: int) -> "Track":
        found = _labels(self.dims[place])
        if not found:
            return self
        (axis,) = found if len(found) == 1 else (None,)
        state = None if axis is None else self.axes[axis]
        if axis is None or state is None or len(self.dims[place]) != 1:
            return self.without(found)
        axes = list(self.axes)
        axes[axis] = state.through(window, count)
        dims = (*self.dims[:place], ((axis, count),), *self.dims[place + 1 :])
        return replace(self, dims=dims, axes=tuple(axes))


def joined(tracks: Sequence[Track], shape: Sequence[int]) -> tuple[Track, tuple[str, ...]]:
    """What an element-by-element operation of several tensors sees, broadcast to `shape`, and notes."""
    rows = frozenset().union(*(track.rows for track in tracks))
    first = replace(tracks[0], rows=rows)
    unknown = next((track.unknown for track in tracks if track.unknown), "")
    if unknown:
        return first.lost(shape, unknown), ()
    if len({id(track) for track in tracks}) == 1 and _sizes(first.dims) == tuple(shape):
        return first, ()
    fitted = [_broadcast(track, shape) for track in tracks]
    dims = []
    for atoms in zip(*(track.dims for track in fitted), strict=True):
        named = {each for each in atoms if _labels(each)}
        if len(named) > 1:
            return first.lost(shape, "different axes of the image are laid over each other"), ()
        dims.append(named.pop() if named else atoms[0])
    axes: list[AxisState | None] = []
    notes: list[str] = []
    for axis in range(len(first.axes)):
        states = [track.axes[axis] for track in fitted]
        local = [state for state in states if state is not None]
        count = next((size for atoms in dims for label, size in atoms if label == axis), 1)
        if local and len(local) < len(states):
            notes.append(GATED)
        notes += _misaligned(local, count)
        axes.append(_union(local, count))
    return Track(dims=tuple(dims), axes=tuple(axes), rows=rows), tuple(dict.fromkeys(notes))


def _union(states: Sequence[AxisState], count: int) -> AxisState | None:
    if not states:
        return None
    result = states[0]
    for state in states[1:]:
        result = result.joined(state, count)
    return result


def _misaligned(states: Sequence[AxisState], count: int) -> tuple[str, ...]:
    if len(states) < 2:
        return ()
    centres = [state.wide.centres(count) for state in states]
    worst: tuple[str, ...] = ()
    for at_one_place in zip(*centres, strict=False):
        worst = max(worst, misalignments([state.wide.jump for state in states], at_one_place))
    return worst


def _broadcast(track: Track, shape: Sequence[int]) -> Track:
    """A tensor laid out as the result; an axis with one value sees the same everywhere."""
    dims = [((None, 1),)] * (len(shape) - len(track.dims)) + list(track.dims)
    stretched = {
        axis
        for atoms, size in zip(dims, shape, strict=True)
        for axis in _labels(atoms)
        if prod(s for _, s in atoms) != size
    }
    fitted = replace(track, dims=tuple(dims)).without(stretched)
    return replace(
        fitted,
        dims=tuple(
            atoms if prod(s for _, s in atoms) == size else ((None, size),)
            for atoms, size in zip(fitted.dims, shape, strict=True)
        ),
    )


def plain(shape: Sequence[int]) -> Dims:
    """Dimensions that are no axis of the image."""
    return tuple(((None, size),) for size in shape)


def labels(dims: Iterable[tuple[Atom, ...]]) -> list[int]:
    """The axes of the image that dimensions run along."""
    return [axis for atoms in dims for axis in _labels(atoms)]


def regrouped(dims: Dims, shape: Sequence[int]) -> Dims | None:
    """The atoms laid out as another shape of as many values; None where that would cut an axis.

    Example:
        >>> map_dims = (((None, 1),), ((None, 8),), ((0, 4),), ((1, 4),))
        >>> regrouped(map_dims, (1, 128))
        (((None, 1),), ((None, 8), (0, 4), (1, 4)))
    """
    atoms = [atom for each in dims for atom in each if atom[1] != 1 or atom[0] is not None]
    atoms.reverse()
    result: list[list[Atom]] = []
    for size in shape:
        group: list[Atom] = []
        left = size
        while left > 1:
            if not atoms:
                return None
            axis, count = atoms.pop()
            if count and left % count == 0:
                left //= count
                group.append((axis, count))
            elif axis is None and count and count % left == 0:
                atoms.append((None, count // left))
                group.append((None, left))
                left = 1
            else:
                return None
        result.append(group)
    _place_ones(result, atoms)
    return tuple(tuple(group) or ((None, 1),) for group in result) if not atoms else None


def _place_ones(groups: list[list[Atom]], left: list[Atom]) -> None:
    """Axes of size 1 that no dimension has taken go to the last ones, as in a map of one value."""
    ones = [group for group in groups[2:] if not group]
    while left and left[-1][1] == 1:
        atom = left.pop()
        (ones.pop(0) if ones else groups[-1]).append(atom)


def map_windows(track: Track, out_shape: Sequence[int], make: Callable[[int, int, int], Windows]) -> Track:
    """The track after windows over the last dimensions, `make(index, in size, out size)` for each of them."""
    num = len(out_shape) - 2 if len(out_shape) > 2 else 0
    places = range(len(out_shape) - num, len(out_shape))
    windows = [
        make(index, prod(size for _, size in track.dims[place]), out_shape[place])
        for index, place in enumerate(places)
    ]
    return track.through(windows, places, out_shape)


def _labels(atoms: tuple[Atom, ...]) -> list[int]:
    return [axis for axis, _ in atoms if axis is not None]


def _sizes(dims: Dims) -> tuple[int, ...]:
    return tuple(prod(size for _, size in atoms) for atoms in dims)
