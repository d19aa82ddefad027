"""Integer arithmetic on a plan: parameters, MACs and receptive field of each operation, and their sums.

Nothing here needs torch. A multiply-accumulate (MAC) is one multiplication and one addition; only
convolutions and fully connected layers are counted, as is usual.
"""

from dataclasses import dataclass, replace
from math import prod

from convsmith.arch.plan import Branch, Op, Plan, Step

# The size of one value of a weight or an activation in fp32.
BYTES_PER_VALUE = 4


@dataclass(frozen=True, kw_only=True)
class View:
    """What one output sees: `receptive_field` pixels a side; neighbours lie `jump` pixels apart.

    `receptive_field` is None where every output sees the whole image, as after global pooling.
    """

    receptive_field: int | None = 1
    jump: int = 1

    def through(self, op: Op) -> "View":
        """The view after a window has moved over the map."""
        if op.operation in {"GlobalAvgPool2d", "Flatten"} or self.receptive_field is None:
            return View(receptive_field=None, jump=self.jump)
        return View(
            receptive_field=self.receptive_field + op.dilation * (op.kernel - 1) * self.jump,
            jump=self.jump * op.stride,
        )


@dataclass(frozen=True, kw_only=True)
class OpFacts:
    """One operation with its numbers: a row of the summary."""

    op: Op
    parameters: int
    buffers: int
    macs: int
    before: View
    after: View


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All rows of a net and their totals; `receptive_field` is that before the map is pooled to a point."""

    plan: Plan
    rows: tuple[OpFacts, ...]
    receptive_field: int

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def buffers(self) -> int:
        return sum(row.buffers for row in self.rows)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def input_bytes(self) -> int:
        return prod(self.plan.input_shape) * BYTES_PER_VALUE

    @property
    def parameter_bytes(self) -> int:
        return self.parameters * BYTES_PER_VALUE


def analyze(plan: Plan) -> Analysis:
    """Work out every number of a net.

    Example:
        >>> from convsmith.arch.notation import parse
        >>> from convsmith.arch.plan import plan
        >>> facts = analyze(plan(parse("C16 C16:s2 / G F10"), (3, 32, 32)))
        >>> facts.parameters, facts.macs, facts.receptive_field
        (2970, 1032352, 5)
    """
    rows: list[OpFacts] = []
    view = View()
    largest = 1
    for block in plan.blocks:
        view = _walk(block, view, rows)
    for row in rows:
        largest = max(largest, row.before.receptive_field or 1, row.after.receptive_field or 1)
    return Analysis(plan=plan, rows=tuple(rows), receptive_field=largest)


def _walk(steps: tuple[Step, ...], view: View, rows: list[OpFacts]) -> View:
    for step in steps:
        if isinstance(step, Branch):
            body = _walk(step.body, view, rows)
            skip = _walk(step.projection, view, rows)
            # The union of what both paths see: they share the centre, so the larger one counts.
            if body.receptive_field is None or skip.receptive_field is None:
                view = replace(body, receptive_field=None)
            else:
                view = replace(body, receptive_field=max(body.receptive_field, skip.receptive_field))
        else:
            after = view.through(step)
            rows.append(_facts(step, view, after))
            view = after
    return view


def _facts(op: Op, before: View, after: View) -> OpFacts:
    parameters = buffers = macs = 0
    match op.operation:
        case "Conv2d":
            weights = op.out_shape[0] * (op.in_shape[0] // op.groups) * op.kernel**2
            parameters = weights + op.out_shape[0] * op.bias
            macs = weights * prod(op.out_shape[1:])
        case "Linear":
            macs = prod(op.in_shape) * prod(op.out_shape)
            parameters = macs + prod(op.out_shape) * op.bias
        case "BatchNorm2d":
            parameters = 2 * op.out_shape[0]
            # Running mean, running variance, and the counter of batches.
            buffers = 2 * op.out_shape[0] + 1
    return OpFacts(op=op, parameters=parameters, buffers=buffers, macs=macs, before=before, after=after)
