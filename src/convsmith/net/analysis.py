"""The numbers of a net, wherever they were found: rows, one an operation, and their totals.

The notation's arithmetic and the tracing of a module both end in an `Analysis`; tables, briefs and pictures
start from it. Nothing here needs torch. A multiply-accumulate (MAC) is one multiplication and one addition,
two floating-point operations; convolutions, fully connected layers and matrix products are counted, as is
usual.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod

Shape = tuple[int, ...]
Axes = tuple[int, ...]

# The size of one value of a weight or an activation in fp32.
BYTES_PER_VALUE = 4
# Bytes of one weight in the formats that a file may have.
FILE_FORMATS = {"fp32": 4, "fp16": 2, "int8": 1}
IMAGE = -1
# What is said of norms that are no constants in evaluation mode.
FULL_MAP = "its statistics are computed over the full map"


@dataclass(frozen=True, kw_only=True)
class AxisReceptiveField:
    """What the outputs of an operation see along one axis of the image.

    Attributes:
        size: Receptive field in pixels, the largest of all positions, padding included.
        jump: Distance in pixels between what neighbouring outputs see.
        start: First pixel that output 0 sees; negative where it lies in the padding.
        min_size: The smallest size over all paths from the image, where paths join.
    """

    size: int = 1
    jump: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    min_size: int = 1

    @property
    def centre(self) -> Fraction:
        """The middle of what output 0 sees, in pixels from the middle of the image's first pixel."""
        return self.start + Fraction(self.size - 1, 2)


@dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    """What outputs see of the image, along height and width or however many axes there are.

    No axes: every output sees the whole image, as after global pooling; or, with `unknown`, it could
    not be found out, for the reason that `unknown` tells.
    """

    axes: tuple[AxisReceptiveField, ...] = ()
    unknown: str = ""

    @classmethod
    def of_image(cls, num_axes: int) -> "ReceptiveField":
        return cls(axes=(AxisReceptiveField(),) * num_axes)

    @property
    def sizes(self) -> Axes:
        return tuple(axis.size for axis in self.axes)


def misalignments(jumps: Sequence[Fraction], centres: Sequence[Fraction]) -> tuple[str, ...]:
    """What is said of branches that join and do not look at the same places; nothing where they do.

    Example:
        >>> misalignments((Fraction(2), Fraction(2)), (Fraction(0), Fraction(1, 2)))
        ('its branches are misaligned: their centres are 0.5 pixels apart',)
    """
    if len(set(jumps)) > 1:
        distances = " and ".join(f"{float(jump):g}" for jump in jumps)
        return (f"its branches are misaligned: their outputs are {distances} pixels apart",)
    shift = max(centres) - min(centres)
    return (f"its branches are misaligned: their centres are {float(shift):g} pixels apart",) if shift else ()


@dataclass(frozen=True, kw_only=True)
class Window:
    """How an operation moves over its input.

    Attributes:
        kernel: Kernel, stride, dilation and padding along each axis; empty where no window moves.
        groups: Of a convolution.
        bias: Whether a convolution or fully connected layer adds one.
        width: `(input channels, output channels)` of a convolution or fully connected layer.
    """

    kernel: Axes = ()
    stride: Axes = ()
    dilation: Axes = ()
    padding: Axes = ()
    groups: int = 1
    bias: bool = False
    width: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Row(Window):
    """One operation with its numbers. Shapes are `(C, H, W)` or `(features,)`, without the batch.

    Attributes:
        operation: The name of its class in `torch.nn`, or of the function that was called.
        name: Where it is in the net, for example `block1.conv2`.
        block: The part of the net that it belongs to.
        layer: The layer in the notation; for a module the path of the module.
        sources: The rows whose outputs it takes, by number; `IMAGE` is the net's input.
        parameters: Those that no earlier row has counted.
        macs: Multiply-accumulates for one image; None where they are unknown.
        elementwise: Each output value needs just the value at its place, so it can be written over it.
        in_field: The receptive field of its inputs; `out_field`: of its outputs.
        notes: Remarks, such as why a number is unknown or that two branches are misaligned.
    """

    operation: str
    name: str
    block: str = ""
    layer: str = ""
    sources: tuple[int, ...]
    in_shape: Shape
    out_shape: Shape
    parameters: int = 0
    macs: int | None = 0
    elementwise: bool = False
    in_field: ReceptiveField
    out_field: ReceptiveField
    notes: tuple[str, ...] = ()

    @property
    def activations(self) -> int:
        """Values of its output for one image."""
        return prod(self.out_shape)


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All rows of a net and their totals.

    Attributes:
        title: The net in the notation, or the module's class.
        input_shape: `(C, H, W)` of one image.
        rows: In the order of execution.
        trainable: Parameters that take gradients.
        buffers: Values of running statistics and other state that is saved beside the parameters.
        buffer_bytes: What they take in a file.
        uncovered: Rows and columns of the image that no output depends on, along each axis; None if unknown.
        unused: Parameters that no operation takes, by name.
    """

    title: str
    input_shape: Shape
    rows: tuple[Row, ...]
    trainable: int
    buffers: int
    buffer_bytes: int
    uncovered: Axes | None
    unused: tuple[tuple[str, int], ...] = ()

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows) + sum(count for _, count in self.unused)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image; those that are known, where `unknown_macs` has rows."""
        return sum(row.macs or 0 for row in self.rows)

    @property
    def unknown_macs(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.macs is None)

    @cached_property
    def final_receptive_field(self) -> ReceptiveField:
        """The largest view along each axis, that of the map before it is pooled to a point."""
        views = [row.out_field for row in self.rows]
        unknown = next((view.unknown for view in views if view.unknown), "")
        if unknown:
            return ReceptiveField(unknown=unknown)
        image = ReceptiveField.of_image(len(self.input_shape) - 1)
        # The last of several largest: pointwise layers may have moved it on.
        columns = zip(*(view.axes for view in reversed([image, *views]) if view.axes), strict=True)
        return ReceptiveField(axes=tuple(max(axis, key=lambda each: each.size) for axis in columns))

    @property
    def receptive_field(self) -> int | None:
        """Pixels a side, before the map is pooled to a point; the smaller side where they differ.

        None where it is unknown; `final_view.unknown` tells why.
        """
        return min(self.final_receptive_field.sizes, default=None)

    @property
    def num_outputs(self) -> int:
        return self.rows[-1].activations

    @property
    def activations(self) -> int:
        """Values that all operations make for one image; flattening makes none."""
        return sum(row.activations for row in self.rows if row.operation != "Flatten")

    @property
    def input_bytes(self) -> int:
        return prod(self.input_shape) * BYTES_PER_VALUE

    @property
    def parameter_bytes(self) -> int:
        return self.parameters * BYTES_PER_VALUE

    @cached_property
    def peak_activation_bytes(self) -> int:
        """The most that inputs, outputs and kept branches take at one time, for one image in fp32.

        Element-wise operations write over an input that nobody needs afterwards.
        """
        return peak_activations(self.rows, self.input_shape) * BYTES_PER_VALUE

    @property
    def training_bytes(self) -> tuple[int, int]:
        """An estimate of what training takes in fp32: a fixed part, and a part for each image of a batch.

        Fixed: weights, gradients, and one value of the optimiser (momentum) a weight. For each image: every
        operation's output, kept for the backward pass.
        """
        return 3 * self.parameter_bytes, self.activations * BYTES_PER_VALUE + self.input_bytes

    @property
    def file_bytes(self) -> dict[str, int]:
        """Size of the weights by format; buffers stay as they are."""
        return {name: self.parameters * size + self.buffer_bytes for name, size in FILE_FORMATS.items()}


def peak_activations(rows: Sequence[Row], input_shape: Shape) -> int:
    """The most values that are alive at one time when the rows run one after the other.

    Example:
        >>> image = ReceptiveField.of_image(2)
        >>> row = Row(operation="Conv2d", name="a", sources=(IMAGE,), in_shape=(1, 4, 4),
        ...           out_shape=(2, 4, 4), in_field=image, out_field=image)
        >>> peak_activations([row], (1, 4, 4))
        48
    """
    last_use = {IMAGE: -1}
    for index, row in enumerate(rows):
        last_use[index] = index
        last_use |= dict.fromkeys(row.sources, index)
    last_use[len(rows) - 1] = len(rows)
    live = {IMAGE: prod(input_shape)}
    peak = live[IMAGE]
    for index, row in enumerate(rows):
        ending = {source for source in row.sources if source in live and last_use[source] <= index}
        reused = {source for source in ending if live[source] == row.activations}
        if row.elementwise and reused:
            del live[min(reused)]
        live[index] = row.activations
        peak = max(peak, sum(live.values()))
        live = {source: size for source, size in live.items() if last_use[source] > index}
    return peak
