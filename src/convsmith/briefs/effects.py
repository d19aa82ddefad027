"""Layers that are there and do not count: which, in which line, and the smallest change.

A kind of layer counts by its effect: one that `forward` never calls, a dropout with p = 0 and an average pool
with a window of 1x1 have none. Likewise tensors that hide from `parameters()` are part of a net.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from convsmith.briefs.bounds import Bound, nearest
from convsmith.briefs.structure import AVERAGE_POOL, LAYER_KINDS, LayerKind, is_convolution, is_pointwise
from convsmith.net.analysis import Analysis
from convsmith.net.effects import DROPOUT, is_dropout, joins_two_paths
from convsmith.net.rows import UNUSED, IdleLayer, Location, Row

# Values in tensors that are neither parameters nor buffers, up to which they are settings: such as mean and
# standard deviation of the channels.
HIDDEN_LIMIT = 16
_SHOWN = 3
# The classes that a layer of a kind may have.
_CLASSES: dict[LayerKind, re.Pattern[str]] = {
    "batch-norm": re.compile(r"(Lazy|Sync)?BatchNorm([123]d)?"),
    "group-norm": re.compile(r"GroupNorm"),
    "layer-norm": re.compile(r"LayerNorm|GroupNorm"),
    "instance-norm": re.compile(r"(Lazy)?InstanceNorm[123]d"),
    "dropout": DROPOUT,
    "convolution": re.compile(r"(Lazy)?Conv[123]d"),
    "transposed": re.compile(r"(Lazy)?ConvTranspose[123]d"),
    "max-pooling": re.compile(r"(Adaptive|Fractional)?MaxPool[123]d"),
    "average-pooling": re.compile(r"AvgPool[123]d"),
    "global-average-pooling": AVERAGE_POOL,
    "fully-connected": re.compile(r"(Lazy)?Linear"),
}
_GLOBAL_MAXIMUM = re.compile(r"AdaptiveMaxPool[123]d|MaxPool[123]d|amax")
_NORMS: tuple[LayerKind, ...] = ("batch-norm", "group-norm", "layer-norm", "instance-norm")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A layer or tensor that does not count as it seems to.

    Attributes:
        layer: Its path.
        location: Its line; None in the notation.
        what: What is wrong with it, after its name: `has p = 0`.
        fix: The smallest change.
    """

    layer: str
    location: Location | None
    what: str
    fix: str

    @property
    def subject(self) -> str:
        """The layer with its line: `dropout1 (model.py:12)`."""
        return f"{self.layer} ({self.location})" if self.location else self.layer

    def __str__(self) -> str:
        return f"{self.subject} {self.what}"

    @property
    def advice(self) -> str:
        """Finding and fix in one line."""
        return f"{self}: {self.fix}"


def without_effect(
    analysis: Analysis, kind: LayerKind, *, dropout: Bound | None = None
) -> tuple[Finding, ...]:
    """Return the layers that seem to be of a kind and do not count, the likeliest first.

    Args:
        analysis: That of the net.
        kind: What the layers seem to be.
        dropout: The probabilities that a dropout may have.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> analysis = analyze_notation("C8 A1 / F10", (3, 8, 8))
        >>> [finding.advice for finding in without_effect(analysis, "average-pooling")]
        ['A1 has a window of 1x1 on a map of 8x8: give it a window of 2x2']
    """
    rows = analysis.rows
    rule = LAYER_KINDS[kind]
    named = _CLASSES.get(kind)
    idle = [each for each in analysis.idle if named and named.fullmatch(each.operation)]
    findings = [_of_row(row, kind, dropout) for row in rule.find(rows) if row.inactive or not rule.acts(row)]
    return *findings, *(_of_idle(analysis, each, kind) for each in idle)


def of_another_kind(analysis: Analysis, kind: LayerKind) -> tuple[Finding, ...]:
    """Return the layers that resemble a kind and are of another, such as an average pool with a window.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> analysis = analyze_notation("C8 A3 / F10", (3, 8, 8))
        >>> [str(finding) for finding in of_another_kind(analysis, "global-average-pooling")]
        ['A3 has a window of 3x3 on a map of 8x8']
    """
    return tuple(_SIMILAR[kind](analysis.rows)) if kind in _SIMILAR else ()


def hidden_tensors(analysis: Analysis) -> tuple[Finding, ...]:
    """Return the tensors that a net computes with and that `parameters()` does not return, if they are many.

    They are weights in plain lists, and tensors of more than `HIDDEN_LIMIT` values together in attributes,
    globals, closures and constants.

    Example:
        >>> import torch
        >>> from convsmith.tracing.trace import trace
        >>> net = torch.nn.Flatten()
        >>> net.table = torch.randn(64, 10)
        >>> net.forward = lambda x: x.flatten(1) @ net.table
        >>> [str(each) for each in hidden_tensors(trace(net, (1, 8, 8)))]
        ['net.table hides 640 values']
    """
    hidden = analysis.hidden if sum(each.size for each in analysis.hidden) > HIDDEN_LIMIT else ()
    findings = [
        Finding(
            layer=name,
            location=next((row.location for row in analysis.rows if _holds(row, name)), None),
            what=f"hides {count:,} values",
            fix="keep layers in nn.ModuleList or nn.ModuleDict, weights in nn.ParameterList",
        )
        for name, count in analysis.unregistered
    ]
    findings += [
        Finding(
            layer=each.name,
            location=each.location,
            what=f"hides {each.size:,} values",
            fix="make it an nn.Parameter; a constant that is computed belongs into self.register_buffer",
        )
        for each in hidden
    ]
    return tuple(findings)


def _holds(row: Row, weight: str) -> bool:
    """Whether a row is that of the layer of a weight."""
    return bool(row.name) and weight.rpartition(".")[0] == row.name


def parameters_text(analysis: Analysis) -> str:
    """Return the parameters by their kind, and what is not counted among them.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> parameters_text(analyze_notation("C8 / G F10", (3, 8, 8)))
        '322 trainable; not counted: 17 values in buffers'
    """
    frozen = sum(count for _, count in analysis.frozen)
    lists = sum(count for _, count in analysis.unregistered)
    hidden = sum(each.size for each in analysis.hidden)
    counted = [f"{analysis.trainable:,} trainable"]
    counted += [f"{frozen:,} frozen"] if frozen else []
    counted += [f"{lists:,} in plain lists"] if lists else []
    others = [f"{analysis.buffers:,} values in buffers"] if analysis.buffers else []
    others += [f"{hidden:,} in hidden tensors"] if hidden else []
    return ", ".join(counted) + (f"; not counted: {', '.join(others)}" if others else "")


def listed(findings: Sequence[Finding]) -> str:
    """Return findings in one line, the first few of them."""
    rest = len(findings) - _SHOWN
    return "; ".join(map(str, findings[:_SHOWN])) + (f"; and {rest} more" if rest > 0 else "")


def _of_row(row: Row, kind: LayerKind, dropout: Bound | None = None) -> Finding:
    return _finding(row, *_words(row, kind, dropout))


def _words(row: Row, kind: LayerKind, dropout: Bound | None) -> tuple[str, str]:
    """Return what is wrong with a row, and the fix."""
    if row.inactive == UNUSED:
        call = f": x = self.{row.name}(x)" if row.layer == row.name else ""
        return "is called, and its result is unused", f"use what it returns{call}"
    if is_dropout(row):
        return _dropout_words(row, 0.1 if dropout is None else nearest(0.1, dropout))
    window = "x".join(map(str, row.kernel or ()))
    size = "x".join(map(str, row.in_shape[1:]))
    if row.kernel and set(row.kernel) == {1} and "Pool" in row.operation:
        if kind == "global-average-pooling":
            return f"has a window of {window} on a map of {size}", "make it nn.AdaptiveAvgPool2d(1)"
        return f"has a window of {window} on a map of {size}", "give it a window of 2x2"
    if size and set(row.in_shape[1:]) == {1}:
        return f"has no effect on a map of {size}", "call it while the map is larger"
    return f"has no effect: {row.inactive or 'one position of the map is in its window'}", "leave it out"


def _dropout_words(row: Row, probability: float) -> tuple[str, str]:
    if row.probability in {0, 1}:
        return f"has p = {row.probability:g}", f"give it p = {probability:g}"
    if row.definition:
        return "is off in training too", "let train() reach it, without .eval()"
    return "is off in training too", "pass training=self.training"


def _of_idle(analysis: Analysis, layer: IdleLayer, kind: LayerKind) -> Finding:
    return Finding(
        layer=layer.name,
        location=layer.definition,
        what="is built and never called",
        fix=_call(analysis, layer, kind),
    )


def _call(analysis: Analysis, layer: IdleLayer, kind: LayerKind) -> str:
    if kind == "global-average-pooling":
        return "call it before the classifier"
    if kind in _NORMS and (convolution := _without_norm(analysis.rows, layer)):
        return f"call it after {convolution}"
    return f"call it after {layer.after}" if layer.after else "call it in forward"


def _without_norm(rows: Sequence[Row], layer: IdleLayer) -> str:
    """Return the convolution that a norm fits: of its width, with its number, and without a norm so far."""
    normed = {
        source
        for row in rows
        if any(_CLASSES[kind].fullmatch(row.operation) for kind in _NORMS)
        for source in row.sources
    }
    free = [
        row.name
        for index, row in enumerate(rows)
        if is_convolution(row) and index not in normed and layer.width in {0, row.width[1]}
    ]
    same = [name for name in free if _number(name) == _number(layer.name)]
    return next(iter([*same, *free]), "")


def _number(name: str) -> str:
    """Return the number at the end of a name: `2` of `bn2`."""
    match = re.search(r"(\d+)$", name)
    return match[1] if match else ""


def _not_global(rows: Sequence[Row]) -> Iterator[Finding]:
    for row in rows:
        size = "x".join(map(str, row.in_shape[1:]))
        whole = set(row.out_shape[1:]) <= {1} and max(row.in_shape[1:], default=1) > 1
        if AVERAGE_POOL.fullmatch(row.operation) and set(row.in_shape[1:]) == {1}:
            fix = "use one stride fewer before it, so that its map is larger"
            yield _finding(row, f"has no effect on a map of {size}", fix)
        elif AVERAGE_POOL.fullmatch(row.operation) and row.kernel and any(row.out_field.sizes):
            window = "x".join(map(str, row.kernel))
            what = f"has a window of {window} on a map of {size}"
            yield _finding(row, what, "make it nn.AdaptiveAvgPool2d(1)")
        elif _GLOBAL_MAXIMUM.fullmatch(row.operation) and whole:
            yield _finding(row, "takes the maximum of the map", "take the mean: nn.AdaptiveAvgPool2d(1)")


def _no_residual(rows: Sequence[Row]) -> Iterator[Finding]:
    for index, row in enumerate(rows):
        if row.operation == "Add" and not joins_two_paths(rows, index):
            what = "adds no other layer: a constant, or a tensor to itself"
            yield _finding(row, what, "add the output of a layer to its input: x + self.conv(x)")


def _pointwise_on_one(rows: Sequence[Row]) -> Iterator[Finding]:
    for row in rows:
        if is_pointwise(row) and set(row.in_shape[1:]) == {1}:
            what = "is a convolution of 1x1 on a map of 1x1, which computes the same"
            yield _finding(
                row, what, f"make it nn.Linear({row.width[0]}, {row.width[1]}), after x.flatten(1)"
            )


def _grouped(rows: Sequence[Row]) -> Iterator[Finding]:
    for row in rows:
        if is_convolution(row) and 1 < row.groups < row.width[0]:
            what = f"has {row.groups} groups for {row.width[0]} channels"
            yield _finding(row, what, f"give it groups={row.width[0]}, and a convolution of 1x1 after it")


def _finding(row: Row, what: str, fix: str) -> Finding:
    name = row.name if row.location or row.definition else row.layer or row.name
    return Finding(layer=name, location=row.definition or row.location, what=what, fix=fix)


_SIMILAR: dict[LayerKind, Callable[[Sequence[Row]], Iterator[Finding]]] = {
    "global-average-pooling": _not_global,
    "residual": _no_residual,
    "fully-connected": _pointwise_on_one,
    "depthwise-separable": _grouped,
}
