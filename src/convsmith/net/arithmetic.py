"""Integer arithmetic on a plan: shapes, parameters, MACs and receptive field of each operation.

Nothing here needs torch, and none of the formulas is shared with the tracing of modules: the two check
each other.
"""

from dataclasses import dataclass
from math import prod

from convsmith.net import coverage
from convsmith.net.analysis import IMAGE, WHOLE_MAP, Analysis, AxisView, Row, View, misalignments
from convsmith.net.layers import ACTIVATIONS
from convsmith.net.notation import parse
from convsmith.net.plan import Branch, Op, Plan, Step, plan
from convsmith.net.settings import NetSettings

_FLOAT_BYTES, _COUNTER_BYTES = 4, 8
_WINDOWS = {"Conv2d", "MaxPool2d", "AvgPool2d", "PixelUnshuffle"}
_ELEMENTWISE = {*ACTIVATIONS.values(), "BatchNorm2d", "Dropout", "Flatten"}


@dataclass(frozen=True, kw_only=True)
class SpecAnalysis(Analysis):
    """The numbers of a net in the notation, and the plan that they were read off."""

    plan: Plan

    @property
    def receptive_field(self) -> int:
        """Pixels a side, before the map is pooled to a point; the smaller side where they differ."""
        return min(self.final_view.sizes)


def analyze(planned: Plan) -> SpecAnalysis:
    """Work out every number of a net.

    Example:
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> facts = analyze(plan(parse("C16 C16:s2 / G F10"), (3, 32, 32)))
        >>> facts.parameters, facts.macs, facts.receptive_field
        (2970, 1032352, 5)
    """
    walk = _Walk(planned.input_shape)
    for block in planned.blocks:
        walk.steps(block)
    normed = [op.out_shape[0] for op in planned.operations() if op.operation == "BatchNorm2d"]
    return SpecAnalysis(
        title=str(planned.net),
        input_shape=planned.input_shape,
        rows=tuple(walk.rows),
        trainable=sum(row.parameters for row in walk.rows),
        # Running mean, running variance, and the counter of batches.
        buffers=sum(2 * channels + 1 for channels in normed),
        buffer_bytes=sum(2 * channels * _FLOAT_BYTES + _COUNTER_BYTES for channels in normed),
        unseen=tuple(
            coverage.unseen(seen, size) for seen, size in zip(walk.seen, planned.input_shape[1:], strict=True)
        ),
        plan=planned,
    )


def analyze_notation(
    text: str, input_shape: tuple[int, ...], settings: NetSettings | None = None
) -> SpecAnalysis:
    """Read a net's notation, settle it for an input shape `(C, H, W)`, and work out every number.

    Raises:
        NotationError: The notation cannot be read.
        ShapeError: The layers do not fit.

    Example:
        >>> analyze_notation("C16 C16:s2 / G F10", (3, 32, 32)).parameters
        2970
    """
    return analyze(plan(parse(text), input_shape, settings))


class _Walk:
    """Goes through the steps in the order of execution, with what the outputs of the last row see."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        self.rows: list[Row] = []
        self.last = IMAGE
        self.view = View.of_image(len(input_shape) - 1)
        # What the map before the head sees: a head sees all of it.
        self.seen = [coverage.of_image(size) for size in input_shape[1:]]

    def steps(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if isinstance(step, Branch):
                self.branch(step)
            else:
                self.operation(step)

    def operation(self, op: Op) -> None:
        after = _view_after(self.view, op)
        if op.operation in _WINDOWS and self.view.axes:
            self.seen = [
                coverage.through(
                    seen,
                    coverage.window_inputs(
                        size, kernel=op.kernel, stride=op.stride, dilation=op.dilation, padding=op.padding
                    ),
                )
                for seen, size in zip(self.seen, op.out_shape[1:], strict=True)
            ]
        self.add(_row(op, self.last, self.view, after))
        self.view = after

    def branch(self, branch: Branch) -> None:
        start, view, seen = self.last, self.view, self.seen
        self.steps(branch.projection)
        skip, skip_view, skip_seen = self.last, self.view, self.seen
        self.last, self.view, self.seen = start, view, seen
        self.steps(branch.body)
        joined, notes = _joined(self.view, skip_view, branch.out_shape)
        self.seen = [coverage.joined(a, b) for a, b in zip(self.seen, skip_seen, strict=True)]
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
                before=joined,
                after=joined,
                notes=notes,
            )
        )
        self.view = joined

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.last = len(self.rows) - 1


def _row(op: Op, source: int, before: View, after: View) -> Row:
    windowed = op.operation in _WINDOWS
    weighted = op.operation in {"Conv2d", "Linear"}
    reads_map = op.operation in {"GroupNorm", "InstanceNorm2d"}
    return Row(
        operation=op.operation,
        name=op.name,
        block=op.name.split(".")[0],
        layer=op.layer,
        sources=(source,),
        in_shape=op.in_shape,
        out_shape=op.out_shape,
        kernel=(op.kernel,) * 2 if windowed else (),
        stride=(op.stride,) * 2 if windowed else (),
        dilation=(op.dilation,) * 2 if windowed else (),
        padding=(op.padding,) * 2 if windowed else (),
        groups=op.groups,
        bias=op.bias,
        width=(op.in_shape[0], op.out_shape[0]) if weighted else (0, 0),
        parameters=_parameters(op),
        macs=macs_of(op),
        elementwise=op.operation in _ELEMENTWISE,
        before=before,
        after=after,
        notes=(WHOLE_MAP,) if reads_map else (),
    )


def _parameters(op: Op) -> int:
    bias = op.out_shape[0] * op.bias
    match op.operation:
        case "Conv2d":
            return op.out_shape[0] * (op.in_shape[0] // op.groups) * op.kernel**2 + bias
        case "Linear":
            return op.in_shape[0] * op.out_shape[0] + bias
        case "BatchNorm2d" | "GroupNorm" | "InstanceNorm2d":
            return 2 * op.out_shape[0]
        case _:
            return 0


def macs_of(op: Op) -> int:
    """The multiply-accumulates of an operation for one image."""
    if op.operation not in {"Conv2d", "Linear"}:
        return 0
    return (_parameters(op) - op.out_shape[0] * op.bias) * prod(op.out_shape[1:])


def _view_after(view: View, op: Op) -> View:
    """The view after a window has moved over the map; after a head every output sees the whole image."""
    if op.operation in {"GlobalAvgPool2d", "Flatten"}:
        return View()
    if op.operation not in _WINDOWS:
        return view
    reach = op.dilation * (op.kernel - 1)
    return View(
        axes=tuple(
            AxisView(
                size=int(axis.size + reach * axis.jump),
                jump=axis.jump * op.stride,
                start=axis.start - op.padding * axis.jump,
                least=int(axis.least + reach * axis.jump),
            )
            for axis in view.axes
        )
    )


def _joined(body: View, skip: View, out_shape: tuple[int, ...]) -> tuple[View, tuple[str, ...]]:
    """The union of what two branches see, and notes where they do not line up."""
    if not (body.axes and skip.axes):
        return View(), ()
    axes: list[AxisView] = []
    notes: list[str] = []
    for a, b, count in zip(body.axes, skip.axes, out_shape[1:], strict=True):
        ends = []
        # Where the jumps differ, what is seen grows towards one end of the map.
        for index in (0, count - 1):
            firsts = [axis.start + index * axis.jump for axis in (a, b)]
            lasts = [first + axis.size for first, axis in zip(firsts, (a, b), strict=True)]
            ends.append(max(lasts) - min(firsts))
        axes.append(
            AxisView(
                size=int(max(ends)),
                jump=max(a.jump, b.jump),
                start=min(a.start, b.start),
                least=min(a.least, b.least),
            )
        )
        notes += misalignments((a.jump, b.jump), (a.centre, b.centre))
    return View(axes=tuple(axes)), tuple(dict.fromkeys(notes))
