"""The kinds of layers and the blocks of a net, from its rows: for notation and modules alike."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from convsmith.net.effects import is_dropout, joins_two_paths
from convsmith.net.rows import Row, Shape

LayerKind = Literal[
    "depthwise-separable",
    "dilated",
    "strided",
    "transposed",
    "residual",
    "concatenation",
    "max-pooling",
    "average-pooling",
    "global-average-pooling",
    "fully-connected",
    "convolution",
    "pointwise",
    "batch-norm",
    "group-norm",
    "layer-norm",
    "instance-norm",
    "dropout",
]
NormKind = Literal["batch", "group", "layer", "instance"]
NORM_LAYERS: dict[NormKind, LayerKind] = {
    "batch": "batch-norm",
    "group": "group-norm",
    "layer": "layer-norm",
    "instance": "instance-norm",
}

_CONVOLUTION = re.compile(r"Conv(Transpose)?[123]d")
AVERAGE_POOL = re.compile(r"(Adaptive)?AvgPool[123]d")
_BATCH_NORM, _INSTANCE_NORM = re.compile(r"(Sync)?BatchNorm([123]d)?"), re.compile(r"InstanceNorm[123]d")
_MAX_POOL = re.compile(r"(Adaptive|Fractional)?MaxPool[123]d|fractional max pool[23]d|amax")


@dataclass(frozen=True, kw_only=True)
class LayerKindRule:
    """How a kind of layer is recognised, and how a module gets one or does without it.

    Attributes:
        find: Returns the layers of this kind, by their form.
        adding: How a PyTorch module gets one.
        replacing: How a PyTorch module does without them.
        acts: Whether such a layer has an effect: a dilation on a map of one pixel has none.
    """

    find: Callable[[Sequence[Row]], list[Row]]
    adding: str
    replacing: str
    acts: Callable[[Row], bool] = lambda _: True


@dataclass(frozen=True)
class Block:
    """A part of the net with convolutions; a separable convolution counts once, with both its rows."""

    name: str
    convolutions: tuple[tuple[Row, ...], ...]

    @property
    def ends_strided_or_dilated(self) -> bool:
        """Whether its last convolution has a stride or a dilation."""
        return any(_stride_acts(row) or _dilation_acts(row) for row in self.convolutions[-1])


def count_kind(rows: Sequence[Row], kind: LayerKind) -> int:
    """Count the layers of a kind that have an effect on the output of the net.

    Example:
        >>> from convsmith.net.arithmetic import analyze
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> count_kind(analyze(plan(parse("C8 S8*2 / G F10"), (3, 8, 8))).rows, "depthwise-separable")
        2
        >>> count_kind(analyze(plan(parse("C8 C8:d40 / G F10"), (3, 8, 8))).rows, "dilated")
        0
    """
    rule = LAYER_KINDS[kind]
    return sum(is_active(row) and rule.acts(row) for row in rule.find(rows))


def is_active(row: Row) -> bool:
    """Whether the operation has an effect on the output of the net."""
    return not row.inactive


def separable_pairs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Return the row numbers of depthwise convolutions and of the pointwise ones that follow them.

    A norm and an activation may lie between the two.
    """
    pairs = []
    for index, row in enumerate(rows):
        if is_pointwise(row):
            source = index
            while len(rows[source].sources) == 1:
                (source,) = rows[source].sources
                if source < 0 or not rows[source].elementwise:
                    break
            if source != index and source >= 0 and is_depthwise(rows[source]):
                pairs.append((source, index))
    return pairs


def blocks(rows: Sequence[Row]) -> list[Block]:
    """Return the blocks with convolutions before the head: a global pool or a fully connected layer."""
    end = next((index for index, row in enumerate(rows) if _is_head(row)), len(rows))
    second = {point: depth for depth, point in separable_pairs(rows) if rows[point].sources == (depth,)}
    units: list[tuple[Row, ...]] = []
    for index, row in enumerate(rows[:end]):
        if is_convolution(row):
            if index in second:
                units[-1] = (*units[-1], row)
            else:
                units.append((row,))
    groups = groupby(units, key=lambda unit: unit[0].block)
    return [Block(name, tuple(members)) for name, members in groups]


def is_convolution(row: Row) -> bool:
    return _CONVOLUTION.fullmatch(row.operation) is not None


def is_depthwise(row: Row) -> bool:
    return is_convolution(row) and row.groups == row.width[0] > 1


def is_pointwise(row: Row) -> bool:
    """Whether it is a convolution of single positions, from all channels to all."""
    return is_convolution(row) and row.groups == 1 and set(row.kernel) == {1}


def norm_kind(row: Row) -> NormKind | None:
    """Return the kind of a norm, None for other operations: a group norm with one group is a layer norm."""
    if _BATCH_NORM.fullmatch(row.operation):
        return "batch"
    if _INSTANCE_NORM.fullmatch(row.operation):
        return "instance"
    if row.operation == "LayerNorm" or (row.operation == "GroupNorm" and row.groups == 1):
        return "layer"
    return "group" if row.operation == "GroupNorm" else None


def window_acts(row: Row) -> bool:
    """Whether two positions of the map are in the window."""
    if not row.kernel:
        return row.in_shape[1:] != row.out_shape[1:]
    dilations = row.dilation or (1,) * len(row.kernel)
    axes = zip(row.kernel, dilations, _map_sizes(row), strict=False)
    return any(kernel > 1 and dilation < size for kernel, dilation, size in axes)


def _is_dilated(row: Row) -> bool:
    return is_convolution(row) and max(row.dilation) > 1 and max(row.kernel) > 1


def _dilation_acts(row: Row) -> bool:
    """Whether two positions of the map are in the window, with others between them."""
    axes = zip(row.kernel, row.dilation, _map_sizes(row), strict=False)
    return any(kernel > 1 and 1 < dilation < size for kernel, dilation, size in axes)


def _map_sizes(row: Row) -> Shape:
    """Return the size of the map that the window moves over: a transposed one moves over the output."""
    return (row.out_shape if _is_transposed(row) else row.in_shape)[1:]


def _is_strided(row: Row) -> bool:
    return row.operation.startswith("Conv") and not _is_transposed(row) and max(row.stride) > 1


def _stride_acts(row: Row) -> bool:
    return any(stride > 1 and size > 1 for stride, size in zip(row.stride, row.in_shape[1:], strict=False))


def _is_transposed(row: Row) -> bool:
    return row.operation.startswith("ConvTranspose")


def _is_average_pool(row: Row) -> bool:
    return AVERAGE_POOL.fullmatch(row.operation) is not None and not _is_global_average_pool(row)


def _is_global_average_pool(row: Row) -> bool:
    """Whether a pool averages all positions of each channel."""
    # A window of 3x3 leaves one value of a map of 4x4 too, and misses a row and a column; `x.mean((1, 2))`
    # leaves one value for each column.
    return _averages_to_one(row) and not any(row.out_field.sizes)


def _averages_to_one(row: Row) -> bool:
    """Whether an average leaves one value for each channel."""
    averages = row.operation in {"GlobalAvgPool2d", "mean"} or AVERAGE_POOL.fullmatch(row.operation)
    one_each = bool(row.out_shape) and set(row.out_shape[1:]) <= {1}
    return bool(averages) and one_each and max(row.in_shape[1:], default=1) > 1


def _is_head(row: Row) -> bool:
    return _averages_to_one(row) or row.operation in {"Linear", "Flatten"}


def _rows(matches: Callable[[Row], bool]) -> Callable[[Sequence[Row]], list[Row]]:
    return lambda rows: list(filter(matches, rows))


def norm_layer(kind: NormKind, channels: int | str) -> str:
    """Return the layer of PyTorch that normalises maps in a way, as source text.

    >>> norm_layer("group", 6), norm_layer("layer", 16)
    ('GroupNorm(2, 6)', 'GroupNorm(1, 16)')
    """
    match kind:
        case "batch":
            return f"BatchNorm2d({channels})"
        case "instance":
            return f"InstanceNorm2d({channels}, affine=True)"
        case "layer":
            return f"GroupNorm(1, {channels})"
    groups = (4, 2, 3, 5) if isinstance(channels, int) else (4,)
    fitting = (
        each for each in groups if isinstance(channels, str) or (channels % each == 0 and channels > each)
    )
    return f"GroupNorm({next(fitting, channels)}, {channels})"


def _norm_rule(kind: NormKind) -> LayerKindRule:
    return LayerKindRule(
        find=_rows(lambda row: norm_kind(row) == kind),
        adding=f"put {norm_layer(kind, 'channels')} after each convolution",
        replacing=f"replace each {kind} norm by one of another kind",
    )


def _joins(operation: str) -> Callable[[Sequence[Row]], list[Row]]:
    """Return a function that finds the joins of different paths: `x + x` and `x + 1` are none."""
    return lambda rows: [
        row for index, row in enumerate(rows) if row.operation == operation and joins_two_paths(rows, index)
    ]


LAYER_KINDS: dict[LayerKind, LayerKindRule] = {
    "depthwise-separable": LayerKindRule(
        find=lambda rows: [rows[depthwise] for depthwise, _ in separable_pairs(rows)],
        acts=window_acts,
        adding="replace a convolution by one with groups equal to its input channels, and a 1x1 convolution",
        replacing="convolve with groups=1",
    ),
    "dilated": LayerKindRule(
        find=_rows(_is_dilated),
        acts=_dilation_acts,
        adding="give a convolution dilation=2",
        replacing="convolve with dilation=1",
    ),
    "strided": LayerKindRule(
        find=_rows(_is_strided),
        acts=_stride_acts,
        adding="give a convolution stride=2",
        replacing="convolve with stride=1",
    ),
    "transposed": LayerKindRule(
        find=_rows(_is_transposed), adding="add a ConvTranspose2d", replacing="upsample, then convolve"
    ),
    "residual": LayerKindRule(
        find=_joins("Add"),
        adding="add the input of layers of equal width to their output",
        replacing="return the output of the layers without their input",
    ),
    "concatenation": LayerKindRule(
        find=_joins("Concat"),
        adding="concatenate the channels of two branches",
        replacing="add the branches instead",
    ),
    "max-pooling": LayerKindRule(
        find=_rows(lambda row: _MAX_POOL.fullmatch(row.operation) is not None),
        acts=window_acts,
        adding="add a MaxPool2d(2)",
        replacing="give the convolution before each stride=2",
    ),
    "average-pooling": LayerKindRule(
        find=_rows(_is_average_pool),
        acts=window_acts,
        adding="add an AvgPool2d(2)",
        replacing="give the convolution before each stride=2",
    ),
    "global-average-pooling": LayerKindRule(
        find=_rows(_is_global_average_pool),
        adding="add AdaptiveAvgPool2d(1) before the classifier",
        replacing="flatten into a fully connected layer",
    ),
    "fully-connected": LayerKindRule(
        find=_rows(lambda row: row.operation == "Linear"),
        adding="end with a Linear layer",
        replacing="end with a 1x1 convolution",
    ),
    "convolution": LayerKindRule(
        find=_rows(is_convolution), adding="add a Conv2d", replacing="use fully connected layers"
    ),
    "pointwise": LayerKindRule(
        find=_rows(is_pointwise),
        adding="add a Conv2d with kernel_size=1",
        replacing="convolve with kernel_size=3 and padding=1",
    ),
    "batch-norm": _norm_rule("batch"),
    "group-norm": _norm_rule("group"),
    "layer-norm": _norm_rule("layer"),
    "instance-norm": _norm_rule("instance"),
    "dropout": LayerKindRule(
        find=_rows(is_dropout),
        adding="add a Dropout(0.05) after the activations",
        replacing="remove the Dropout layers, or set p=0",
    ),
}
