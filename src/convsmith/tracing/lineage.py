"""How a traced tensor derives from the image: the axes of its dimensions, and its receptive field.

Dimensions are products of atoms, so an axis survives when maps are flattened, permuted or turned into tokens.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from convsmith.net import coverage
from convsmith.net.coverage import Masks
from convsmith.net.rows import AxisReceptiveField, ReceptiveField, misalignments
from convsmith.tracing.spans import Span, Windows

# A factor of a dimension: its axis of the image, None for channels and the like, and its size.
Atom = tuple[int | None, int]
Dims = tuple[tuple[Atom, ...], ...]

GATED = "a path with a global receptive field joins here; the figures are those of the other paths"


@dataclass(frozen=True, kw_only=True)
class AxisLineage:
    """The receptive field along one axis: of all paths, of the narrowest path, and as exact masks."""

    wide: Span
    narrow: Span
    masks: Masks

    @classmethod
    def of_image(cls, size: int) -> "AxisLineage":
        return cls(wide=Span(), narrow=Span(), masks=coverage.image_masks(size))

    def through(self, windows: Windows, count: int) -> "AxisLineage":
        return AxisLineage(
            wide=self.wide.through(windows),
            narrow=self.narrow.through(windows),
            masks=coverage.through(self.masks, [list(windows.inputs(output)) for output in range(count)]),
        )

    def combine(self, other: "AxisLineage", count: int) -> "AxisLineage":
        return AxisLineage(
            wide=self.wide.combine(other.wide, count),
            narrow=min(self.narrow, other.narrow, key=lambda span: span.size),
            masks=coverage.union(self.masks, other.masks),
        )

    @property
    def receptive_field(self) -> AxisReceptiveField:
        return AxisReceptiveField(
            size=self.wide.size, jump=self.wide.jump, start=self.wide.start, min_size=self.narrow.size
        )


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """The lineage of a tensor that depends on the image.

    Attributes:
        dims: The atoms of each dimension.
        axes: One lineage for each axis of the image; None if every value depends on all of the axis.
        unknown: Why the receptive field is unknown; empty if it is known.
        rows: The numbers of the rows that computed it.
    """

    dims: Dims
    axes: tuple[AxisLineage | None, ...] = ()
    unknown: str = ""
    rows: frozenset[int] = frozenset()

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> "Lineage":
        """Return the lineage of the input `(N, C, H, W)`."""
        batch, channels, *sizes = shape
        return cls(
            dims=(
                ((None, batch),),
                ((None, channels),),
                *(((axis, size),) for axis, size in enumerate(sizes)),
            ),
            axes=tuple(map(AxisLineage.of_image, sizes)),
            rows=frozenset({-1}),
        )

    @property
    def receptive_field(self) -> ReceptiveField:
        if self.unknown:
            return ReceptiveField(unknown=self.unknown)
        if all(state is None for state in self.axes):
            return ReceptiveField()
        full = AxisReceptiveField(size=0, jump=Span(shift=0).jump)
        return ReceptiveField(
            axes=tuple(full if state is None else state.receptive_field for state in self.axes)
        )

    def resize(self, place: int, size: int) -> "Lineage":
        """Replace a dimension by one of another size that is no axis of the image."""
        return replace(self, dims=(*self.dims[:place], ((None, size),), *self.dims[place + 1 :]))

    def without(self, axes: Iterable[int]) -> "Lineage":
        """Extend the receptive field to all of some axes."""
        dropped = set(axes)
        return replace(
            self,
            dims=tuple(
                tuple((None if axis in dropped else axis, size) for axis, size in atoms)
                for atoms in self.dims
            ),
            axes=tuple(None if axis in dropped else state for axis, state in enumerate(self.axes)),
        )

    def reshape(self, shape: Sequence[int]) -> "Lineage":
        dims = regroup(self.dims, shape)
        if dims is None:
            if image_axes(self.dims):
                return self.as_unknown(shape, "positions of the map are split over several dimensions")
            dims = plain_dims(shape)
        return replace(self, dims=dims)

    def permute(self, order: Sequence[int]) -> "Lineage":
        return replace(self, dims=tuple(self.dims[place] for place in order))

    def as_unknown(self, shape: Sequence[int], reason: str) -> "Lineage":
        """Return the lineage of an output with an unknown receptive field."""
        return replace(
            self, dims=plain_dims(shape), axes=(None,) * len(self.axes), unknown=self.unknown or reason
        )

    def reduce(self, places: Iterable[int], *, keep: bool = False) -> "Lineage":
        """Reduce some dimensions; with `keep` they stay with size 1."""
        places = set(places) & set(range(len(self.dims)))
        reduced = {axis for place in places for axis in _image_axes(self.dims[place])}
        rest = self.without(reduced)
        dims = [
            ((None, 1),) if place in places else atoms
            for place, atoms in enumerate(rest.dims)
            if keep or place not in places
        ]
        return replace(rest, dims=tuple(dims))

    def through(self, windows: Sequence[Windows], places: Sequence[int], shape: Sequence[int]) -> "Lineage":
        """Move windows over some dimensions, one for each."""
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

    def _through(self, place: int, window: Windows, count: int) -> "Lineage":
        image_axes = _image_axes(self.dims[place])
        if not image_axes:
            return self
        (axis,) = image_axes if len(image_axes) == 1 else (None,)
        state = None if axis is None else self.axes[axis]
        if axis is None or state is None or len(self.dims[place]) != 1:
            return self.without(image_axes)
        axes = list(self.axes)
        axes[axis] = state.through(window, count)
        dims = (*self.dims[:place], ((axis, count),), *self.dims[place + 1 :])
        return replace(self, dims=dims, axes=tuple(axes))


def combine(lineages: Sequence[Lineage], shape: Sequence[int]) -> tuple[Lineage, tuple[str, ...]]:
    """Return the lineage of an elementwise operation of several tensors, broadcast to `shape`, and notes."""
    rows = frozenset().union(*(lineage.rows for lineage in lineages))
    first = replace(lineages[0], rows=rows)
    unknown = next((lineage.unknown for lineage in lineages if lineage.unknown), "")
    if unknown:
        return first.as_unknown(shape, unknown), ()
    if len({id(lineage) for lineage in lineages}) == 1 and _sizes(first.dims) == tuple(shape):
        return first, ()
    fitted = [_broadcast(lineage, shape) for lineage in lineages]
    dims = []
    for atoms in zip(*(lineage.dims for lineage in fitted), strict=True):
        candidates = {each for each in atoms if _image_axes(each)}
        if len(candidates) > 1:
            return first.as_unknown(shape, "different axes of the image are combined"), ()
        dims.append(candidates.pop() if candidates else atoms[0])
    axes: list[AxisLineage | None] = []
    notes: list[str] = []
    for axis in range(len(first.axes)):
        states = [lineage.axes[axis] for lineage in fitted]
        local = [state for state in states if state is not None]
        count = next((size for atoms in dims for label, size in atoms if label == axis), 1)
        if local and len(local) < len(states):
            notes.append(GATED)
        notes += _misaligned(local, count)
        axes.append(_union(local, count))
    return Lineage(dims=tuple(dims), axes=tuple(axes), rows=rows), tuple(dict.fromkeys(notes))


def _union(states: Sequence[AxisLineage], count: int) -> AxisLineage | None:
    if not states:
        return None
    result = states[0]
    for state in states[1:]:
        result = result.combine(state, count)
    return result


def _misaligned(states: Sequence[AxisLineage], count: int) -> tuple[str, ...]:
    if len(states) < 2:
        return ()
    centres = [state.wide.centres(count) for state in states]
    worst: tuple[str, ...] = ()
    for at_one_place in zip(*centres, strict=False):
        worst = max(worst, misalignments([state.wide.jump for state in states], at_one_place))
    return worst


def _broadcast(lineage: Lineage, shape: Sequence[int]) -> Lineage:
    """Broadcast a lineage to a shape; along a broadcast axis the receptive field is the same everywhere."""
    dims = [((None, 1),)] * (len(shape) - len(lineage.dims)) + list(lineage.dims)
    stretched = {
        axis
        for atoms, size in zip(dims, shape, strict=True)
        for axis in _image_axes(atoms)
        if prod(s for _, s in atoms) != size
    }
    fitted = replace(lineage, dims=tuple(dims)).without(stretched)
    return replace(
        fitted,
        dims=tuple(
            atoms if prod(s for _, s in atoms) == size else ((None, size),)
            for atoms, size in zip(fitted.dims, shape, strict=True)
        ),
    )


def plain_dims(shape: Sequence[int]) -> Dims:
    """Return dimensions that are no axes of the image."""
    return tuple(((None, size),) for size in shape)


def image_axes(dims: Iterable[tuple[Atom, ...]]) -> list[int]:
    """Return the axes of the image in some dimensions."""
    return [axis for atoms in dims for axis in _image_axes(atoms)]


def regroup(dims: Dims, shape: Sequence[int]) -> Dims | None:
    """Regroup the atoms for another shape of the same size; None if that would split an axis.

    Example:
        >>> map_dims = (((None, 1),), ((None, 8),), ((0, 4),), ((1, 4),))
        >>> regroup(map_dims, (1, 128))
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
    _place_unit_axes(result, atoms)
    return tuple(tuple(group) or ((None, 1),) for group in result) if not atoms else None


def _place_unit_axes(groups: list[list[Atom]], left: list[Atom]) -> None:
    """Assign the remaining axes of size 1 to the last dimensions, as in a map of one value."""
    ones = [group for group in groups[2:] if not group]
    while left and left[-1][1] == 1:
        atom = left.pop()
        (ones.pop(0) if ones else groups[-1]).append(atom)


def map_windows(
    lineage: Lineage, out_shape: Sequence[int], make: Callable[[int, int, int], Windows]
) -> Lineage:
    """Move windows over the last dimensions, `make(index, in size, out size)` for each of them."""
    num = len(out_shape) - 2 if len(out_shape) > 2 else 0
    places = range(len(out_shape) - num, len(out_shape))
    windows = [
        make(index, prod(size for _, size in lineage.dims[place]), out_shape[place])
        for index, place in enumerate(places)
    ]
    return lineage.through(windows, places, out_shape)


def _image_axes(atoms: tuple[Atom, ...]) -> list[int]:
    return [axis for axis, _ in atoms if axis is not None]


def _sizes(dims: Dims) -> tuple[int, ...]:
    return tuple(prod(size for _, size in atoms) for atoms in dims)
