"""Operators that rearrange values: reshapes, permutations, slices, splits and concatenations."""

from dataclasses import replace
from math import prod

from convsmith.tracing import spans
from convsmith.tracing.calls import Call, Effect, positive, unknown
from convsmith.tracing.lineage import combine, image_axes


def concatenation(call: Call) -> Effect:
    place = positive(call.values.get("dim", 0), len(call.shape))
    if image_axes(lineage.dims[place] for lineage in call.lineages):
        return unknown(call, "maps are concatenated along an axis of the image", macs=0)
    shape = [1 if index == place else size for index, size in enumerate(call.shape)]
    result, notes = combine([lineage.resize(place, 1) for lineage in call.lineages], shape)
    return Effect(lineages=(result.resize(place, call.shape[place]),), operation="Concat", notes=notes)


def stack(call: Call) -> Effect:
    result, notes = combine(call.lineages, call.outputs[0].select(call.values.get("dim", 0), 0).shape)
    place = positive(call.values.get("dim", 0), len(call.shape))
    dims = (*result.dims[:place], ((None, call.shape[place]),), *result.dims[place:])
    return Effect(lineages=(replace(result, dims=dims),), operation="Stack", notes=notes)


def reshape(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    results = tuple(lineage.reshape(output.shape) for output in call.outputs)
    reason = results[0].unknown if not lineage.unknown else ""
    return Effect(
        lineages=results, operation=call.name, is_view=not reason, notes=(reason,) if reason else ()
    )


def restrided(call: Call) -> Effect:
    """Another memory format of the same map, as after pooling channels-last maps."""
    (lineage, *_) = call.lineages
    if tuple(call.values["self"].shape) == call.shape:
        return Effect(lineages=(lineage,), is_view=True)
    return unknown(call, "memory is read with custom strides", macs=0)


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
    return Effect(lineages=(lineage.permute(order),), is_view=True)


def strided_slice(call: Call) -> Effect:
    """Every `step`-th value from `start` along one dimension."""
    (lineage, *_) = call.lineages
    place = positive(call.values.get("dim", 0), len(lineage.dims))
    step = call.values.get("step", 1)
    size = prod(size for _, size in lineage.dims[place])
    start = call.values.get("start") or 0
    start = max(0, start + size) if start < 0 else start
    windows = spans.Windows(inputs=lambda i: [start + i * step], input_period=step)
    strided = step > 1 and bool(image_axes([lineage.dims[place]]))
    return Effect(
        lineages=(lineage.through([windows], [place], call.shape),),
        is_view=not strided,
        operation="Slice",
        elementwise=False,
    )


def select(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    place = positive(call.values.get("dim", 0), len(lineage.dims))
    if image_axes([lineage.dims[place]]):
        return unknown(call, "it selects single rows or columns of the map", macs=0)
    selected = replace(lineage, dims=lineage.dims[:place] + lineage.dims[place + 1 :])
    return Effect(lineages=(selected,) * len(call.outputs), is_view=True)


def split(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    place = positive(call.values.get("dim", 0), len(lineage.dims))
    if image_axes([lineage.dims[place]]):
        return unknown(call, "the map is split along an axis of the image", macs=0)
    lineages = tuple(lineage.resize(place, output.shape[place]) for output in call.outputs)
    return Effect(lineages=lineages, is_view=True)


def expand(call: Call) -> Effect:
    lineage, _ = combine(call.lineages, call.shape)
    return Effect(lineages=(lineage,), is_view=True)


def channel_shuffle(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    return Effect(lineages=(lineage,), operation="ChannelShuffle")
