"""Operators that move windows over a map: convolutions, pools, resizes, padding, unfolding and the like."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod

from convsmith.tracing import grid, spans
from convsmith.tracing.calls import Call, Effect, each_output, per_axis, unknown
from convsmith.tracing.grid import plain, size_of
from convsmith.tracing.joins import combine
from convsmith.tracing.lineage import Lineage, map_windows


def convolution(call: Call) -> Effect:
    """A convolution; weights and bias that depend on the image count as paths of their own."""
    weight = call.values["weight"]
    num_axes = weight.dim() - 2
    kernel = tuple(weight.shape[2:])
    stride, padding, dilation = (
        per_axis(call.values[name], num_axes) for name in ("stride", "padding", "dilation")
    )
    transposed, groups = call.values["transposed"], call.values["groups"]

    def windows(index: int, _in: int, _out: int) -> spans.Windows:
        values = {"kernel": kernel[index], "stride": stride[index], "dilation": dilation[index]}
        make = spans.transposed if transposed else spans.convolution
        return make(**values, padding=padding[index])

    paths = [lineage.mix(range(len(lineage.dims))) for lineage in _weights(call)]
    maps = call.lineage("input")
    if maps is not None:
        paths.insert(0, map_windows(maps.resize(1, call.shape[1]), call.shape, windows))
    elif not all(path.is_global for path in paths):
        return unknown(call, "only its weights depend on the image, and only on a part of it")
    result, notes = combine([replace(path, dims=_fitting(path, call.shape)) for path in paths], call.shape)
    return Effect(
        lineages=(result,),
        operation=f"Conv{'Transpose' if transposed else ''}{num_axes}d",
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=groups,
        bias=call.values["bias"] is not None,
        width=(call.values["input"].shape[1], call.shape[1]),
        notes=notes,
    )


def _weights(call: Call) -> list[Lineage]:
    lineages = (call.lineage(name) for name in ("weight", "bias"))
    return [lineage for lineage in lineages if lineage is not None]


def _fitting(lineage: Lineage, shape: Sequence[int]) -> grid.Dims:
    same = grid.sizes_of(lineage.dims) == tuple(shape)
    return lineage.dims if same else grid.plain_dims(shape)


def pool(call: Call) -> Effect:
    """A pool; one whose window covers the complete map is a global pool."""
    (lineage, *_) = call.lineages
    num_axes = _axes_in_name(call)
    kernel = per_axis(call.values["kernel_size"], num_axes)
    stride = per_axis(call.values.get("stride") or kernel, num_axes)
    padding = per_axis(call.values.get("padding", 0), num_axes)
    dilation = per_axis(call.values.get("dilation", 1), num_axes)

    def windows(index: int, _in: int, _out: int) -> spans.Windows:
        return spans.convolution(
            kernel=kernel[index], stride=stride[index], dilation=dilation[index], padding=padding[index]
        )

    pooled = map_windows(lineage, call.shape, windows, num_axes=num_axes, pooling=True)
    return Effect(
        lineages=each_output(call, pooled),
        operation=f"{'Max' if 'max' in call.name else 'Avg'}Pool{num_axes}d",
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
    )


def _axes_in_name(call: Call) -> int:
    """Return the number of axes of an operator such as `max_pool2d_with_indices`."""
    return next(int(each) for each in call.name if each in "123")


def adaptive_pool(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    num = _axes_in_name(call)
    sizes = call.shape[-num:]
    in_sizes = call.values["self"].shape[-num:]
    kind = "Max" if "max" in call.name else "Avg"
    operation = f"Adaptive{kind}Pool{num}d"
    pooled = map_windows(
        lineage, call.shape, lambda _, size, out: spans.adaptive(size, out), num_axes=num, pooling=True
    )
    if prod(sizes) == 1:
        return Effect(lineages=each_output(call, pooled), operation=operation)
    even = all(size % out == 0 for size, out in zip(in_sizes, sizes, strict=True))
    windows = tuple(size // out for size, out in zip(in_sizes, sizes, strict=True)) if even else ()
    return Effect(
        lineages=each_output(call, pooled),
        operation=operation,
        kernel=windows,
        stride=windows,
        dilation=(1,) * len(windows),
        padding=(0,) * len(windows),
        notes=() if even else ("its windows differ in size; the figures are those of the largest",),
    )


def fractional_pool(call: Call) -> Effect:
    return unknown(call, "the places of its windows are random")


def max_unpool(call: Call) -> Effect:
    return unknown(call, "the positions that it writes are those of the maxima, which depend on the image")


def upsample(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    num = _axes_in_name(call)
    cubic, nearest = "bicubic" in call.name, "nearest" in call.name

    def windows(index: int, size: int, out: int) -> spans.Windows:
        ratio = _ratio(call, index, num, size, out)
        if nearest:
            return (spans.nearest_exact if "exact" in call.name else spans.nearest)(ratio)
        if call.name.endswith("_aa"):
            return spans.antialiased(ratio, 2 if cubic else 1)
        if call.values.get("align_corners"):
            return spans.aligned(size, out, 2 if cubic else 1)
        return spans.smooth(ratio, 2 if cubic else 1)

    resized = map_windows(lineage, call.shape, windows, num_axes=num)
    return Effect(lineages=(resized,), operation="Upsample")


def _ratio(call: Call, index: int, num: int, size: int, out: int) -> Fraction:
    """Return the inputs for each output: those of the scale factor, if there is one, else of the sizes."""
    names = {1: ("",), 2: ("_h", "_w"), 3: ("_d", "_h", "_w")}[num]
    scale = call.values.get(f"scales{names[index]}")
    return 1 / Fraction(scale).limit_denominator(1 << 16) if scale else Fraction(size, out)


def pad(call: Call) -> Effect:
    """Padding; its receptive field continues beyond the map, whatever values it takes."""
    (lineage, *_) = call.lineages
    pad = list(call.values.get("pad") or call.values.get("padding") or ())
    before = {len(lineage.dims) - 1 - index: pad[2 * index] for index in range(len(pad) // 2)}
    places = list(before)
    source = _PADDED_FROM.get(call.name.split("_", maxsplit=1)[0])
    moved = [
        replace(
            spans.convolution(kernel=1, padding=before[place]),
            real=source and source(size_of(lineage.dims[place]), before[place]),
        )
        for place in places
    ]
    return Effect(lineages=(lineage.through(moved, places, call.shape),), operation="Pad")


# The positions that padding repeats, for a size and the padding before it.
_PADDED_FROM: dict[str, Callable[[int, int], spans.Inputs]] = {
    "circular": lambda size, before: lambda i: [(i - before) % size],
    "reflection": lambda size, before: lambda i: [size - 1 - abs(size - 1 - abs(i - before))],
    "replication": lambda size, before: lambda i: [min(max(i - before, 0), size - 1)],
}


def unfold_map(call: Call) -> Effect:
    """`nn.Unfold`: the windows of a convolution as channels."""
    (lineage, *_) = call.lineages
    values = [per_axis(call.values[name], 2) for name in ("kernel_size", "dilation", "padding", "stride")]
    sizes = []
    windows = []
    for size, kernel, dilation, padding, stride in zip(call.values["self"].shape[-2:], *values, strict=True):
        sizes.append((size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
        windows.append(spans.convolution(kernel=kernel, stride=stride, dilation=dilation, padding=padding))
    first = len(lineage.dims) - 2
    shape = [*grid.sizes_of(lineage.dims)[:first], *sizes]
    moved = lineage.through(windows, [first, first + 1], shape).resize(first - 1, call.shape[-2])
    return Effect(
        lineages=(moved.reshape(call.shape),),
        operation=call.operation,
        kernel=values[0],
        stride=values[3],
        dilation=values[1],
        padding=values[2],
    )


def fold_map(call: Call) -> Effect:
    """`nn.Fold`: windows as channels are added to a map."""
    (lineage, *_) = call.lineages
    values = [per_axis(call.values[name], 2) for name in ("kernel_size", "dilation", "padding", "stride")]
    sizes, windows = [], []
    for size, kernel, dilation, padding, stride in zip(call.shape[-2:], *values, strict=True):
        sizes.append((size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
        windows.append(spans.transposed(kernel=kernel, stride=stride, dilation=dilation, padding=padding))
    last = len(lineage.dims) - 1
    channels = lineage.resize(last - 1, call.shape[-3])
    maps = channels.reshape([*grid.sizes_of(channels.dims)[:last], *sizes])
    moved = maps if maps.unknown else maps.through(windows, [last, last + 1], call.shape)
    note = "an upper bound: every value counts as one of the complete window"
    folded = replace(moved, dims=_fitting(moved, call.shape))
    return Effect(lineages=(folded,), operation=call.operation, notes=(note,))


def unfold_dimension(call: Call) -> Effect:
    """`Tensor.unfold`: the windows along one dimension as a new last dimension."""
    (lineage, *_) = call.lineages
    place = call.values["dimension"] % len(lineage.dims)
    size, step = call.values["size"], call.values["step"]
    count = call.shape[place]
    before = grid.sizes_of(lineage.dims)
    if size == step and count * size == before[place]:
        split = lineage.reshape([*before[:place], count, size, *before[place + 1 :]])
        order = [each for each in range(len(split.dims)) if each != place + 1]
        return Effect(lineages=(split.permute([*order, place + 1]),), operation="unfold")
    window = spans.convolution(kernel=size, stride=step)
    moved = lineage.through([window], [place], call.shape[:-1])
    return Effect(lineages=(replace(moved, dims=(*moved.dims, plain(size))),), operation="unfold")


def pixel_shuffle(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    factor = call.values["upscale_factor"]
    channels = lineage.resize(len(call.shape) - 3, call.shape[-3])
    windows = spans.nearest(Fraction(1, factor))
    return Effect(
        lineages=(map_windows(channels, call.shape, lambda *_: windows, num_axes=2),),
        operation="PixelShuffle",
        notes=(f"{factor}x{factor} channels become pixels",),
    )


def pixel_unshuffle(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    factor = call.values["downscale_factor"]
    windows = spans.convolution(kernel=factor, stride=factor)
    return Effect(
        lineages=(map_windows(lineage, call.shape, lambda *_: windows, num_axes=2),),
        operation="PixelUnshuffle",
        kernel=(factor,) * 2,
        stride=(factor,) * 2,
        dilation=(1, 1),
        padding=(0, 0),
    )


def grid_sample(call: Call) -> Effect:
    """Samples at the positions of a grid, whose values are not traced."""
    if call.lineage("input") is None and all(lineage.is_global for lineage in call.lineages):
        return Effect(
            lineages=tuple(call.lineages[0].as_global(output.shape) for output in call.outputs),
            operation=call.operation,
        )
    return unknown(call, "the positions that it samples are values of its grid, and only shapes are traced")
