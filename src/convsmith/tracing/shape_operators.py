"""Operators that rearrange values: reshapes, permutations, slices, splits, picks and concatenations."""

from dataclasses import replace
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from convsmith.tracing import grid, spans
from convsmith.tracing.calls import Call, Effect, each_output, positive, unknown
from convsmith.tracing.grid import MIXED, Atom, Dim, axes_of, plain, size_of
from convsmith.tracing.joins import combine, concatenate
from convsmith.tracing.lineage import Lineage


def concatenation(call: Call) -> Effect:
    tensors = [each for each in call.tensors if each.dim() == len(call.shape)]
    lineages = [call.lineage_of(tensor) for tensor in tensors]
    present = [lineage for lineage in lineages if lineage is not None]
    place = positive(call.values.get("dim", 0), len(call.shape))
    if any(axes_of([lineage.dims[place]]) for lineage in present):
        sizes = [tensor.shape[place] for tensor in tensors]
        result = concatenate(lineages, place, call.shape, sizes)
        reason = result.unknown if not any(lineage.unknown for lineage in present) else ""
        return Effect(lineages=(result,), operation="Concat", notes=(reason,) if reason else ())
    shape = [1 if index == place else size for index, size in enumerate(call.shape)]
    result, notes = combine([lineage.resize(place, 1) for lineage in present], shape)
    return Effect(lineages=(result.resize(place, call.shape[place]),), operation="Concat", notes=notes)


def stack(call: Call) -> Effect:
    place = positive(call.values.get("dim", 0), len(call.shape))
    result, notes = combine(call.lineages, [*call.shape[:place], *call.shape[place + 1 :]])
    dims = (*result.dims[:place], plain(call.shape[place]), *result.dims[place:])
    return Effect(lineages=(replace(result, dims=dims),), operation="Stack", notes=notes)


def reshape(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    results = tuple(lineage.reshape(output.shape) for output in call.outputs)
    reason = results[0].unknown if not lineage.unknown else ""
    return Effect(
        lineages=results, operation=call.operation, is_view=not reason, notes=(reason,) if reason else ()
    )


def complex_view(call: Call) -> Effect:
    """The real and imaginary parts as a last dimension, or back."""
    (lineage, *_) = call.lineages
    dims = (*lineage.dims, plain(2)) if len(call.shape) > len(lineage.dims) else lineage.dims[:-1]
    return Effect(lineages=(replace(lineage, dims=dims),), operation=call.operation, is_view=True)


def restrided(call: Call) -> Effect:
    """Another memory format of the same map, as after pooling channels-last maps."""
    (lineage, *_) = call.lineages
    if tuple(call.values["self"].shape) == call.shape:
        return Effect(lineages=(lineage,), operation=call.operation, is_view=True)
    return unknown(call, "memory is read with custom strides")


def permutation(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    count = len(lineage.dims)
    order = list(range(count))
    if call.name in {"permute", "movedim"}:
        order = [positive(place, count) for place in call.values["dims"]]
    elif count > 1:
        pair = [call.values.get(name, default) for name, default in (("dim0", 0), ("dim1", 1))]
        first, second = (positive(place, count) for place in pair)
        order[first], order[second] = order[second], order[first]
    return Effect(lineages=(lineage.permute(order),), operation=call.operation, is_view=True)


def strided_slice(call: Call) -> Effect:
    """Every `step`-th value from `start` along one dimension."""
    (lineage, *_) = call.lineages
    place = positive(call.values.get("dim", 0), len(lineage.dims))
    step = call.values.get("step", 1)
    start, _, _ = slice(call.values.get("start"), None).indices(size_of(lineage.dims[place]))
    strided = step > 1 and bool(axes_of([lineage.dims[place]]))
    return Effect(
        lineages=(_slice(lineage, place, start, step, call.shape[place]),),
        is_view=not strided,
        operation="Slice",
    )


def _slice(lineage: Lineage, place: int, start: int, step: int, count: int) -> Lineage:
    dim = lineage.dims[place]
    if size_of(dim) == count:
        return lineage
    if not axes_of([dim]):
        return lineage.resize(place, count)
    if len(set(axes_of([dim]))) == 1 and dim[0].axis != MIXED:
        windows = spans.strided(start, step)
        shape = [count if index == place else size_of(each) for index, each in enumerate(lineage.dims)]
        return lineage.through([windows], [place], shape)
    parts = _parts_between(dim, start, start + count) if step == 1 else ()
    new: Dim = parts[0] if len(parts) == 1 else (Atom(MIXED, count, parts=parts),)
    return replace(lineage, dims=(*lineage.dims[:place], new, *lineage.dims[place + 1 :]))


def _parts_between(dim: Dim, first: int, end: int) -> tuple[Dim, ...]:
    """Return the concatenated parts from position `first` to before `end`; none if these cut a part."""
    parts = dim[0].parts if len(dim) == 1 else ()
    ends = list(accumulate(map(size_of, parts)))
    starts = [0, *ends[:-1]]
    if first not in starts or end not in ends:
        return ()
    return parts[starts.index(first) : ends.index(end) + 1]


def select(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    place = positive(call.values.get("dim", 0), len(lineage.dims))
    index = call.values["index"] % max(size_of(lineage.dims[place]), 1)
    return Effect(lineages=(_select(lineage, place, index),), operation=call.operation, is_view=True)


def unbind(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    place = positive(call.values.get("dim", 0), len(lineage.dims))
    lineages = tuple(_select(lineage, place, index) for index in range(len(call.outputs)))
    return Effect(lineages=lineages, operation=call.operation, is_view=True)


def _select(lineage: Lineage, place: int, index: int) -> Lineage:
    """Pick one position, which drops the dimension."""
    dim = lineage.dims[place]
    for part, end in zip(dim[0].parts, accumulate(map(size_of, dim[0].parts)), strict=True):
        if index < end:
            inner = replace(lineage, dims=(*lineage.dims[:place], part, *lineage.dims[place + 1 :]))
            if not axes_of([part]):
                # A class token, which sees the image by attention alone.
                return inner.as_global(grid.sizes_of(inner.reduce([place]).dims))
            return _select(inner, place, index - end + size_of(part))
    if axes_of([dim]) and dim[0].axis != MIXED:
        atoms = len(dim)
        sizes = grid.sizes_of(lineage.dims)
        split = lineage.reshape([*sizes[:place], *(atom.size for atom in dim), *sizes[place + 1 :]])
        left = index
        for each in reversed(range(place, place + atoms)):
            left, digit = divmod(left, size_of(split.dims[each]))
            split = _slice_one(split, each, digit)
        lineage = split
    else:
        atoms = 1
    return replace(lineage, dims=lineage.dims[:place] + lineage.dims[place + atoms :])


def _slice_one(lineage: Lineage, place: int, index: int) -> Lineage:
    shape = [1 if each == place else size_of(dim) for each, dim in enumerate(lineage.dims)]
    return lineage.through([spans.table([[index]])], [place], shape)


def split(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    place = positive(call.values.get("dim", 0), len(lineage.dims))
    sizes = [output.shape[place] for output in call.outputs]
    starts = accumulate(sizes[:-1], initial=0)
    lineages = tuple(
        _slice(lineage, place, start, 1, size) for start, size in zip(starts, sizes, strict=True)
    )
    return Effect(lineages=lineages, operation=call.operation, is_view=True)


def expand(call: Call) -> Effect:
    lineage, _ = combine(call.lineages, call.shape)
    return Effect(lineages=(lineage,), operation=call.operation, is_view=True)


def repeat(call: Call) -> Effect:
    """Copies of the tensor one after the other along each dimension."""
    (lineage, *_) = call.lineages
    times = list(call.values["repeats"])
    missing = len(times) - len(lineage.dims)
    result = replace(lineage, dims=(plain(1),) * missing + lineage.dims)
    for place, count in enumerate(times):
        result = result.repeat(place, count)
    return Effect(lineages=(result,), operation="repeat")


def flip(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    for place in call.values["dims"]:
        lineage = _reverse(lineage, positive(place, len(lineage.dims)))
    return Effect(lineages=(lineage,), operation="flip")


def _reverse(lineage: Lineage, place: int) -> Lineage:
    if not axes_of([lineage.dims[place]]):
        return lineage
    last = size_of(lineage.dims[place]) - 1
    windows = spans.Windows(inputs=lambda i: [last - i], input_period=-1)
    return lineage.through([windows], [place], grid.sizes_of(lineage.dims))


def rotation(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    first, second = (positive(place, len(lineage.dims)) for place in call.values["dims"])
    for _ in range(call.values["k"] % 4):
        order = list(range(len(lineage.dims)))
        order[first], order[second] = second, first
        lineage = _reverse(lineage, second).permute(order)
    return Effect(lineages=(lineage,), operation="rot90")


def roll(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    shifts, places = list(call.values["shifts"]), list(call.values["dims"])
    if not places:
        flat = lineage.reshape([prod(call.shape)])
        rolled = _roll(flat, 0, shifts[0]).reshape(call.shape)
        return Effect(lineages=(rolled,), operation="roll")
    for shift, place in zip(shifts, places, strict=True):
        lineage = _roll(lineage, positive(place, len(lineage.dims)), shift)
    return Effect(lineages=(lineage,), operation="roll")


def _roll(lineage: Lineage, place: int, shift: int) -> Lineage:
    size = size_of(lineage.dims[place])
    if not axes_of([lineage.dims[place]]):
        return lineage
    windows = spans.table([[(i - shift) % size] for i in range(size)])
    return lineage.through([windows], [place], grid.sizes_of(lineage.dims))


def pick(call: Call) -> Effect:
    """`index_select`, `gather` and `take_along_dim`: values along one dimension by their indices."""
    index, lineage = call.values["index"], call.lineage("self")
    if lineage is None:
        return _picked_by_image(call)
    place = positive(call.values["dim"], len(lineage.dims))
    if not axes_of([lineage.dims[place]]):
        paths = [_fit(lineage.resize(place, call.shape[place]), call)]
        by_index = call.lineage("index")
        result, notes = combine([*paths, *([by_index] if by_index else [])], call.shape)
        return Effect(lineages=each_output(call, result), operation=call.operation, notes=notes)
    values = _values(index, size_of(lineage.dims[place])) if call.name == "index_select" else None
    if values is None:
        return _picked_by_image(call)
    windows = spans.table([[each] for each in values])
    return Effect(lineages=(lineage.through([windows], [place], call.shape),), operation=call.operation)


def index(call: Call) -> Effect:
    """`x[a, :, b]` with tensors as indices."""
    (first, *_) = call.lineages
    lineage = call.lineage("self")
    indices = call.values["indices"]
    places = [place for place, each in enumerate(indices) if each is not None]
    by_image = any(call.lineage_of(indices[place]) is not None for place in places)
    if lineage is None or by_image:
        return _picked_by_image(call)
    if axes_of(lineage.dims[place] for place in places):
        size = size_of(lineage.dims[places[0]])
        values = _values(indices[places[0]], size) if len(places) == 1 else None
        if values is None:
            return unknown(call, _PICKED)
        windows = spans.table([[each] for each in values])
        return Effect(lineages=(lineage.through([windows], places, call.shape),), operation=call.operation)
    kept = [dim for place, dim in enumerate(first.dims) if place not in places]
    picked = len(call.shape) - len(kept)
    adjacent = places == list(range(places[0], places[0] + len(places)))
    start = places[0] if adjacent else 0
    dims = (*kept[:start], *grid.plain_dims(call.shape[start : start + picked]), *kept[start:])
    mixed = lineage.mix(places)
    return Effect(lineages=(replace(mixed, dims=dims),), operation=call.operation)


_PICKED = "the positions that it reads are values of an index, and only shapes are traced"


def _picked_by_image(call: Call) -> Effect:
    return unknown(call, _PICKED)


def _fit(lineage: Lineage, call: Call) -> Lineage:
    """Mix the dimensions that an index has cropped."""
    places = [place for place, dim in enumerate(lineage.dims) if size_of(dim) != call.shape[place]]
    mixed = lineage.mix(places)
    dims = tuple(plain(call.shape[place]) if place in places else dim for place, dim in enumerate(mixed.dims))
    return replace(mixed, dims=dims)


def _values(index: Any, size: int) -> list[int] | None:
    """Return the positions, of `size`, of a one-dimensional index with known values; else None."""
    known = getattr(index, "constant", index)
    if not isinstance(known, Tensor) or known.dim() != 1 or isinstance(known, FakeTensor):
        return None
    with unset_fake_temporarily():
        return [int(value) % size for value in known.tolist()]


def diagonal(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    count = len(lineage.dims)
    places = [positive(call.values[name], count) for name in ("dim1", "dim2")]
    if axes_of(lineage.dims[place] for place in places):
        return unknown(call, "a diagonal of the map is read")
    dims = [dim for place, dim in enumerate(lineage.dims) if place not in places]
    return Effect(
        lineages=(replace(lineage, dims=(*dims, plain(call.shape[-1]))),),
        operation=call.operation,
        is_view=True,
    )


def scatter(call: Call) -> Effect:
    """Writes values to the places of an index along one dimension."""
    place = positive(call.values.get("dim", 0), len(call.shape))
    by_index = call.lineage("index") is not None
    moves = any(axes_of([each.dims[place]]) for each in call.lineages if place < len(each.dims))
    same = all(grid.sizes_of(each.dims) == call.shape for each in call.lineages)
    if by_index or moves or not same:
        return unknown(
            call, "the positions that it writes are values of an index, and only shapes are traced"
        )
    result, notes = combine([each.resize(place, call.shape[place]) for each in call.lineages], call.shape)
    return Effect(lineages=(result,), operation=call.operation, notes=notes)


def indexed_assignment(call: Call) -> Effect:
    """`x[index] = value`: values from a mask or an index; constants leave the receptive field as it is."""
    lineage = call.lineage("self")
    others = [each for each in call.lineages if each is not lineage]
    indices = [each for each in call.values["indices"] if each is not None]
    masks = [each for each in indices if each.dtype == torch.bool]
    if lineage is not None and call.lineage("values") is None and len(masks) == len(indices) == 1:
        # A mask of the first dimensions, which may depend on the image.
        (mask,) = masks
        path = call.lineage_of(mask)
        rest = call.shape[mask.dim() :]
        paths = [replace(path, dims=(*path.dims, *map(plain, (1,) * len(rest))))] if path else []
        result, notes = combine([lineage, *paths], call.shape)
        return Effect(lineages=(result,), operation=call.operation, notes=notes)
    if lineage is not None and not others:
        return Effect(lineages=(lineage,), operation=call.operation)
    return unknown(call, "the positions that it writes are values of an index, and only shapes are traced")


def channel_shuffle(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    return Effect(lineages=(lineage,), operation="ChannelShuffle")
