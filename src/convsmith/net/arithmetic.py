"""Integer arithmetic on a plan: the rows and totals of its operations.

Nothing here needs torch. No formula is shared with the tracing of modules, so each checks the other.
"""

from dataclasses import dataclass

from convsmith.net import coverage
from convsmith.net.analysis import Analysis
from convsmith.net.layers.operation import Operation
from convsmith.net.notation import parse
from convsmith.net.plan import Branch, Plan, Step, plan
from convsmith.net.rows import IMAGE, AxisReceptiveField, ReceptiveField, Row, Shape, misalignments
from convsmith.net.settings import NetSettings


@dataclass(frozen=True, kw_only=True, repr=False)
class SpecAnalysis(Analysis):
    """The analysis of a net in the notation, and its plan."""

    plan: Plan

    @property
    def receptive_field(self) -> int:
        """Pixels a side, before global pooling; the smaller side if they differ."""
        return min(self.final_receptive_field.sizes)


def analyze(planned: Plan) -> SpecAnalysis:
    """Compute the analysis of a plan.

    Example:
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> analysis = analyze(plan(parse("C16 C16:s2 / G F10"), (3, 32, 32)))
        >>> analysis.parameters, analysis.macs, analysis.receptive_field
        (2970, 1032352, 5)
    """
    walk = _Walk(planned.input_shape)
    for block in planned.blocks:
        walk.steps(block)
    buffers = [operation.buffers for operation in planned.operations()]
    return SpecAnalysis(
        title=str(planned.net),
        input_shape=planned.input_shape,
        rows=tuple(walk.rows),
        trainable=sum(row.parameters for row in walk.rows),
        buffers=sum(count for count, _ in buffers),
        buffer_bytes=sum(size for _, size in buffers),
        uncovered=tuple(
            coverage.uncovered(masks, size)
            for masks, size in zip(walk.masks, planned.input_shape[1:], strict=True)
        ),
        plan=planned,
    )


def analyze_notation(text: str, input_shape: Shape, settings: NetSettings | None = None) -> SpecAnalysis:
    """Parse a notation, plan it for an input shape `(C, H, W)`, and analyse the plan.

    Raises:
        NotationError: The notation has a syntax error.
        ShapeError: The layers do not fit.

    Example:
        >>> analyze_notation("C16 C16:s2 / G F10", (3, 32, 32)).parameters
        2970
    """
    return analyze(plan(parse(text), input_shape, settings))


class _Walk:
    """Visits the steps in the order of execution, with the receptive field of the last row."""

    def __init__(self, input_shape: Shape) -> None:
        self.rows: list[Row] = []
        self.last = IMAGE
        self.field = ReceptiveField.of_image(len(input_shape) - 1)
        # Those of the map before the head: every output of a head depends on all of it.
        self.masks = tuple(map(coverage.image_masks, input_shape[1:]))

    def steps(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if isinstance(step, Branch):
                self.branch(step)
            else:
                self.operation(step)

    def operation(self, operation: Operation) -> None:
        out_field = operation.receptive_field(self.field)
        if self.field.axes:
            self.masks = operation.coverage(self.masks)
        self.add(_row(operation, self.last, self.field, out_field))
        self.field = out_field

    def branch(self, branch: Branch) -> None:
        start, field, masks = self.last, self.field, self.masks
        self.steps(branch.projection)
        skip, skip_field, skip_masks = self.last, self.field, self.masks
        self.last, self.field, self.masks = start, field, masks
        self.steps(branch.body)
        joined, notes = _union(self.field, skip_field, branch.out_shape)
        self.masks = tuple(
            coverage.union(body, skip) for body, skip in zip(self.masks, skip_masks, strict=True)
        )
        self.add(
            Row(
                operation="Add",
                name=branch.name,
                block=branch.name.split(".")[0],
                layer=branch.layer,
                sources=(skip, self.last),
                in_shape=branch.out_shape,
                out_shape=branch.out_shape,
                elementwise=True,
                in_field=joined,
                out_field=joined,
                notes=notes,
            )
        )
        self.field = joined

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.last = len(self.rows) - 1


def _row(operation: Operation, source: int, in_field: ReceptiveField, out_field: ReceptiveField) -> Row:
    return Row(
        operation=operation.operation,
        name=operation.name,
        block=operation.name.split(".")[0],
        layer=operation.layer,
        sources=(source,),
        in_shape=operation.in_shape,
        out_shape=operation.out_shape,
        **vars(operation.window),
        parameters=operation.parameters,
        macs=operation.macs,
        elementwise=operation.elementwise,
        in_field=in_field,
        out_field=out_field,
        notes=operation.notes,
    )


def _union(
    body: ReceptiveField, skip: ReceptiveField, out_shape: Shape
) -> tuple[ReceptiveField, tuple[str, ...]]:
    """The union of the receptive fields of two branches, and notes if they are misaligned."""
    if not (body.axes and skip.axes):
        return ReceptiveField(), ()
    axes: list[AxisReceptiveField] = []
    notes: list[str] = []
    for a, b, count in zip(body.axes, skip.axes, out_shape[1:], strict=True):
        sizes = []
        # If the jumps differ, the union grows towards one end of the map.
        for index in (0, count - 1):
            firsts = [axis.start + index * axis.jump for axis in (a, b)]
            lasts = [first + axis.size for first, axis in zip(firsts, (a, b), strict=True)]
            sizes.append(max(lasts) - min(firsts))
        axes.append(
            AxisReceptiveField(
                size=int(max(sizes)),
                jump=max(a.jump, b.jump),
                start=min(a.start, b.start),
                min_size=min(a.min_size, b.min_size),
            )
        )
        notes += misalignments((a.jump, b.jump), (a.centre, b.centre))
    return ReceptiveField(axes=tuple(axes)), tuple(dict.fromkeys(notes))
