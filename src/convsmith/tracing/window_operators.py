"""Operators that move windows over a map: convolutions, pools, upsampling, padding and pixel shuffles."""

from math import prod

from convsmith.tracing import spans
from convsmith.tracing.calls import Call, Effect, each_output, per_axis, unknown
from convsmith.tracing.lineage import map_windows


def convolution(call: Call) -> Effect:
    weight = call.values["weight"]
    lineage = call.lineage("input")
    num_axes = weight.dim() - 2
    if lineage is None:
        return unknown(call, "its weights depend on the image", macs=None)
    kernel = tuple(weight.shape[2:])
    stride, padding, dilation = (
        per_axis(call.values[name], num_axes) for name in ("stride", "padding", "dilation")
    )
    transposed, groups = call.values["transposed"], call.values["groups"]

    def windows(index: int, _in: int, _out: int) -> spans.Windows:
        values = {"kernel": kernel[index], "stride": stride[index], "dilation": dilation[index]}
        make = spans.transposed if transposed else spans.convolution
        return make(**values, padding=padding[index])

    size = call.values["input"].shape[2:] if transposed else call.shape[2:]
    channels = call.values["input"].shape[1], call.shape[1]
    return Effect(
        lineages=(map_windows(lineage, call.shape, windows),),
        operation=f"Conv{'Transpose' if transposed else ''}{num_axes}d",
        # Maps in a batch, such as windows of attention, count each.
        macs=call.values["input"].shape[0] * weight.numel() * prod(size),
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=groups,
        bias=call.values["bias"] is not None,
        width=channels,
    )


def pool(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    num_axes = int(call.name[call.name.index("pool") + 4])
    kernel = per_axis(call.values["kernel_size"], num_axes)
    stride = per_axis(call.values.get("stride") or kernel, num_axes)
    padding = per_axis(call.values.get("padding", 0), num_axes)
    dilation = per_axis(call.values.get("dilation", 1), num_axes)

    def windows(index: int, _in: int, _out: int) -> spans.Windows:
        return spans.convolution(
            kernel=kernel[index], stride=stride[index], dilation=dilation[index], padding=padding[index]
        )

    return Effect(
        lineages=each_output(call, map_windows(lineage, call.shape, windows)),
        operation=f"{'Max' if 'max' in call.name else 'Avg'}Pool{num_axes}d",
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
    )


def adaptive_pool(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    sizes = per_axis(call.values["output_size"], int(call.name[call.name.index("pool") + 4]))
    num = len(sizes)
    in_sizes = call.values["self"].shape[-num:]
    kind = "Max" if "max" in call.name else "Avg"
    operation = f"Adaptive{kind}Pool{num}d"
    if prod(sizes) == 1:
        places = range(len(lineage.dims) - num, len(lineage.dims))
        return Effect(lineages=each_output(call, lineage.reduce(places, keep=True)), operation=operation)
    pooled = map_windows(lineage, call.shape, lambda _, size, out: spans.adaptive(size, out))
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


def upsample(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    if call.values.get("align_corners"):
        return unknown(call, "with align_corners the receptive field varies by position", macs=0)
    make = spans.nearest if "nearest" in call.name else spans.linear
    return Effect(
        lineages=(map_windows(lineage, call.shape, lambda _, size, out: make(size, out)),),
        operation="Upsample",
    )


def pad(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    pad = list(call.values.get("pad") or call.values.get("padding") or ())
    before = {len(lineage.dims) - 1 - index: pad[2 * index] for index in range(len(pad) // 2)}
    places = list(before)
    moved = [spans.convolution(kernel=1, padding=before[place]) for place in places]
    return Effect(lineages=(lineage.through(moved, places, call.shape),), operation="Pad")


def pixel_shuffle(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    factor = call.values["upscale_factor"]
    return Effect(
        lineages=(map_windows(lineage, call.shape, lambda _, size, out: spans.nearest(size, out)),),
        operation="PixelShuffle",
        notes=(f"{factor}x{factor} channels become pixels",),
    )


def pixel_unshuffle(call: Call) -> Effect:
    (lineage, *_) = call.lineages
    factor = call.values["downscale_factor"]
    windows = spans.convolution(kernel=factor, stride=factor)
    return Effect(
        lineages=(map_windows(lineage, call.shape, lambda *_: windows),),
        operation="PixelUnshuffle",
        kernel=(factor,) * 2,
        stride=(factor,) * 2,
        dilation=(1, 1),
        padding=(0, 0),
    )
