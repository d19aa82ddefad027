"""The effect of PyTorch's operators on the lineages of their inputs, and their MACs.

A closed registry. Operators that are not in it, and that PyTorch does not tag as pointwise, are unknown.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from convsmith.net.rows import FULL_MAP
from convsmith.tracing import shape_operators as shapes
from convsmith.tracing import window_operators as windows
from convsmith.tracing.calls import Call, Effect, each_output, positive
from convsmith.tracing.lineage import Lineage, combine, image_axes, plain_dims


def effect_of(call: Call, *, pointwise: bool) -> Effect:
    """Return the effect of a call, at least one of whose inputs depends on the image."""
    rule = _RULES.get(call.name)
    if rule is not None:
        return rule(call)
    if pointwise or call.name in _POINTWISE:
        return _pointwise(call)
    reason = f"there is no rule for the operator {call.name}"
    lineage = call.lineages[0]
    return Effect(
        lineages=tuple(lineage.as_unknown(output.shape, reason) for output in call.outputs),
        macs=None,
        notes=(f"{reason}: its receptive field and its MACs are unknown",),
    )


def _pointwise(call: Call) -> Effect:
    lineage, notes = combine(call.lineages, call.shape)
    operation = call.operation
    return Effect(lineages=each_output(call, lineage), operation=operation, elementwise=True, notes=notes)


def _normalisation(call: Call) -> Effect:
    """Running statistics are constants; others are computed over the map."""
    (lineage, *_) = call.lineages
    over_map = bool(call.values.get("training", call.name != "_native_batch_norm_legit_no_training"))
    if call.name == "native_layer_norm":
        over_map = bool(image_axes(lineage.dims[-len(call.values["normalized_shape"]) :]))
    notes = (FULL_MAP,) if over_map else ()
    return Effect(
        lineages=(lineage, *(lineage.as_unknown(output.shape, "statistics") for output in call.outputs[1:])),
        operation=call.operation,
        elementwise=not over_map,
        notes=notes,
    )


def _over_dimension(call: Call) -> Effect:
    """Softmax and the like: each value depends on all values along a dimension."""
    (lineage, *_) = call.lineages
    place = positive(call.values["dim"], len(lineage.dims))
    notes = (FULL_MAP,) if image_axes(lineage.dims[place : place + 1]) else ()
    return Effect(lineages=each_output(call, lineage), operation=call.name.strip("_"), notes=notes)


def _reduction(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    dims = call.values.get("dim")
    every = list(range(len(lineage.dims)))
    chosen = [dims] if isinstance(dims, int) else list(dims or every)
    places = [positive(place, len(lineage.dims)) for place in chosen]
    keep = bool(call.values.get("keepdim", False))
    return Effect(lineages=each_output(call, lineage.reduce(places, keep=keep)), operation=call.name)


def _matrix_product(call: Call) -> Effect:
    """`(..., m, k) @ (..., k, n)`: mm, addmm, bmm and baddbmm, whose operands have different names."""
    names = ("self", "mat2") if call.name in {"mm", "bmm"} else ("mat1", "mat2")
    if call.name == "baddbmm":
        names = ("batch1", "batch2")
    left, right = (call.values[name] for name in names)
    lineages = [call.lineage_of(each) for each in (left, right)]
    macs = left.numel() * right.shape[-1]
    if lineages[0] is not None and lineages[1] is None:
        last = len(call.shape) - 1
        result = lineages[0].resize(last, call.shape[last]).without(image_axes([lineages[0].dims[last]]))
    elif lineages[0] is None and lineages[1] is not None:
        last = len(call.shape) - 2
        result = lineages[1].resize(last, call.shape[last]).without(image_axes([lineages[1].dims[last]]))
    else:
        result, _ = combine([_global(lineage, call.shape) for lineage in lineages if lineage], call.shape)
    return Effect(
        lineages=(result,),
        operation="Linear" if lineages[1] is None else "MatMul",
        macs=macs,
        bias=call.name in {"addmm", "baddbmm"},
        width=(left.shape[-1], right.shape[-1]) if lineages[1] is None else (0, 0),
    )


def _attention(call: Call) -> Effect:
    """Scaled dot-product attention: every query depends on every key."""
    query, key, value = (call.values[name] for name in ("query", "key", "value"))
    lineages, _ = combine([_global(lineage, call.shape) for lineage in call.lineages], call.shape)
    return Effect(
        lineages=each_output(call, lineages),
        operation="Attention",
        macs=query.numel() * key.shape[-2] + prod(query.shape[:-1]) * key.shape[-2] * value.shape[-1],
    )


def _global(lineage: Lineage, shape: Sequence[int]) -> Lineage:
    return replace(lineage.without(range(len(lineage.axes))), dims=plain_dims(shape))


def _embedding(call: Call) -> Effect:
    """Each index selects one vector, along a new last dimension."""
    lineage = call.lineage("indices") or call.lineages[0]
    size = call.shape[-1]
    return Effect(lineages=(replace(lineage, dims=(*lineage.dims, ((None, size),))),), operation="Embedding")


def _gate(call: Call) -> Effect:
    """GLU: one half of the channels times a function of the other."""
    (lineage, *_) = call.lineages
    place = positive(call.values.get("dim", -1), len(lineage.dims))
    return Effect(lineages=(lineage.resize(place, call.shape[place]),), operation="glu")


# Pointwise operators without PyTorch's tag.
_POINTWISE = {
    "hardswish", "_prelu_kernel", "hardsigmoid", "copy", "masked_fill", "where", "lift_fresh",
    "bernoulli", "native_dropout", "fill", "zero",
}  # fmt: skip

_RULES: dict[str, Callable[[Call], Effect]] = {
    **dict.fromkeys(("convolution", "_convolution"), windows.convolution),
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d",
         "avg_pool2d", "avg_pool3d"),
        windows.pool,
    ),
    **dict.fromkeys(
        ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_max_pool2d",
         "adaptive_max_pool3d"),
        windows.adaptive_pool,
    ),
    **dict.fromkeys(
        ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
         "upsample_bilinear2d"),
        windows.upsample,
    ),
    **dict.fromkeys(
        ("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
        windows.pad,
    ),
    "pixel_shuffle": windows.pixel_shuffle,
    "pixel_unshuffle": windows.pixel_unshuffle,
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
         "native_group_norm", "native_layer_norm"),
        _normalisation,
    ),
    **dict.fromkeys(("_softmax", "_log_softmax", "cumsum", "sort"), _over_dimension),
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "var", "std", "var_mean", "prod", "norm", "linalg_vector_norm",
         "logsumexp", "argmax", "max", "min", "any", "all"),
        _reduction,
    ),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), _matrix_product),
    **dict.fromkeys(
        ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
         "_scaled_dot_product_efficient_attention", "_scaled_dot_product_attention_math"),
        _attention,
    ),
    "embedding": _embedding,
    "cat": shapes.concatenation,
    "stack": shapes.stack,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten", "alias", "detach",
                     "contiguous", "lift", "_reshape_alias", "squeeze", "unsqueeze", "clone", "_to_copy"),
                    shapes.reshape),
    **dict.fromkeys(("permute", "transpose", "t", "movedim"), shapes.permutation),
    "expand": shapes.expand,
    "as_strided": shapes.restrided,
    "slice": shapes.strided_slice,
    "select": shapes.select,
    "unbind": shapes.select,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), shapes.split),
    "glu": _gate,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), shapes.channel_shuffle),
}  # fmt: skip
