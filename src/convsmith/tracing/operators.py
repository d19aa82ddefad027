"""What PyTorch's operators do to what is known of their inputs: shapes, views of the image and MACs.

A closed table. What is not in it, and is not element by element by PyTorch's own mark, is unknown, with a
reason.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import Tensor

from convsmith.net.analysis import FULL_MAP, Axes, Window
from convsmith.tracing import spans
from convsmith.tracing.tracks import Track, joined, labels, map_windows, plain


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operator: its name, its arguments by name, its outputs, and the tracks of its inputs."""

    name: str
    values: dict[str, Any]
    outputs: list[Tensor]
    track_of: Callable[[Tensor], Track | None]

    @property
    def tensors(self) -> list[Tensor]:
        return list(tensors_in(list(self.values.values())))

    @property
    def tracks(self) -> list[Track]:
        """Those of the inputs that depend on the image."""
        found = (self.track_of(tensor) for tensor in self.tensors)
        return [track for track in found if track is not None]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.outputs[0].shape)

    def track(self, name: str) -> Track | None:
        value = self.values.get(name)
        return self.track_of(value) if isinstance(value, Tensor) else None


@dataclass(frozen=True, kw_only=True)
class Effect(Window):
    """What a call does: a track for each output, and the numbers of its row.

    `view` says that it only looks at its input another way, so that there is nothing to tell.
    """

    tracks: tuple[Track, ...]
    operation: str = ""
    macs: int | None = 0
    elementwise: bool = False
    view: bool = False
    notes: tuple[str, ...] = ()


def effect_of(call: Call, *, pointwise: bool) -> Effect:
    """What a call does to the tracks of its inputs, of which at least one depends on the image."""
    rule = _RULES.get(call.name)
    if rule is not None:
        return rule(call)
    if pointwise or call.name in _POINTWISE:
        return _pointwise(call)
    reason = f"what {call.name} sees is not known"
    track = call.tracks[0]
    return Effect(
        tracks=tuple(track.lost(output.shape, reason) for output in call.outputs),
        macs=None,
        notes=(f"{reason}, nor its MACs",),
    )


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def _each(call: Call, track: Track) -> tuple[Track, ...]:
    """One track for all outputs of one shape; others, as indices of other shape, follow it without axes."""
    return tuple(
        track if tuple(output.shape) == call.shape else track.lost(output.shape, "a second output")
        for output in call.outputs
    )


def _pointwise(call: Call) -> Effect:
    track, notes = joined(call.tracks, call.shape)
    operation = _OPERATIONS.get(call.name, call.name)
    return Effect(tracks=_each(call, track), operation=operation, elementwise=True, notes=notes)


def _normalisation(call: Call) -> Effect:
    """Running statistics are constants; others are taken over the map."""
    (track, *_) = call.tracks
    over_map = bool(call.values.get("training", call.name != "_native_batch_norm_legit_no_training"))
    if call.name == "native_layer_norm":
        over_map = bool(labels(track.dims[-len(call.values["normalized_shape"]) :]))
    notes = (FULL_MAP,) if over_map else ()
    return Effect(
        tracks=(track, *(track.lost(output.shape, "statistics") for output in call.outputs[1:])),
        operation=_OPERATIONS.get(call.name, call.name),
        elementwise=not over_map,
        notes=notes,
    )


def _over_dimension(call: Call) -> Effect:
    """Softmax and the like: values stay at their places, and each depends on all along a dimension."""
    (track, *_) = call.tracks
    place = _positive(call.values["dim"], len(track.dims))
    notes = (FULL_MAP,) if labels(track.dims[place : place + 1]) else ()
    return Effect(tracks=_each(call, track), operation=call.name.strip("_"), notes=notes)


def _convolution(call: Call) -> Effect:
    weight = call.values["weight"]
    track = call.track("input")
    num_axes = weight.dim() - 2
    if track is None:
        return _lost(call, "the image steers its weights", macs=None)
    kernel = tuple(weight.shape[2:])
    stride, padding, dilation = (
        _axes(call.values[name], num_axes) for name in ("stride", "padding", "dilation")
    )
    transposed, groups = call.values["transposed"], call.values["groups"]

    def windows(index: int, _in: int, _out: int) -> spans.Windows:
        values = {"kernel": kernel[index], "stride": stride[index], "dilation": dilation[index]}
        make = spans.transposed if transposed else spans.convolution
        return make(**values, padding=padding[index])

    size = call.values["input"].shape[2:] if transposed else call.shape[2:]
    channels = call.values["input"].shape[1], call.shape[1]
    return Effect(
        tracks=(map_windows(track, call.shape, windows),),
        operation=f"Conv{'Transpose' if transposed else ''}{num_axes}d",
        # Maps that are laid out as a batch, as windows of attention are, count each.
        macs=call.values["input"].shape[0] * weight.numel() * prod(size),
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=groups,
        bias=call.values["bias"] is not None,
        width=channels,
    )


def _pool(call: Call) -> Effect:
    (track, *_) = call.tracks
    num_axes = int(call.name[call.name.index("pool") + 4])
    kernel = _axes(call.values["kernel_size"], num_axes)
    stride = _axes(call.values.get("stride") or kernel, num_axes)
    padding = _axes(call.values.get("padding", 0), num_axes)
    dilation = _axes(call.values.get("dilation", 1), num_axes)

    def windows(index: int, _in: int, _out: int) -> spans.Windows:
        return spans.convolution(
            kernel=kernel[index], stride=stride[index], dilation=dilation[index], padding=padding[index]
        )

    return Effect(
        tracks=_each(call, map_windows(track, call.shape, windows)),
        operation=f"{'Max' if 'max' in call.name else 'Avg'}Pool{num_axes}d",
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
    )


def _adaptive_pool(call: Call) -> Effect:
    (track, *_) = call.tracks
    sizes = _axes(call.values["output_size"], int(call.name[call.name.index("pool") + 4]))
    num = len(sizes)
    in_sizes = call.values["self"].shape[-num:]
    kind = "Max" if "max" in call.name else "Avg"
    operation = f"Adaptive{kind}Pool{num}d"
    if prod(sizes) == 1:
        places = range(len(track.dims) - num, len(track.dims))
        return Effect(tracks=_each(call, track.contracted(places, keep=True)), operation=operation)
    pooled = map_windows(track, call.shape, lambda _, size, out: spans.adaptive(size, out))
    even = all(size % out == 0 for size, out in zip(in_sizes, sizes, strict=True))
    windows = tuple(size // out for size, out in zip(in_sizes, sizes, strict=True)) if even else ()
    return Effect(
        tracks=_each(call, pooled),
        operation=operation,
        kernel=windows,
        stride=windows,
        dilation=(1,) * len(windows),
        padding=(0,) * len(windows),
        notes=() if even else ("its windows differ in size; the figures are those of the largest",),
    )


def _upsample(call: Call) -> Effect:
    (track, *_) = call.tracks
    if call.values.get("align_corners"):
        return _lost(call, "with align_corners what an output sees does not repeat", macs=0)
    make = spans.nearest if "nearest" in call.name else spans.linear
    return Effect(
        tracks=(map_windows(track, call.shape, lambda _, size, out: make(size, out)),),
        operation="Upsample",
    )


def _pad(call: Call) -> Effect:
    (track, *_) = call.tracks
    pad = list(call.values.get("pad") or call.values.get("padding") or ())
    before = {len(track.dims) - 1 - index: pad[2 * index] for index in range(len(pad) // 2)}
    places = list(before)
    moved = [spans.convolution(kernel=1, padding=before[place]) for place in places]
    return Effect(tracks=(track.through(moved, places, call.shape),), operation="Pad")


def _pixel_shuffle(call: Call) -> Effect:
    (track, *_) = call.tracks
    factor = call.values["upscale_factor"]
    return Effect(
        tracks=(map_windows(track, call.shape, lambda _, size, out: spans.nearest(size, out)),),
        operation="PixelShuffle",
        notes=(f"{factor}x{factor} channels become pixels",),
    )


def _pixel_unshuffle(call: Call) -> Effect:
    (track, *_) = call.tracks
    factor = call.values["downscale_factor"]
    windows = spans.convolution(kernel=factor, stride=factor)
    return Effect(
        tracks=(map_windows(track, call.shape, lambda *_: windows),),
        operation="PixelUnshuffle",
        kernel=(factor,) * 2,
        stride=(factor,) * 2,
        dilation=(1, 1),
        padding=(0, 0),
    )


def _reduction(call: Call) -> Effect:
    (track, *_) = call.tracks
    dims = call.values.get("dim")
    every = list(range(len(track.dims)))
    chosen = [dims] if isinstance(dims, int) else list(dims or every)
    places = [_positive(place, len(track.dims)) for place in chosen]
    keep = bool(call.values.get("keepdim", False))
    return Effect(tracks=_each(call, track.contracted(places, keep=keep)), operation=call.name)


def _matrix_product(call: Call) -> Effect:
    """`(..., m, k) @ (..., k, n)`, by the names that mm, addmm, bmm and baddbmm give their operands."""
    names = ("self", "mat2") if call.name in {"mm", "bmm"} else ("mat1", "mat2")
    if call.name == "baddbmm":
        names = ("batch1", "batch2")
    left, right = (call.values[name] for name in names)
    tracks = [call.track_of(each) for each in (left, right)]
    macs = left.numel() * right.shape[-1]
    if tracks[0] is not None and tracks[1] is None:
        last = len(call.shape) - 1
        result = tracks[0].sized(last, call.shape[last]).without(labels([tracks[0].dims[last]]))
    elif tracks[0] is None and tracks[1] is not None:
        last = len(call.shape) - 2
        result = tracks[1].sized(last, call.shape[last]).without(labels([tracks[1].dims[last]]))
    else:
        result, _ = joined([_whole(track, call.shape) for track in tracks if track], call.shape)
    return Effect(
        tracks=(result,),
        operation="Linear" if tracks[1] is None else "MatMul",
        macs=macs,
        bias=call.name in {"addmm", "baddbmm"},
        width=(left.shape[-1], right.shape[-1]) if tracks[1] is None else (0, 0),
    )


def _attention(call: Call) -> Effect:
    """Scaled dot-product attention: every query sees every key."""
    query, key, value = (call.values[name] for name in ("query", "key", "value"))
    tracks, _ = joined([_whole(track, call.shape) for track in call.tracks], call.shape)
    return Effect(
        tracks=_each(call, tracks),
        operation="Attention",
        macs=query.numel() * key.shape[-2] + prod(query.shape[:-1]) * key.shape[-2] * value.shape[-1],
    )


def _whole(track: Track, shape: Sequence[int]) -> Track:
    return replace(track.without(range(len(track.axes))), dims=plain(shape))


def _concatenation(call: Call) -> Effect:
    place = _positive(call.values.get("dim", 0), len(call.shape))
    if labels(track.dims[place] for track in call.tracks):
        return _lost(call, "maps are laid side by side along an axis of the image", macs=0)
    shape = [1 if index == place else size for index, size in enumerate(call.shape)]
    result, notes = joined([track.sized(place, 1) for track in call.tracks], shape)
    return Effect(tracks=(result.sized(place, call.shape[place]),), operation="Concat", notes=notes)


def _stack(call: Call) -> Effect:
    result, notes = joined(call.tracks, call.outputs[0].select(call.values.get("dim", 0), 0).shape)
    place = _positive(call.values.get("dim", 0), len(call.shape))
    dims = (*result.dims[:place], ((None, call.shape[place]),), *result.dims[place:])
    return Effect(tracks=(replace(result, dims=dims),), operation="Stack", notes=notes)


def _reshape(call: Call) -> Effect:
    (track, *_) = call.tracks
    results = tuple(track.reshaped(output.shape) for output in call.outputs)
    lost = results[0].unknown if not track.unknown else ""
    return Effect(tracks=results, operation=call.name, view=not lost, notes=(lost,) if lost else ())


def _restrided(call: Call) -> Effect:
    """Another memory format of the same map, as after pooling maps whose channels come last."""
    (track, *_) = call.tracks
    if tuple(call.values["self"].shape) == call.shape:
        return Effect(tracks=(track,), view=True)
    return _lost(call, "memory is read with strides of its own", macs=0)


def _permutation(call: Call) -> Effect:
    (track, *_) = call.tracks
    count = len(track.dims)
    order = list(range(count))
    if call.name in {"permute", "movedim"}:
        order = [_positive(place, count) for place in call.values["dims"]]
    elif count > 1:
        pair = [call.values.get(name, default) for name, default in (("dim0", 0), ("dim1", 1))]
        first, second = (_positive(place, count) for place in pair)
        order[first], order[second] = order[second], order[first]
    return Effect(tracks=(track.moved(order),), view=True)


def _cut(call: Call) -> Effect:
    """A part of a tensor along one dimension: every `step`-th value from `start`."""
    (track, *_) = call.tracks
    place = _positive(call.values.get("dim", 0), len(track.dims))
    step = call.values.get("step", 1)
    size = prod(size for _, size in track.dims[place])
    start = call.values.get("start") or 0
    start = max(0, start + size) if start < 0 else start
    windows = spans.Windows(inputs=lambda i: [start + i * step], inputs_a_period=step)
    strided = step > 1 and bool(labels([track.dims[place]]))
    return Effect(
        tracks=(track.through([windows], [place], call.shape),),
        view=not strided,
        operation="Slice",
        elementwise=False,
    )


def _select(call: Call) -> Effect:
    (track, *_) = call.tracks
    place = _positive(call.values.get("dim", 0), len(track.dims))
    if labels([track.dims[place]]):
        return _lost(call, "single rows or columns of the map are picked out", macs=0)
    picked = replace(track, dims=track.dims[:place] + track.dims[place + 1 :])
    return Effect(tracks=(picked,) * len(call.outputs), view=True)


def _split(call: Call) -> Effect:
    (track, *_) = call.tracks
    place = _positive(call.values.get("dim", 0), len(track.dims))
    if labels([track.dims[place]]):
        return _lost(call, "the map is split along an axis of the image", macs=0)
    tracks = tuple(track.sized(place, output.shape[place]) for output in call.outputs)
    return Effect(tracks=tracks, view=True)


def _gate(call: Call) -> Effect:
    """GLU: one half of the channels times a function of the other."""
    (track, *_) = call.tracks
    place = _positive(call.values.get("dim", -1), len(track.dims))
    return Effect(tracks=(track.sized(place, call.shape[place]),), operation="glu")


def _expand(call: Call) -> Effect:
    track, _ = joined(call.tracks, call.shape)
    return Effect(tracks=(track,), view=True)


def _channel_shuffle(call: Call) -> Effect:
    (track, *_) = call.tracks
    return Effect(tracks=(track,), operation="ChannelShuffle")


def _lost(call: Call, reason: str, *, macs: int | None) -> Effect:
    (track, *_) = call.tracks
    return Effect(
        tracks=tuple(track.lost(output.shape, reason) for output in call.outputs),
        operation=_OPERATIONS.get(call.name, call.name),
        macs=macs,
        notes=(reason,),
    )


def _axes(value: int | Sequence[int], count: int) -> Axes:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * count if len(values) == 1 else values)


def _positive(place: int, count: int) -> int:
    return place % count if count else 0


# What a call is named in a row: as the module that does the same, where there is one.
_OPERATIONS = {
    "add": "Add",
    "native_batch_norm": "BatchNorm2d",
    "_native_batch_norm_legit_no_training": "BatchNorm2d",
    "native_group_norm": "GroupNorm",
    "native_layer_norm": "LayerNorm",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "hardswish": "Hardswish",
    "sigmoid": "Sigmoid",
    "hardtanh": "ReLU6",
}
# Element by element, without PyTorch's mark.
_POINTWISE = {
    "hardswish", "_prelu_kernel", "hardsigmoid", "copy", "masked_fill", "where", "lift_fresh",
    "bernoulli", "native_dropout", "fill", "zero",
}  # fmt: skip

_RULES: dict[str, Callable[[Call], Effect]] = {
    "convolution": _convolution,
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d",
         "avg_pool2d", "avg_pool3d"),
        _pool,
    ),
    **dict.fromkeys(
        ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_max_pool2d",
         "adaptive_max_pool3d"),
        _adaptive_pool,
    ),
    **dict.fromkeys(
        ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
         "upsample_bilinear2d"),
        _upsample,
    ),
    **dict.fromkeys(
        ("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
        _pad,
    ),
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
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
    "cat": _concatenation,
    "stack": _stack,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten", "alias", "detach",
                     "contiguous", "lift", "_reshape_alias", "squeeze", "unsqueeze", "clone", "_to_copy"),
                    _reshape),
    **dict.fromkeys(("permute", "transpose", "t", "movedim"), _permutation),
    "expand": _expand,
    "as_strided": _restrided,
    "slice": _cut,
    "select": _select,
    "unbind": _select,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    "glu": _gate,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _channel_shuffle),
}  # fmt: skip
