"""The analysis of a net: one row for each operation, and their totals.

Both the arithmetic on a notation and the tracing of a module return an `Analysis`; tables, briefs and charts
read it. It prints as a table. Nothing here needs torch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from math import prod

from convsmith.net.cells import compact_cells, macs_text, note_lines, receptive_field_text
from convsmith.net.inputs import Input
from convsmith.net.remarks import (
    axis_names,
    hidden_remarks,
    idle_remarks,
    inactive_remarks,
    input_remarks,
    member_remarks,
)
from convsmith.net.rows import (
    FULL_MAP,
    IMAGE,
    ZERO,
    Axes,
    HiddenTensor,
    IdleLayer,
    ReceptiveField,
    Row,
    Shape,
)
from convsmith.text import markdown_table, plural

# The size of one weight or activation in fp32.
BYTES_PER_VALUE = 4
# Bytes of one weight by file format.
FILE_FORMATS = {"fp32": 4, "fp16": 2, "int8": 1}
_RECURRENT = {"RNN", "GRU", "LSTM"}


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
        outputs: The numbers of the rows whose outputs the net returns; empty for the last row.
        inputs: All inputs of a module; empty if the image is the only one.
        unit: What MACs and activations are for: one "image", one "sample" of inputs that are no images, or a
            "call" with a batch of several.
        unregistered: Names and sizes of weights in plain lists and dictionaries. `parameters()` does not
            return them, so that they are neither trained nor saved.
        hidden_methods: Attributes of a module that hide methods of `nn.Module`, as `modules`.
        frozen: Names and sizes of the registered parameters that require no gradients.
        idle: Layers that the forward pass never calls.
        hidden: Tensors that the forward pass computes with and that are neither parameters nor buffers:
            plain attributes, globals, constants. `parameters` does not count them.
    """

    title: str
    input_shape: Shape
    rows: tuple[Row, ...]
    trainable: int
    buffers: int
    buffer_bytes: int
    uncovered: Axes | None
    unused: tuple[tuple[str, int], ...] = ()
    outputs: tuple[int, ...] = ()
    inputs: tuple[Input, ...] = ()
    unit: str = "image"
    unregistered: tuple[tuple[str, int], ...] = ()
    hidden_methods: tuple[str, ...] = ()
    frozen: tuple[tuple[str, int], ...] = ()
    idle: tuple[IdleLayer, ...] = ()
    hidden: tuple[HiddenTensor, ...] = ()

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
            *hidden_remarks(self.hidden),
            *idle_remarks(self.idle),
            *inactive_remarks(self.rows),
        )

    def totals_line(self) -> str:
        """Return parameters, MACs and receptive field as one line of text."""
        macs = macs_text(self.known_macs, len(self.unknown_macs))
        return (
            f"{self.parameters:,} parameters, {macs} MACs per {self.unit}, "
            f"receptive field {self.receptive_field_text}"
        )

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows) + sum(count for _, count in self.unused)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for one image; None if those of a row are unknown, see `known_macs`."""
        return None if self.unknown_macs else self.known_macs

    @property
    def known_macs(self) -> int:
        """Multiply-accumulates for one image, without those of `unknown_macs`."""
        return sum(row.macs or 0 for row in self.rows)

    @property
    def unknown_macs(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.macs is None)

    @cached_property
    def final_receptive_field(self) -> ReceptiveField:
        """The receptive field before the head: of the last maps, before they are pooled or flattened.

        Along each axis it is that of the last rows on the way to the outputs that do not depend on the full
        image; the largest if there are several.
        """
        image = ReceptiveField.of_image(len(self.input_shape) - 1)
        axes = []
        for axis in range(len(image.axes)):
            fields = [self.rows[row].out_field for row in self._last_maps(axis)]
            unknown = next((field.unknown for field in fields if field.unknown), "")
            if unknown:
                return ReceptiveField(unknown=unknown)
            columns = [field.axes[axis] for field in reversed([image, *fields])]
            axes.append(max(columns, key=lambda each: each.size))
        return ReceptiveField(axes=tuple(axes))

    def _last_maps(self, axis: int) -> list[int]:
        """Return the last rows on the way to the outputs that are local along an axis, or unknown."""
        found, pending, seen = [], list(self._outputs), set()
        while pending:
            row = pending.pop()
            if row == IMAGE or row in seen:
                continue
            seen.add(row)
            if self._is_full(row, axis):
                pending += self.rows[row].sources
            else:
                found.append(row)
        return sorted(found)

    def last_local_rows(self, axis: int) -> list[int]:
        """Return the rows, or `IMAGE`, whose maps the outputs depend on along an axis: directly or pooled."""
        ends = set(self._last_maps(axis))
        for row in self._upstream(self._outputs):
            if self._is_full(row, axis):
                ends |= {source for source in self.rows[row].sources if not self._is_full(source, axis)}
        ends |= {IMAGE} & set(self._outputs)
        return sorted(ends)

    def _is_full(self, row: int, axis: int) -> bool:
        """Whether every output of a row depends on all of an axis, or none on the image."""
        if row == IMAGE:
            return False
        field = self.rows[row].out_field
        return not field.unknown and not (field.axes and field.axes[axis].size)

    @property
    def _outputs(self) -> tuple[int, ...]:
        return self.outputs or (len(self.rows) - 1,)[: len(self.rows)]

    def _upstream(self, rows: Iterable[int], *, through_zero: bool = True) -> set[int]:
        """Return rows and all rows that they are computed from, also where these are multiplied by 0."""
        found: set[int] = set()
        pending = list(rows)
        while pending:
            row = pending.pop()
            if row != IMAGE and row not in found:
                found.add(row)
                if through_zero or self.rows[row].inactive != ZERO:
                    pending += self.rows[row].sources
        return found

    @cached_property
    def unused_rows(self) -> tuple[int, ...]:
        """The numbers of the rows that no output of the net depends on."""
        used = self._upstream(self._outputs, through_zero=False)
        return tuple(index for index in range(len(self.rows)) if index not in used)

    @cached_property
    def mixing(self) -> dict[int, Axes]:
        """The rows that combine all positions of a map before the head, by number, and along which axes.

        They pool, attend or normalise. Either their result joins a map that is local along the axis, or it is
        a map itself, as that of attention without a residual.
        """
        found = {}
        used = self._upstream(self._outputs)
        joined = [self._upstream(self._last_maps(axis)) for axis in range(len(self.input_shape) - 1)]
        for index in sorted(used):
            row = self.rows[index]
            axes = self._mixed_axes(index)
            if axes and (_keeps_map(row) or any(index in joined[axis] for axis in axes)):
                found[index] = axes
        return found

    def _mixed_axes(self, index: int) -> Axes:
        """Return the axes along which a row combines all positions; all of them if its output is global."""
        row = self.rows[index]
        every = tuple(range(len(self.input_shape) - 1))
        fields = [self.rows[source].out_field for source in row.sources if source != IMAGE]
        if IMAGE in row.sources:
            fields.append(ReceptiveField.of_image(len(every)))
        if FULL_MAP in row.notes:
            return every
        local = [axis for axis in every if any(each.axes and each.axes[axis].size for each in fields)]
        if row.out_field.is_global:
            return every if local else ()
        return tuple(axis for axis in local if row.out_field.axes and not row.out_field.axes[axis].size)

    @property
    def global_rows(self) -> tuple[Row, ...]:
        """The rows before the head through which every position also depends on the full image."""
        every = len(self.input_shape) - 1
        return tuple(self.rows[index] for index, axes in self.mixing.items() if len(axes) == every)

    def rows_along(self, axis: int) -> tuple[Row, ...]:
        """Return those through which every position also depends on all of one axis only."""
        every = len(self.input_shape) - 1
        full = {source for row in self.global_rows for source in row.sources}
        return tuple(
            self.rows[index]
            for index, axes in self.mixing.items()
            if axis in axes and len(axes) < every and index not in full
        )

    @property
    def receptive_field_text(self) -> str:
        """The receptive field before the head, and the operations that combine all positions of the map."""
        text = receptive_field_text(self.final_receptive_field)
        num_axes = len(self.input_shape) - 1
        groups = [("image", self.global_rows)]
        groups += [(name, self.rows_along(axis)) for axis, name in enumerate(axis_names(num_axes))]
        parts = [f"the full {name} through {_names(rows)}" for name, rows in groups if rows]
        if not parts or self.final_receptive_field.unknown:
            return text
        return f"{text} along local paths, {', '.join(parts)}"

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


def _keeps_map(row: Row) -> bool:
    """Whether the output of a row is a map or sequence again, and no pooled vector."""
    if row.operation in _RECURRENT:
        return row.in_shape[:-1] == row.out_shape[:-1]
    return len(row.out_shape) > 1 and 2 * row.activations > prod(row.in_shape)


def _names(rows: Sequence[Row]) -> str:
    names = ", ".join(row.name or row.operation for row in rows[:3])
    return names + (f" and {plural(len(rows) - 3, 'more operation')}" if len(rows) > 3 else "")


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
