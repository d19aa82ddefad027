"""How a traced tensor derives from the image: the axes of its dimensions, and its receptive field."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod

from convsmith.net import coverage
from convsmith.net.coverage import Masks
from convsmith.net.rows import FULL_AXIS, GATED, AxisReceptiveField, ReceptiveField, misalignments
from convsmith.tracing import grid, spans
from convsmith.tracing.grid import MIXED, Atom, Dim, Dims, axes_of, plain, plain_dims, size_of
from convsmith.tracing.spans import Reach, Span, Windows


@dataclass(frozen=True, kw_only=True)
class AxisLineage:
    """The receptive field along one axis: of all paths, of the narrowest path, and as exact masks."""

    wide: Reach
    narrow: Reach
    masks: Masks

    @classmethod
    def of_image(cls, size: int) -> "AxisLineage":
        reach = Reach((Span(),), size)
        return cls(wide=reach, narrow=reach, masks=coverage.image_masks(size))

    @property
    def count(self) -> int:
        """The positions of the map along this axis."""
        return len(self.masks)

    def through(self, windows: Windows, count: int) -> "AxisLineage":
        read = windows.real or windows.inputs
        return AxisLineage(
            wide=self.wide.through(windows, count),
            narrow=self.narrow.through(windows, count),
            masks=coverage.through(self.masks, [list(read(output)) for output in range(count)]),
        )

    def combine(self, other: "AxisLineage") -> "AxisLineage":
        return AxisLineage(
            wide=self.wide.combine(other.wide),
            narrow=min(self.narrow, other.narrow, key=lambda reach: reach.size),
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
        maps = ((Atom(axis, size),) for axis, size in enumerate(sizes))
        return cls(
            dims=(plain(batch), plain(channels), *maps),
            axes=tuple(map(AxisLineage.of_image, sizes)),
            rows=frozenset({-1}),
        )

    @property
    def receptive_field(self) -> ReceptiveField:
        if self.unknown:
            return ReceptiveField(unknown=self.unknown)
        if self.is_global:
            return ReceptiveField()
        return ReceptiveField(
            axes=tuple(FULL_AXIS if state is None else state.receptive_field for state in self.axes)
        )

    @property
    def is_global(self) -> bool:
        """Whether every value depends on the full image."""
        return not self.unknown and all(state is None for state in self.axes)

    def resize(self, place: int, size: int) -> "Lineage":
        """Replace a dimension by one of another size that is no axis of the image."""
        mixed = self.mix([place])
        return replace(mixed, dims=(*mixed.dims[:place], plain(size), *mixed.dims[place + 1 :]))

    def reshape(self, shape: Sequence[int]) -> "Lineage":
        dims = grid.regroup(self.dims, shape)
        if dims is None:
            if axes_of(self.dims):
                return self.as_unknown(
                    shape, "a reshape splits rows of the map at other places than their ends"
                )
            dims = plain_dims(shape)
        return replace(self, dims=dims)

    def permute(self, order: Sequence[int]) -> "Lineage":
        return replace(self, dims=tuple(self.dims[place] for place in order))

    def as_unknown(self, shape: Sequence[int], reason: str) -> "Lineage":
        """Return the lineage of an output whose receptive field is unknown, unless it is global anyway."""
        if self.is_global:
            return replace(self, dims=plain_dims(shape))
        return replace(
            self, dims=plain_dims(shape), axes=(None,) * len(self.axes), unknown=self.unknown or reason
        )

    def as_global(self, shape: Sequence[int]) -> "Lineage":
        return replace(self, dims=plain_dims(shape), axes=(None,) * len(self.axes))

    def mix(self, places: Iterable[int]) -> "Lineage":
        """Let every value depend on all values along some dimensions, which keep their sizes."""
        places = sorted({place for place in places if place < len(self.dims)})
        result = self
        for axis in dict.fromkeys(axes_of(self.dims[place] for place in places)):
            result = result._mix_axis(axis, places)
        dims = list(result.dims)
        for place in places:
            dims[place] = plain(size_of(dims[place]))
        return replace(result, dims=tuple(dims))

    def _mix_axis(self, axis: int, places: Sequence[int]) -> "Lineage":
        if axis == MIXED:
            result = self
            for each in range(len(self.axes)):
                result = result.with_axis(each, None, {})
            return result
        state = self.axes[axis]
        if state is None:
            return self
        atoms = [(place, atom) for place, dim in enumerate(self.dims) for atom in dim if atom.axis == axis]
        kept = sorted((atom for place, atom in atoms if place not in places), key=lambda each: -each.stride)
        if prod(atom.size for atom in kept) == 1:
            return self.with_axis(axis, None, {})
        dropped = [atom for place, atom in atoms if place in places]
        return self.rearrange(axis, state, kept, dropped)

    def rearrange(
        self, axis: int, state: AxisLineage, kept: Sequence[Atom], dropped: Sequence[Atom] = ()
    ) -> "Lineage":
        """Renumber the positions of an axis by the digits `kept`, which must be different atoms."""
        windows = grid.rearranged(kept, dropped, state.count)
        count = prod(atom.size for atom in kept)
        strides = [prod(atom.size for atom in kept[index + 1 :]) for index in range(len(kept))]
        new = {id(atom): Atom(axis, atom.size, stride) for atom, stride in zip(kept, strides, strict=True)}
        return self.with_axis(axis, state.through(windows, count), new)

    def with_axis(self, axis: int, state: AxisLineage | None, new: dict[int, Atom]) -> "Lineage":
        """Replace the state of an axis, and its atoms; those without a new one lose their axis."""
        dims = tuple(
            grid.simplify(
                tuple(new.get(id(atom), Atom(None, atom.size) if atom.axis == axis else atom) for atom in dim)
            )
            for dim in self.dims
        )
        axes = tuple(state if index == axis else each for index, each in enumerate(self.axes))
        return replace(self, dims=dims, axes=axes)

    def reduce(self, places: Iterable[int], *, keep: bool = False) -> "Lineage":
        """Reduce some dimensions; with `keep` they stay with size 1."""
        places = set(places) & set(range(len(self.dims)))
        rest = self.mix(places)
        dims = [
            plain(1) if place in places else dim
            for place, dim in enumerate(rest.dims)
            if keep or place not in places
        ]
        return replace(rest, dims=tuple(dims))

    def through(
        self,
        windows: Sequence[Windows],
        places: Sequence[int],
        shape: Sequence[int],
        *,
        pooling: bool = False,
    ) -> "Lineage":
        """Move windows over some dimensions, one for each.

        With `pooling`, a window over all positions is a global pool.
        """
        result = self
        for place, window in zip(places, windows, strict=True):
            result = result._through(place, window, shape[place], pooling=pooling)
        return replace(
            result,
            dims=tuple(
                dim if size_of(dim) == size else plain(size)
                for dim, size in zip(result.dims, shape, strict=True)
            ),
        )

    def _through(self, place: int, window: Windows, count: int, *, pooling: bool) -> "Lineage":
        size = size_of(self.dims[place])
        if (
            axes_of([self.dims[place]])
            and pooling
            and count == 1
            and set(range(size)) <= set(window.inputs(0))
        ):
            return self.mix([place])
        whole = self.as_axis(place)
        (atom, *others) = whole.dims[place]
        if others or atom.axis == MIXED:
            shape = [count if index == place else size_of(dim) for index, dim in enumerate(self.dims)]
            return self.as_unknown(shape, "a window moves along a dimension that joins several axes or maps")
        state = None if atom.axis is None else whole.axes[atom.axis]
        if atom.axis is None or state is None:
            return whole
        inner = atom.stride
        new = {id(each): each for dim in whole.dims for each in dim if each.axis == atom.axis}
        new[id(atom)] = Atom(atom.axis, count, inner)
        return whole.with_axis(atom.axis, state.through(grid.lifted(window, inner), count * inner), new)

    def as_axis(self, place: int) -> "Lineage":
        """Renumber the positions of an axis so that a dimension of it is their outermost digit."""
        dim = self.dims[place]
        axes = set(axes_of([dim])) - {MIXED}
        if len(axes) != 1 or MIXED in axes_of([dim]):
            return self
        (axis,) = axes
        state = self.axes[axis]
        first = dim[0]
        if state is None or (len(dim) == 1 and first.stride * first.size == state.count):
            return self
        fresh = tuple(Atom(*atom) for atom in dim)
        renewed = replace(self, dims=(*self.dims[:place], fresh, *self.dims[place + 1 :]))
        others = [
            atom
            for index, each in enumerate(self.dims)
            for atom in each
            if index != place and atom.axis == axis
        ]
        return renewed.rearrange(axis, state, [*fresh, *sorted(others, key=lambda each: -each.stride)])

    def repeat(self, place: int, times: int) -> "Lineage":
        """Repeat a dimension, the copies one after the other."""
        dim = grid.simplify((Atom(None, times), *self.dims[place]))
        return replace(self, dims=(*self.dims[:place], dim, *self.dims[place + 1 :]))


def combine(lineages: Sequence[Lineage], shape: Sequence[int]) -> tuple[Lineage, tuple[str, ...]]:
    """Return the lineage of an elementwise operation of several tensors, broadcast to `shape`, and notes."""
    rows = frozenset().union(*(lineage.rows for lineage in lineages))
    first = replace(lineages[0], rows=rows)
    if all(lineage.is_global for lineage in lineages):
        return first.as_global(shape), ()
    unknown = next((lineage.unknown for lineage in lineages if lineage.unknown), "")
    if unknown:
        return replace(first, unknown=unknown).as_unknown(shape, unknown), ()
    if len({id(lineage) for lineage in lineages}) == 1 and grid.sizes_of(first.dims) == tuple(shape):
        return first, ()
    fitted = [_broadcast(lineage, shape) for lineage in lineages]
    if _differ(fitted):
        fitted = [_in_order(lineage) for lineage in fitted]
    if _differ(fitted):
        return first.as_unknown(shape, "different axes or positions of the image are combined"), ()
    dims = tuple(
        max(dims, key=lambda dim: len(axes_of([dim])))
        for dims in zip(*(each.dims for each in fitted), strict=True)
    )
    if any(_disagree(states) for states in zip(*(lineage.axes for lineage in fitted), strict=True)):
        return first.as_unknown(shape, "maps with different positions are combined"), ()
    if _repeated(dims):
        return first.as_unknown(shape, "positions of the image are combined with others of the same axis"), ()
    axes: list[AxisLineage | None] = []
    notes: list[str] = []
    for states in zip(*(lineage.axes for lineage in fitted), strict=True):
        local = _same_positions([state for state in states if state is not None])
        if local and len(local) < len(states):
            notes.append(GATED)
        notes += _misaligned(local)
        axes.append(_union(local))
    return Lineage(dims=dims, axes=tuple(axes), rows=rows), tuple(dict.fromkeys(notes))


def _repeated(dims: Dims) -> bool:
    """Whether an axis of the image occurs twice, as in products of all positions with all positions."""
    digits = [
        (atom.axis, atom.stride) for dim in dims for atom in dim if atom.axis is not None and atom.size > 1
    ]
    return len(set(digits)) < len(digits)


def _differ(lineages: Sequence[Lineage]) -> bool:
    """Whether a dimension has different positions of the image in different tensors."""
    columns = zip(*(lineage.dims for lineage in lineages), strict=True)
    return any(len({dim for dim in dims if axes_of([dim])}) > 1 for dims in columns)


def _in_order(lineage: Lineage) -> Lineage:
    """Renumber the positions of every axis so that equal maps have equal dimensions."""
    for place in range(len(lineage.dims)):
        lineage = lineage.as_axis(place)
    return lineage


def _disagree(states: Iterable[AxisLineage | None]) -> bool:
    return len({state.count for state in states if state is not None} - {1}) > 1


def _same_positions(states: list[AxisLineage]) -> list[AxisLineage]:
    """Repeat single positions, such as one row of a map, to the positions of the others."""
    count = max((state.count for state in states), default=1)
    same = Windows(inputs=lambda _: [0], input_period=0)
    return [state if state.count == count else state.through(same, count) for state in states]


def _union(states: Sequence[AxisLineage]) -> AxisLineage | None:
    if not states:
        return None
    result = states[0]
    for state in states[1:]:
        result = result.combine(state)
    return result


def _misaligned(states: Sequence[AxisLineage]) -> tuple[str, ...]:
    if len(states) < 2 or not all(state.wide.jump for state in states):
        return ()
    centres = [state.wide.centres() for state in states]
    worst: tuple[str, ...] = ()
    for at_one_place in zip(*centres, strict=False):
        worst = max(worst, misalignments([state.wide.jump for state in states], at_one_place))
    return worst


def _broadcast(lineage: Lineage, shape: Sequence[int]) -> Lineage:
    """Broadcast a lineage to a shape; along a broadcast axis the receptive field is the same everywhere."""
    dims: list[Dim] = [plain(1)] * (len(shape) - len(lineage.dims)) + list(lineage.dims)
    return replace(
        lineage,
        dims=tuple(
            dim if size_of(dim) == size else plain(size) for dim, size in zip(dims, shape, strict=True)
        ),
    )


def concatenate(
    lineages: Sequence[Lineage | None], place: int, shape: Sequence[int], sizes: Sequence[int]
) -> Lineage:
    """Return the lineage of tensors one after the other along a dimension that has positions of the image.

    Args:
        lineages: Of each tensor; None for constants.
        place: The dimension.
        shape: The shape of the result.
        sizes: The size of each tensor along the dimension.
    """
    present = [lineage for lineage in lineages if lineage is not None]
    rows = frozenset().union(*(lineage.rows for lineage in present))
    first = replace(present[0], rows=rows)
    if all(lineage.is_global for lineage in present):
        return first.as_global(shape)
    unknown = next((lineage.unknown for lineage in present if lineage.unknown), "")
    if unknown:
        return replace(first, unknown=unknown).as_unknown(shape, unknown)
    wholes = [None if lineage is None else lineage.as_axis(place) for lineage in lineages]
    joined = _concatenate_axis(wholes, place, shape, sizes)
    return replace(joined, rows=rows) if joined else _concatenate_parts(lineages, first, place, shape, sizes)


def _concatenate_axis(
    lineages: Sequence[Lineage | None], place: int, shape: Sequence[int], sizes: Sequence[int]
) -> Lineage | None:
    """Concatenate along one complete axis, which keeps its positions; None if it is not one."""
    present = [lineage for lineage in lineages if lineage is not None]
    dims = {lineage.dims[place] for lineage in present}
    axes = {dim[0].axis for dim in dims}
    if any(len(dim) != 1 or dim[0].stride != 1 for dim in dims) or len(axes) != 1 or not axes <= {0, 1, 2}:
        return None
    (axis,) = axes
    assert axis is not None, "as above"
    alone = len(present) == 1
    moved = []
    for lineage, start, size in zip(lineages, accumulate(sizes, initial=0), sizes, strict=False):
        if lineage is None:
            continue
        # Among constants, as padding is, the map continues beyond its borders.
        window = spans.strided(-start) if alone else _at(start, size, shape[place])
        result_shape = [*grid.sizes_of(lineage.dims)]
        result_shape[place] = shape[place]
        moved.append(lineage.through([window], [place], result_shape))
    result, _ = combine(moved, shape)
    return result


def _at(start: int, size: int, count: int) -> Windows:
    """Return the windows that put a map at `start` among `count` positions."""
    return spans.table([[i - start] if start <= i < start + size else [] for i in range(count)])


def _concatenate_parts(
    lineages: Sequence[Lineage | None], first: Lineage, place: int, shape: Sequence[int], sizes: Sequence[int]
) -> Lineage:
    """Concatenate tokens: the sizes of their receptive fields stay known, their places in the map do not."""
    parts = tuple(
        plain(size) if lineage is None else lineage.dims[place]
        for lineage, size in zip(lineages, sizes, strict=True)
    )
    states = [[lineage.axes[axis] for lineage in lineages if lineage] for axis in range(len(first.axes))]
    counts = [{state.count for state in each if state} for each in states]
    if any(len(each) > 1 for each in counts):
        parts = ()
    atom = Atom(MIXED, shape[place], parts=parts)
    dims = tuple(
        (atom,) if index == place else (dim if size_of(dim) == shape[index] else plain(shape[index]))
        for index, dim in enumerate(first.dims)
    )
    axes = tuple(_union(_one_after_another([state for state in each if state])) for each in states)
    return replace(first, dims=dims, axes=axes)


def _one_after_another(states: list[AxisLineage]) -> list[AxisLineage]:
    """Give maps of different sizes positions of their own."""
    if len({state.count for state in states}) < 2:
        return states
    total = sum(state.count for state in states)
    result, start = [], 0
    for state in states:
        result.append(state.through(_at(start, state.count, total), total))
        start += state.count
    return result


def map_windows(
    lineage: Lineage,
    out_shape: Sequence[int],
    make: Callable[[int, int, int], Windows],
    *,
    num_axes: int | None = None,
    pooling: bool = False,
) -> Lineage:
    """Move windows over the last dimensions, `make(index, in size, out size)` for each of them."""
    num = max(len(out_shape) - 2, 0) if num_axes is None else num_axes
    places = range(len(out_shape) - num, len(out_shape))
    windows = [
        make(index, size_of(lineage.dims[place]), out_shape[place]) for index, place in enumerate(places)
    ]
    return lineage.through(windows, places, out_shape, pooling=pooling)
