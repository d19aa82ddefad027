"""The analysis of a net: one row for each operation, and their totals.

Both the arithmetic on a notation and the tracing of a module return an `Analysis`; tables, briefs and charts
read it. It prints as a table. Nothing here needs torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from math import prod

from convsmith.net.cells import compact_cells, macs_text, note_lines, receptive_field_text
from convsmith.net.inputs import Input
from convsmith.net.remarks import input_remarks, member_remarks
from convsmith.net.rows import IMAGE, Axes, ReceptiveField, Row, Shape
from convsmith.text import markdown_table

# The size of one weight or activation in fp32.
BYTES_PER_VALUE = 4
# Bytes of one weight by file format.
FILE_FORMATS = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True, kw_only=True, repr=False)
class Analysis:
    """All rows of a net and their totals.

    Attributes:
        title: The net in the notation, or the module's class.
        input_shape: `(C, H, W)` of one image, to whose pixels receptive fields refer.
        rows: In the order of execution.
        trainable: Parameters that require gradients.
        buffers: Values of running statistics and other state that is saved with the parameters.
        buffer_bytes: Their size in a file.
        uncovered: Rows and columns of the image that no output depends on, along each axis; None if unknown.
        unused: Names and sizes of the parameters that no operation uses.
        inputs: All inputs of a module; empty if the image is the only one.
        unit: What MACs and activations are for: one "image", one "sample" of inputs that are no images, or a
            "call" with a batch of several.
        unregistered: Names and sizes of weights in plain lists and dictionaries. `parameters()` does not
            return them, so that they are neither trained nor saved.
        hidden_methods: Attributes of a module that hide methods of `nn.Module`, as `modules`.
    """

    title: str
    input_shape: Shape
    rows: tuple[Row, ...]
    trainable: int
    buffers: int
    buffer_bytes: int
    uncovered: Axes | None
    unused: tuple[tuple[str, int], ...] = ()
    inputs: tuple[Input, ...] = ()
    unit: str = "image"
    unregistered: tuple[tuple[str, int], ...] = ()
    hidden_methods: tuple[str, ...] = ()

    def __repr__(self) -> str:
        header, *lines = compact_cells(self.rows)
        return "\n".join([self.title, markdown_table(header, lines, left=2), *self._remarks()])

    def _repr_html_(self) -> str:
        """Return the table of `repr` as HTML, for notebooks."""
        header, *lines = ([escape(cell) for cell in line] for line in compact_cells(self.rows))
        head = "".join(f"<th>{cell}</th>" for cell in header)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in lines)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        remarks = "".join(f"<p>{escape(line)}</p>" for line in self._remarks())
        return f"<p><code>{escape(self.title)}</code></p>{table}{remarks}"

    def _remarks(self) -> list[str]:
        return [self.totals_line(), *self.remarks, *note_lines(self.rows)]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader must know about inputs, weights and attributes, one line each."""
        return (
            *input_remarks(self.input_shape, self.inputs),
            *member_remarks(self.unused, self.unregistered, self.hidden_methods),
        )

    def totals_line(self) -> str:
        """Return parameters, MACs and receptive field as one line of text."""
        macs = macs_text(self.macs, len(self.unknown_macs))
        return (
            f"{self.parameters:,} parameters, {macs} MACs per {self.unit}, "
            f"receptive field {receptive_field_text(self.final_receptive_field)}"
        )

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
        """The size of all inputs, those of floating-point numbers in fp32."""
        return sum(each.bytes for each in self.inputs) or prod(self.input_shape) * BYTES_PER_VALUE

    @property
    def parameter_bytes(self) -> int:
        return self.parameters * BYTES_PER_VALUE

    @cached_property
    def peak_activation_bytes(self) -> int:
        """The peak memory of inputs, outputs and pending branches, for one image in fp32.

        Elementwise operations run in place if no later operation needs their input.
        """
        sizes = [each.shape for each in self.inputs] or [self.input_shape]
        return peak_activations(self.rows, (sum(map(prod, sizes)),)) * BYTES_PER_VALUE

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
