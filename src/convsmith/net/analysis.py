"""The analysis of a net: one row for each operation, and their totals.

Both the arithmetic on a notation and the tracing of a module return an `Analysis`; tables, briefs and charts
read it. Nothing here needs torch. A multiply-accumulate (MAC) is one multiplication and one addition, two
floating-point operations; only convolutions, fully connected layers and matrix products are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod

Shape = tuple[int, ...]
Axes = tuple[int, ...]

# The size of one weight or activation in fp32.
BYTES_PER_VALUE = 4
# Bytes of one weight by file format.
FILE_FORMATS = {"fp32": 4, "fp16": 2, "int8": 1}
# The row number of the input.
IMAGE = -1
# The note on operations whose statistics are not constant in evaluation mode.
FULL_MAP = "its statistics are computed over the full map"


@dataclass(frozen=True, kw_only=True)
class AxisReceptiveField:
    """The receptive field of the outputs of an operation, along one axis of the image.

    Attributes:
        size: Pixels, including padding; the maximum over all positions.
        jump: Distance in pixels between the receptive fields of neighbouring outputs.
        start: First pixel of output 0; negative if it lies in the padding.
        min_size: The smallest size over all paths from the image.
    """

    size: int = 1
    jump: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    min_size: int = 1

    @property
    def centre(self) -> Fraction:
        """The centre of output 0, in pixels from the centre of the first pixel of the image."""
        return self.start + Fraction(self.size - 1, 2)


@dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    """The receptive field of the outputs of an operation, along every axis of the image.

    Without axes it is the full image, as after global pooling, unless `unknown` has a reason why it could not
    be determined.
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
    """Return a note on branches whose receptive fields are misaligned; empty if they are aligned.

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
    """The window and the channels of an operation.

    Attributes:
        kernel: Kernel, stride, dilation and padding along each axis; empty without a window.
        groups: The groups of a convolution or of a group norm.
        bias: Whether a convolution or fully connected layer has a bias.
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
    """One operation and its numbers. Shapes are `(C, H, W)` or `(features,)`, without the batch.

    Attributes:
        operation: The name of its class in `torch.nn`, or of the called function.
        name: Its path in the net, for example `block1.conv2`.
        block: The block of the net.
        layer: The layer in the notation, or the path of the module.
        sources: The numbers of the rows whose outputs are its inputs; `IMAGE` is the input of the net.
        parameters: Without those that an earlier row counts.
        macs: Multiply-accumulates for one image; None if they are unknown.
        elementwise: Each output value depends only on the input value at its position, so the operation can
            run in place.
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
        """Output values for one image."""
        return prod(self.out_shape)


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All rows of a net and their totals.

    Attributes:
        title: The net in the notation, or the module's class.
        input_shape: `(C, H, W)` of one image.
        rows: In the order of execution.
        trainable: Parameters that require gradients.
        buffers: Values of running statistics and other state that is saved with the parameters.
        buffer_bytes: Their size in a file.
        uncovered: Rows and columns of the image that no output depends on, along each axis; None if unknown.
        unused: Names and sizes of the parameters that no operation uses.
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
        """Multiply-accumulates for one image, without those of `unknown_macs`."""
        return sum(row.macs or 0 for row in self.rows)

    @property
    def unknown_macs(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.macs is None)

    @cached_property
    def final_receptive_field(self) -> ReceptiveField:
        """The largest receptive field along each axis: that of the map before global pooling."""
        fields = [row.out_field for row in self.rows]
        unknown = next((field.unknown for field in fields if field.unknown), "")
        if unknown:
            return ReceptiveField(unknown=unknown)
        image = ReceptiveField.of_image(len(self.input_shape) - 1)
        # The last of several largest ones: pointwise layers may shift it.
        columns = zip(*(field.axes for field in reversed([image, *fields]) if field.axes), strict=True)
        return ReceptiveField(axes=tuple(max(axis, key=lambda each: each.size) for axis in columns))

    @property
    def receptive_field(self) -> int | None:
        """Pixels a side, before global pooling; the smaller side if they differ.

        None if it is unknown, for the reason in `final_receptive_field.unknown`.
        """
        return min(self.final_receptive_field.sizes, default=None)

    @property
    def num_outputs(self) -> int:
        return self.rows[-1].activations

    @property
    def activations(self) -> int:
        """Output values of all operations for one image; flattening has none."""
        return sum(row.activations for row in self.rows if row.operation != "Flatten")

    @property
    def input_bytes(self) -> int:
        return prod(self.input_shape) * BYTES_PER_VALUE

    @property
    def parameter_bytes(self) -> int:
        return self.parameters * BYTES_PER_VALUE

    @cached_property
    def peak_activation_bytes(self) -> int:
        """The peak memory of inputs, outputs and pending branches, for one image in fp32.

        Elementwise operations run in place if no later operation needs their input.
        """
        return peak_activations(self.rows, self.input_shape) * BYTES_PER_VALUE

    @property
    def training_bytes(self) -> tuple[int, int]:
        """The estimated memory of training in fp32: a fixed part, and a part for each image of a batch.

        Fixed: weights, gradients, and one optimiser state (momentum) for each weight. For each image: the
        outputs of all operations, kept for the backward pass.
        """
        return 3 * self.parameter_bytes, self.activations * BYTES_PER_VALUE + self.input_bytes

    @property
    def file_bytes(self) -> dict[str, int]:
        """Size of the weights by format, with buffers in their own dtype."""
        return {name: self.parameters * size + self.buffer_bytes for name, size in FILE_FORMATS.items()}


def peak_activations(rows: Sequence[Row], input_shape: Shape) -> int:
    """Return the maximum number of live values when the rows run in order.

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
