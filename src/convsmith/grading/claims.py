"""What a submission says about itself, compared with what was measured."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log10, sqrt

from convsmith.grading.claim_patterns import Statement, statements_in
from convsmith.grading.curves import Curve, curves_in
from convsmith.grading.lines import Line
from convsmith.grading.record import ClaimRecord, EpochRecord
from convsmith.text import one_line, percent

_MOST_CLAIMS = 40
_LAST = 4
# Standard deviations of the difference of two accuracies, by which a training with another seed may differ.
_DEVIATIONS = 2.6


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of the nets of a submission.

    Attributes:
        parameters: Of the nets that were judged, by reference.
        repeated: The same as torchsummary counts them: a layer that is called twice counts twice.
        others: Parameters of the other nets in its files.
        fields: Receptive fields in pixels of the nets that were judged.
        scores: Accuracies of its weights on the test images, with the number of images.
        trained: Accuracies of nets that were trained anew.
    """

    parameters: Mapping[str, int] = field(default_factory=dict)
    repeated: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)
    fields: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    trained: Mapping[str, tuple[float, int]] = field(default_factory=dict)


def claims_of(
    lines: Sequence[Line], measured: Measured
) -> tuple[tuple[ClaimRecord, ...], tuple[EpochRecord, ...]]:
    """Read README, logs and the outputs of notebooks, and compare their numbers with what was measured.

    Returns:
        The claims, each once, those that differ first; and the epochs of the last training that they show.
    """
    curves = curves_in(lines)
    claims = [*_of_curves(curves, measured)]
    claims += [_compared(each, measured, curves) for each in statements_in(lines)]
    unique: dict[tuple[str, str, str], ClaimRecord] = {}
    for each in claims:
        unique.setdefault((each.quantity, each.claim, each.file), each)
    ordered = sorted(unique.values(), key=lambda each: each.result != "differs")
    return tuple(ordered[:_MOST_CLAIMS]), curves[-1].epochs if curves else ()


def _compared(statement: Statement, measured: Measured, curves: Sequence[Curve]) -> ClaimRecord:
    match statement.quantity:
        case "parameters":
            return _parameters(statement, measured)
        case "test accuracy":
            return _accuracy(statement, measured, curves)
        case "receptive field":
            return _field(statement, measured)
        case "epochs":
            return _epochs(statement, curves)
    return _claim(statement, "", "not measured")


def _claim(statement: Statement, measured: str, result: str, note: str = "") -> ClaimRecord:
    unit = " %" if statement.quantity == "test accuracy" else ""
    shown = statement.shown
    if unit and statement.value < 1 and float(shown) <= 1:
        shown = f"{statement.value:.{statement.digits or 0}%}".removesuffix("%")
    return ClaimRecord.model_validate(
        {
            "quantity": statement.quantity,
            "claim": f"{shown}{unit}",
            "file": one_line(statement.line.file)[:1000],
            "place": statement.line.place,
            "measured": measured,
            "result": result,
            "note": one_line(note)[:4000],
        }
    )


def _parameters(statement: Statement, measured: Measured) -> ClaimRecord:
    if not measured.parameters:
        return _claim(statement, "", "not measured")
    first = next(iter(measured.parameters.values()))
    for net, count in measured.parameters.items():
        if _is_count(statement, count):
            note = f"of {net}" if len(measured.parameters) > 1 else ""
            return _claim(statement, f"{count:,}", "equal", note)
    for net, count in measured.repeated.items():
        if _is_count(statement, count):
            note = "torchsummary counts a layer as often as it is called"
            return _claim(statement, f"{measured.parameters[net]:,}", "equal", note)
    for net, count in measured.others.items():
        if _is_count(statement, count):
            return _claim(statement, f"{first:,}", "differs", f"it is the number of {net}")
    shown = f"{first:,}" if len(measured.parameters) == 1 else _several(measured.parameters.values())
    return _claim(statement, shown, "differs", "no net in the files has this number")


def _several(counts: Iterable[int]) -> str:
    values = sorted(set(counts))
    return f"{values[0]:,} to {values[-1]:,}" if len(values) > 1 else f"{values[0]:,}"


def _is_count(statement: Statement, count: int) -> bool:
    if statement.digits is None:
        return statement.value == count
    # "6.3M" may be rounded or cut off.
    step = 10.0 ** (floor(log10(statement.value)) - statement.digits + 1)
    return -step / 2 <= count - statement.value < step


def _accuracy(statement: Statement, measured: Measured, curves: Sequence[Curve]) -> ClaimRecord:
    half = 0.5 * 10.0 ** -((statement.digits or 0) + 2) + 1e-9
    if measured.scores:
        values = [value for value, _ in measured.scores.values()]
        equal = any(abs(value - statement.value) <= half for value in values)
        return _claim(
            statement, percent(max(values)), "equal" if equal else "differs", _course(statement, curves)
        )
    if measured.trained:
        value, total = max(measured.trained.values())
        return _claim(
            statement,
            percent(value),
            "equal" if _within_chance(statement.value, value, total) else "differs",
            "the net was trained anew; another seed gives a slightly different accuracy",
        )
    note = _course(statement, curves)
    if curves:
        near = any(abs(value - statement.value) <= half for curve in curves for value in curve.tests)
        return _claim(
            statement, "", "not measured", note if near else "no log and no output has this accuracy"
        )
    return _claim(statement, "", "not measured", note)


def _course(statement: Statement, curves: Sequence[Curve]) -> str:
    """Return in which epoch of the submission's own log an accuracy was reached, and how it ends."""
    half = 0.5 * 10.0 ** -((statement.digits or 0) + 2) + 1e-9
    for curve in curves:
        tests = curve.tests
        epochs = [
            number for number, value in enumerate(tests, start=1) if abs(value - statement.value) <= half
        ]
        if epochs and epochs[-1] < len(tests):
            return (
                f"reached in epoch {epochs[-1]} of {len(tests)} ({curve.file}, {curve.place}); "
                f"the last {min(_LAST, len(tests))}: {_last(tests)}"
            )
    return ""


def _last(tests: Sequence[float]) -> str:
    return ", ".join(percent(each) for each in tests[-_LAST:])


def _within_chance(claim: float, value: float, total: int) -> bool:
    deviation = sqrt(2 * max(value * (1 - value), 1e-4) / total)
    return claim - value <= _DEVIATIONS * deviation + 1e-3


def _field(statement: Statement, measured: Measured) -> ClaimRecord:
    if not measured.fields:
        return _claim(statement, "", "not measured")
    for net, pixels in measured.fields.items():
        if pixels == statement.value:
            note = f"of {net}" if len(measured.fields) > 1 else ""
            return _claim(statement, str(pixels), "equal", note)
    return _claim(statement, _several(measured.fields.values()), "differs", "before global pooling")


def _epochs(statement: Statement, curves: Sequence[Curve]) -> ClaimRecord:
    counts = {len(curve.epochs): curve for curve in curves}
    if not counts:
        return _claim(statement, "", "not measured")
    if statement.value in counts:
        curve = counts[int(statement.value)]
        return _claim(statement, f"{len(curve.epochs)}", "equal", f"{curve.file}, {curve.place}")
    return _claim(statement, _several(counts), "differs", "epochs in the outputs")


def _of_curves(curves: Sequence[Curve], measured: Measured) -> Iterator[ClaimRecord]:
    """Yield the accuracy of the last epoch of each training that an output shows, and its epochs."""
    for curve in curves:
        tests = curve.tests
        last = tests[-1]
        note = (
            f"the last {min(_LAST, len(tests))} of {len(tests)} epochs: {_last(tests)}; "
            f"best {percent(max(tests))}"
        )
        shown, result = "", "not measured"
        if measured.scores:
            value, _ = max(measured.scores.values())
            shown = percent(value)
            result = "equal" if any(abs(value - each) < 5.1e-5 for each in tests) else "differs"
            if result == "equal" and abs(value - last) >= 5.1e-5:
                epoch = next(number for number, each in enumerate(tests, 1) if abs(value - each) < 5.1e-5)
                note = f"the weights are those of epoch {epoch}; {note}"
        elif measured.trained:
            value, total = max(measured.trained.values())
            shown = percent(value)
            result = "equal" if _within_chance(last, value, total) else "differs"
            note = f"the net was trained anew; {note}"
        yield ClaimRecord.model_validate(
            {
                "quantity": "test accuracy",
                "claim": percent(last),
                "file": one_line(curve.file)[:1000],
                "place": curve.place,
                "measured": shown,
                "result": result,
                "note": note,
            }
        )
