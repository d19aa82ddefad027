"""The effect of an assignment to a part of a tensor on the tensors that share its memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from convsmith.tracing import grid, spans
from convsmith.tracing.grid import axes_of, plain
from convsmith.tracing.joins import combine
from convsmith.tracing.lineage import Lineage


@dataclass(frozen=True)
class _Region:
    """The part of a dimension that a view covers."""

    start: int
    step: int
    size: int
    whole: int

    @property
    def is_whole(self) -> bool:
        return self.size == self.whole


def update(
    tensor: Tensor, before: Lineage | None, written: Tensor, lineage: Lineage | None
) -> Lineage | None:
    """Return the new lineage of a tensor that shares memory with one that was written; None if unchanged.

    Args:
        tensor: The other tensor.
        before: Its lineage; None if it does not depend on the image.
        written: The tensor that was written.
        lineage: Its lineage after that.
    """
    if lineage is None:
        return None
    shape = tuple(tensor.shape)
    if _layout(tensor) == _layout(written):
        return lineage
    regions = _regions(written, tensor)
    if regions is not None:
        placed = _place(lineage, regions, over=before is not None)
        return combine([placed, *([before] if before else [])], shape)[0]
    parts = _regions(tensor, written)
    if parts is not None:
        return _crop(lineage, parts)
    if _disjoint(tensor, written):
        return None
    return lineage.as_unknown(shape, "parts of its memory are written through another view")


def _disjoint(first: Tensor, second: Tensor) -> bool:
    """Whether two views with the same strides, such as the parts of a split, have no value in common."""
    if first.stride() != second.stride():
        return False
    before, after = sorted((first, second), key=lambda view: int(view.storage_offset()))
    rest = int(after.storage_offset() - before.storage_offset())
    strides = before.stride()
    for place in sorted(range(before.dim()), key=lambda place: -strides[place]):
        start, rest = divmod(rest, max(strides[place], 1))
        if start >= before.shape[place]:
            return True
    return False


def _layout(tensor: Tensor) -> tuple[object, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.storage_offset()


def _regions(part: Tensor, whole: Tensor) -> list[_Region | int] | None:
    """Return the region of each dimension of `whole` that `part` covers, a number if it is one position."""
    rest = int(part.storage_offset() - whole.storage_offset())
    if rest < 0:
        return None
    strides = whole.stride()
    order = sorted(range(whole.dim()), key=lambda place: -strides[place])
    starts = {}
    for place in order:
        stride = max(whole.stride(place), 1)
        starts[place], rest = divmod(rest, stride) if whole.shape[place] > 1 else (0, rest)
    if rest:
        return None
    return _matched(part, whole, starts)


def _matched(part: Tensor, whole: Tensor, starts: dict[int, int]) -> list[_Region | int] | None:
    """Match the dimensions of a part, some of which may be dropped, with those of the whole."""
    result: list[_Region | int] = []
    mine = 0
    dropped = whole.dim() - part.dim()
    for place, size in enumerate(whole.shape):
        start = starts[place]
        step, rest = divmod(part.stride(mine), whole.stride(place)) if mine < part.dim() else (0, 1)
        fits = mine < part.dim() and (
            part.shape[mine] == size == 1
            or (not rest and step > 0 and start + (part.shape[mine] - 1) * step < size)
        )
        if fits:
            result.append(_Region(start, max(step, 1), part.shape[mine], size))
            mine += 1
        elif dropped:
            result.append(start)
            dropped -= 1
        else:
            return None
    return result if mine == part.dim() else None


def _place(lineage: Lineage, regions: Sequence[_Region | int], *, over: bool) -> Lineage:
    """Return the lineage of the whole with only the part written; over a map the part ends at its borders."""
    for place, region in enumerate(regions):
        if isinstance(region, int):
            dims = (*lineage.dims[:place], plain(1), *lineage.dims[place:])
            lineage = replace(lineage, dims=dims)
    for place, region in enumerate(regions):
        if isinstance(region, int) or region.is_whole:
            continue
        if not axes_of([lineage.dims[place]]):
            lineage = lineage.resize(place, region.whole)
            continue
        shape = list(grid.sizes_of(lineage.dims))
        shape[place] = region.whole
        lineage = lineage.through([_window(region, over=over)], [place], shape)
    return lineage


def _window(region: _Region, *, over: bool) -> spans.Windows:
    def inputs(output: int) -> list[int]:
        place, rest = divmod(output - region.start, region.step)
        return [] if rest else [place]

    if over and region.step == 1:
        inside = range(region.start, region.start + region.size)
        return spans.table([inputs(i) if i in inside else [] for i in range(region.whole)])
    return spans.Windows(inputs=inputs, output_period=region.step)


def _crop(lineage: Lineage, regions: Sequence[_Region | int]) -> Lineage:
    """Return the lineage of a part of a tensor that was written."""
    dropped = []
    for place, region in enumerate(regions):
        start, step, size = (
            (region, 1, 1) if isinstance(region, int) else (region.start, region.step, region.size)
        )
        if isinstance(region, int):
            dropped.append(place)
        elif region.is_whole:
            continue
        shape = list(grid.sizes_of(lineage.dims))
        shape[place] = size
        lineage = lineage.through([spans.strided(start, step)], [place], shape)
    return replace(lineage, dims=tuple(dim for place, dim in enumerate(lineage.dims) if place not in dropped))
