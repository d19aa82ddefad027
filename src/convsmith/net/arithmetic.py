"""Integer arithmetic on a plan: the rows and totals of its operations.

Nothing here needs torch. No formula is shared with the tracing of modules, so each checks the other.
"""

from dataclasses import dataclass
from fractions import Fraction

from convsmith.net import coverage
from convsmith.net.analysis import Analysis
from convsmith.net.effects import with_effects
from convsmith.net.layers.activations import Dropout
from convsmith.net.layers.operation import Operation
from convsmith.net.notation import parse
from convsmith.net.plan import Branch, Plan, Step, plan
from convsmith.net.rows import (
    FULL_AXIS,
    GATED,
    IMAGE,
    AxisReceptiveField,
    ReceptiveField,
    Row,
    Shape,
    misalignments,
)
from convsmith.net.settings import NetSettings


@dataclass(frozen=True, kw_only=True, repr=False)
class SpecAnalysis(Analysis):
    """The analysis of a net in the notation, and its plan."""

    plan: Plan

    @property
    def receptive_field(self) -> int:
        """Pixels a side, before global pooling; the smaller side if they differ."""
        return min(self.final_receptive_field.sizes)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image; they are known for every layer of the notation."""
        return self.known_macs


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
        rows=with_effects(walk.rows),
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
    """Visits the steps in the order of execution, with the receptive fields of the last row."""

    def __init__(self, input_shape: Shape) -> None:
        self.rows: list[Row] = []
        self.last = IMAGE
        # One receptive field for each path with a jump of its own: they drift apart.
        self.paths = [ReceptiveField.of_image(len(input_shape) - 1)]
        # Those of the map before the head: every output of a head depends on all of it.
        self.masks = tuple(map(coverage.image_masks, input_shape[1:]))

    def steps(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if isinstance(step, Branch):
                self.branch(step)
            else:
                self.operation(step)

    def operation(self, operation: Operation) -> None:
        before = _union(self.paths, operation.in_shape)
        if before.axes:
            self.masks = operation.coverage(self.masks)
        self.paths = [operation.receptive_field(path) for path in self.paths]
        self.add(_row(operation, self.last, before, _union(self.paths, operation.out_shape)))

    def branch(self, branch: Branch) -> None:
        start, paths, masks = self.last, self.paths, self.masks
        self.steps(branch.projection)
        skip, skip_paths, skip_masks = self.last, self.paths, self.masks
        self.last, self.paths, self.masks = start, paths, masks
        self.steps(branch.body)
        notes = _misaligned(self.paths, skip_paths, branch.out_shape)
        self.paths = _joined([*self.paths, *skip_paths])
        joined = _union(self.paths, branch.out_shape)
        self.masks = tuple(
            coverage.union(coverage.pooled(body, size), coverage.pooled(skip, size))
            for body, skip, size in zip(self.masks, skip_masks, branch.out_shape[1:], strict=True)
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
        probability=operation.probability if isinstance(operation, Dropout) else None,
    )


def _joined(paths: list[ReceptiveField]) -> list[ReceptiveField]:
    """Join the paths with equal jumps, whose union moves as they do."""
    by_jump: dict[tuple[Fraction, ...], list[ReceptiveField]] = {}
    for path in paths:
        by_jump.setdefault(tuple(axis.jump for axis in path.axes), []).append(path)
    return [_union(group, ()) for group in by_jump.values()]


def _union(paths: list[ReceptiveField], shape: Shape) -> ReceptiveField:
    """Return the union of the receptive fields of paths to a map: the maximum over all positions.

    Where the jumps differ, the union grows towards one end of the map, so the first and last one suffice.
    """
    local = [path for path in paths if path.axes]
    if len(local) < 2:
        return (local or paths)[0]
    counts = shape[1:] or (1,) * len(local[0].axes)
    columns = zip(*(path.axes for path in local), strict=True)
    return ReceptiveField(axes=tuple(map(_union_axis, columns, counts)))


def _union_axis(paths: tuple[AxisReceptiveField, ...], count: int) -> AxisReceptiveField:
    paths = tuple(axis for axis in paths if axis.size) or (FULL_AXIS,)
    sizes = []
    for index in (0, count - 1):
        firsts = [axis.start + index * axis.jump for axis in paths]
        ends = [first + axis.size for first, axis in zip(firsts, paths, strict=True)]
        sizes.append(max(ends) - min(firsts))
    return AxisReceptiveField(
        size=int(max(sizes)),
        jump=max(axis.jump for axis in paths),
        start=min(axis.start for axis in paths),
        min_size=min(axis.min_size for axis in paths),
    )


def _misaligned(body: list[ReceptiveField], skip: list[ReceptiveField], out_shape: Shape) -> tuple[str, ...]:
    """Return notes if the receptive fields of two branches are misaligned."""
    notes: list[str] = []
    num_axes = len(out_shape) - 1
    fields = [_union(paths, out_shape).axes or (FULL_AXIS,) * num_axes for paths in (body, skip)]
    for a, b in zip(*fields, strict=True):
        if a.size and b.size:
            notes += misalignments((a.jump, b.jump), (a.centre, b.centre))
        elif a.size or b.size:
            notes.append(GATED)
    return tuple(dict.fromkeys(notes))
