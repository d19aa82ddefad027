"""Where paths join: the lineages of elementwise operations and concatenations of several tensors."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from convsmith.net.rows import GATED, misalignments
from convsmith.tracing import grid, spans
from convsmith.tracing.grid import MIXED, Atom, Dim, Dims, axes_of, plain, size_of
from convsmith.tracing.lineage import AxisLineage, Lineage
from convsmith.tracing.spans import Windows


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
