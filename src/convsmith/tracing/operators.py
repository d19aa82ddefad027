"""The effect of PyTorch's operators on the lineages of their inputs.

A closed registry. The receptive field of operators that are not in it, and that PyTorch does not tag as
pointwise, is unknown.
"""

from collections.abc import Callable
from dataclasses import replace

from convsmith.net.rows import FULL_MAP, ZERO
from convsmith.tracing import shape_operators as shapes
from convsmith.tracing import window_operators as windows
from convsmith.tracing.calls import FAKE_QUANTIZATION, Call, Effect, each_output, positive, unknown
from convsmith.tracing.grid import axes_of, plain, sizes_of
from convsmith.tracing.joins import combine
from convsmith.tracing.lineage import Lineage
from convsmith.tracing.macs import ATTENTION, MATRIX_PRODUCTS, factors, macs_of


def effect_of(call: Call, *, pointwise: bool) -> Effect:
    """Return the effect of a call, at least one of whose inputs depends on the image."""
    rule = _RULES.get(call.name) if call.builtin else None
    if rule is not None:
        effect = rule(call)
    elif pointwise or (call.builtin and call.name in _POINTWISE):
        effect = _pointwise(call)
    else:
        effect = unknown(call, f"the inspector has no rule for the receptive field of '{call.operation}'")
    macs = macs_of(call)
    if macs is None:
        reason = f"the inspector has no rule for the MACs of '{call.operation}'"
        effect = replace(effect, notes=(*effect.notes, reason))
    return replace(effect, macs=macs)


def returns_constant(call: Call, *, mutable: bool) -> bool:
    """Whether the values of the outputs do not depend on those of the inputs."""
    if call.name == "fill":
        return call.lineage("value") is None
    if call.name == "bernoulli" and mutable:
        return call.lineage("p") is None
    return call.name in _CONSTANTS or (mutable and call.name in _RANDOM_FILLS)


def _pointwise(call: Call) -> Effect:
    lineage, notes = combine(call.lineages, call.shape)
    return Effect(
        lineages=each_output(call, lineage),
        operation=call.operation,
        elementwise=True,
        notes=notes,
        inactive=ZERO if call.name == "mul" and _is_zero(call.values.get("other")) else _adds_nothing(call),
    )


def _is_zero(value: object) -> bool:
    return isinstance(value, int | float) and value == 0


def _adds_nothing(call: Call) -> str:
    nothing = _is_zero(call.values.get("alpha")) or _is_zero(call.values.get("other"))
    return "it adds 0" if call.name == "add" and nothing else ""


def _normalisation(call: Call) -> Effect:
    """Running statistics are constants; others are computed over the map."""
    (lineage, *_) = call.lineages
    over_map = bool(call.values.get("training", call.name != "_native_batch_norm_legit_no_training"))
    places = lineage.dims[2:]
    if call.name == "native_layer_norm":
        places = lineage.dims[-len(call.values["normalized_shape"]) :]
    over_map = over_map and bool(axes_of(places))
    notes = (FULL_MAP,) if over_map else ()
    return Effect(
        lineages=(lineage, *(lineage.as_unknown(output.shape, "statistics") for output in call.outputs[1:])),
        operation=call.operation,
        elementwise=not over_map,
        groups=call.values.get("group", 1),
        notes=notes,
    )


def _softmax(call: Call) -> Effect:
    """Each value depends on all values along a dimension."""
    (lineage, *_) = call.lineages
    place = positive(call.values["dim"], len(lineage.dims))
    mixed = lineage.mix([place])
    one = all(atom.size == 1 for atom in lineage.dims[place] if atom.axis is not None)
    if lineage.axes == mixed.axes or one:
        return Effect(lineages=each_output(call, lineage), operation=call.operation)
    if None in mixed.axes:
        return Effect(lineages=each_output(call, lineage), operation=call.operation, notes=(FULL_MAP,))
    return Effect(lineages=each_output(call, mixed), operation=call.operation)


def _along(call: Call) -> Effect:
    """Sorting, accumulating and Fourier transforms: any value may depend on all along some dimensions."""
    (lineage, *_) = call.lineages
    dims = call.values.get("dim", -1)
    places = [positive(place, len(lineage.dims)) for place in ([dims] if isinstance(dims, int) else dims)]
    mixed = lineage.mix(places)
    lineages = []
    for output in call.outputs:
        new = tuple(
            plain(output.shape[place]) if place in places else dim for place, dim in enumerate(mixed.dims)
        )
        lineages.append(replace(mixed, dims=new))
    return Effect(lineages=tuple(lineages), operation=call.operation)


def _reduction(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    dims = call.values.get("dim")
    every = list(range(len(lineage.dims)))
    chosen = [dims] if isinstance(dims, int) else list(dims or every)
    places = [positive(place, len(lineage.dims)) for place in chosen]
    keep = bool(call.values.get("keepdim", False))
    reduced = lineage.reduce(places, keep=keep)
    over_map = bool(axes_of(lineage.dims[place] for place in places if place < len(lineage.dims)))
    # A maximum over positions is max-pooling, one over channels is not.
    operation = ("amax" if over_map else "max") if call.name in {"max", "amax"} else call.operation
    return Effect(lineages=each_output(call, reduced), operation=operation)


def _matrix_product(call: Call) -> Effect:
    """`(..., m, k) @ (..., k, n)`: every value depends on all along `k`."""
    left, right = factors(call)
    paths = []
    rows, columns = (call.lineage_of(each) for each in (left, right))
    if rows is not None:
        paths.append(_product(rows, len(rows.dims) - 1, call))
    if columns is not None:
        paths.append(_product(columns, max(len(columns.dims) - 2, 0), call))
    bias = call.lineage("self") if call.name in {"addmm", "baddbmm", "addbmm", "addmv"} else None
    if bias is not None:
        paths.append(bias)
    result, notes = combine(paths, call.shape)
    if result.unknown and not any(path.unknown for path in paths):
        # Products of positions with positions, as in attention.
        result, notes = combine([_mixed(path) for path in paths], call.shape)
    return Effect(
        lineages=(result,),
        operation="Linear" if columns is None else "MatMul",
        bias=call.name in {"addmm", "baddbmm"},
        width=(left.shape[-1], right.shape[-1]) if columns is None else (0, 0),
        notes=notes,
    )


def _product(lineage: Lineage, contracted: int, call: Call) -> Lineage:
    """Return the lineage of one factor in the product: the other's dimension takes the place of `k`."""
    mixed = lineage.mix([contracted])
    if call.name in {"mv", "addmv", "dot", "vdot", "addbmm"}:
        dropped = [contracted, 0] if call.name == "addbmm" else [contracted]
        reduced = mixed.reduce(dropped)
        return replace(reduced, dims=tuple(map(plain, call.shape))) if call.name == "addbmm" else reduced
    dims = list(mixed.dims)
    dims[contracted] = plain(call.shape[contracted])
    return replace(mixed, dims=tuple(dims))


def _mixed(lineage: Lineage) -> Lineage:
    count = len(lineage.dims)
    return lineage.mix(range(max(count - 2, 0), count))


def _attention(call: Call) -> Effect:
    """Scaled dot-product attention: every query depends on every key of its sequence."""
    paths = []
    for lineage in call.lineages:
        mixed = _mixed(lineage)
        batch = len(call.shape) - 2
        paths.append(replace(mixed, dims=(*mixed.dims[:batch], *map(plain, call.shape[batch:]))))
    result, notes = combine(paths, call.shape)
    return Effect(lineages=each_output(call, result), operation="Attention", notes=notes)


def _recurrence(call: Call) -> Effect:
    """A recurrent layer: any step may depend on all others."""
    (lineage, *_) = call.lineages
    mixed = lineage.mix(place for place in range(len(lineage.dims)) if place != 1)
    lineages = []
    for output in call.outputs:
        batched = len(output.shape) == len(mixed.dims) and output.shape[1] == sizes_of(mixed.dims)[1]
        dims = [plain(size) for size in output.shape]
        if batched:
            dims[1] = mixed.dims[1]
        lineages.append(replace(mixed, dims=tuple(dims)))
    return Effect(lineages=tuple(lineages), operation=call.operation)


def _last_dimension(call: Call) -> Effect:
    """Embeddings and bilinear layers: the features are the last dimension."""
    paths = []
    for lineage in call.lineages:
        lost = range(len(call.shape) - 1, len(lineage.dims)) if len(lineage.dims) >= len(call.shape) else ()
        reduced = lineage.reduce(lost) if call.name != "embedding" else lineage
        dims = (*reduced.dims[: len(call.shape) - 1], plain(call.shape[-1]))
        paths.append(replace(reduced, dims=dims))
    result, notes = combine(paths, call.shape)
    return Effect(lineages=each_output(call, result), operation=call.operation, notes=notes)


def _distance(call: Call) -> Effect:
    """Distances of all vectors `(..., m, k)` to all others `(..., n, k)`, as a product."""
    first, second = (call.lineage(name) for name in ("x1", "x2"))
    paths = []
    if first is not None:
        paths.append(_product(first, len(first.dims) - 1, call))
    if second is not None:
        count = len(second.dims)
        turned = second.permute([*range(count - 2), count - 1, count - 2])
        paths.append(_product(turned, count - 2, call))
    result, notes = combine(paths, call.shape)
    if result.unknown and not any(path.unknown for path in paths):
        result, notes = combine([_mixed(path) for path in paths], call.shape)
    return Effect(lineages=(result,), operation=call.operation, notes=notes)


def _gate(call: Call) -> Effect:
    """GLU: one half of the channels times a function of the other."""
    (lineage, *_) = call.lineages
    place = positive(call.values.get("dim", -1), len(lineage.dims))
    return Effect(lineages=(lineage.resize(place, call.shape[place]),), operation="glu")


# Pointwise operators without PyTorch's tag.
_POINTWISE = {
    "hardswish", "_prelu_kernel", "hardsigmoid", "copy", "masked_fill", "where", "lift_fresh",
    "bernoulli", "native_dropout", "tril", "triu", "rrelu_with_noise", "real", "imag", "_conj", "conj",
    "resolve_conj", "complex", "masked_scatter", "index_fill", "fill", "view_dtype", "nan_to_num", "angle",
    "log_sigmoid_forward", "renorm", "polar", "bucketize", "searchsorted",
    *FAKE_QUANTIZATION,
}  # fmt: skip

# Operators that take the shape of a tensor and not its values.
_CONSTANTS = {
    "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like", "empty_like",
    "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "zero", "_shape_as_tensor",
}  # fmt: skip
_RANDOM_FILLS = {"uniform", "normal", "random", "exponential", "log_normal", "cauchy", "geometric"}

_RULES: dict[str, Callable[[Call], Effect]] = {
    **dict.fromkeys(("convolution", "_convolution"), windows.convolution),
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices",
         "avg_pool1d", "avg_pool2d", "avg_pool3d"),
        windows.pool,
    ),
    **dict.fromkeys(
        ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_max_pool2d",
         "adaptive_max_pool3d"),
        windows.adaptive_pool,
    ),
    **dict.fromkeys(("fractional_max_pool2d", "fractional_max_pool3d"), windows.fractional_pool),
    **dict.fromkeys(("max_unpool2d", "max_unpool3d"), windows.max_unpool),
    **dict.fromkeys(
        ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
         "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d", "_upsample_nearest_exact1d",
         "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa",
         "_upsample_bicubic2d_aa"),
        windows.upsample,
    ),
    **dict.fromkeys(
        ("constant_pad_nd", "circular_pad", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
         "replication_pad1d", "replication_pad2d", "replication_pad3d"),
        windows.pad,
    ),
    "pixel_shuffle": windows.pixel_shuffle,
    "pixel_unshuffle": windows.pixel_unshuffle,
    "im2col": windows.unfold_map,
    "col2im": windows.fold_map,
    "unfold": windows.unfold_dimension,
    **dict.fromkeys(("grid_sampler_2d", "grid_sampler_3d"), windows.grid_sample),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
         "native_group_norm", "native_layer_norm"),
        _normalisation,
    ),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), _softmax),
    **dict.fromkeys(
        ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "sort", "argsort", "topk", "_fft_r2c",
         "_fft_c2c", "_fft_c2r", "linalg_cross"),
        _along,
    ),
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "aminmax", "var", "std", "var_mean", "std_mean", "prod", "norm",
         "linalg_vector_norm", "logsumexp", "argmax", "argmin", "max", "min", "any", "all", "median",
         "nanmedian", "mode", "kthvalue", "nansum", "nanmean", "count_nonzero", "histc", "bincount"),
        _reduction,
    ),
    **dict.fromkeys(MATRIX_PRODUCTS, _matrix_product),
    **dict.fromkeys(ATTENTION, _attention),
    "mkldnn_rnn_layer": _recurrence,
    **dict.fromkeys(
        ("embedding", "_embedding_bag", "_embedding_bag_forward_only", "_trilinear"), _last_dimension
    ),
    "cat": shapes.concatenation,
    "stack": shapes.stack,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten", "alias", "detach",
                     "contiguous", "lift", "_reshape_alias", "squeeze", "unsqueeze", "clone", "_to_copy"),
                    shapes.reshape),
    **dict.fromkeys(("view_as_real", "view_as_complex"), shapes.complex_view),
    **dict.fromkeys(("permute", "transpose", "t", "movedim"), shapes.permutation),
    "expand": shapes.expand,
    "repeat": shapes.repeat,
    "flip": shapes.flip,
    "rot90": shapes.rotation,
    "roll": shapes.roll,
    "as_strided": shapes.restrided,
    "slice": shapes.strided_slice,
    "select": shapes.select,
    "unbind": shapes.unbind,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_split_with_sizes",
                     "unsafe_chunk"), shapes.split),
    "diagonal": shapes.diagonal,
    **dict.fromkeys(("index_select", "gather"), shapes.pick),
    "index": shapes.index,
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "slice_scatter",
                     "select_scatter"), shapes.scatter),
    "index_put": shapes.indexed_assignment,
    "glu": _gate,
    **dict.fromkeys(("_euclidean_dist", "_cdist_forward"), _distance),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), shapes.channel_shuffle),
}  # fmt: skip
