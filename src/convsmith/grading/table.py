"""The table of a class: one row for each submission, for the terminal and as CSV."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convsmith.briefs.hand_in import BEFORE_LAST
from convsmith.grading.duplicates import Sharing
from convsmith.grading.record import CheckRecord, ClaimRecord, SubmissionRecord
from convsmith.text import csv_row, percent, plural

# The columns of the CSV file.
COLUMNS = (
    "submission",
    "result",
    "failed checks",
    "why",
    "fix",
    "nets",
    "parameters",
    "receptive field",
    "accuracy",
    "correct",
    "images",
    "weights",
    "accuracies of the last epochs",
    "claims that differ",
    "same as",
    "notes",
    "outcome",
    "seconds",
)
_LAST = 5


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """The row of a submission.

    Attributes:
        result: As `result_of`.
        details: The failed checks with their values, why it was not judged, and what was not checked.
        nets: The nets that were judged.
        parameters: Of each of them; unknown ones are left out.
        receptive_fields: As `parameters`.
        accuracy: From 0 to 1, of the last net; None without weights or a training.
        claims: The number of claims that differ from what was measured.
        same_as: What is shared with others, each one phrase.
    """

    record: SubmissionRecord
    result: str
    details: tuple[str, ...]
    nets: tuple[str, ...]
    parameters: tuple[int, ...]
    receptive_fields: tuple[str, ...]
    accuracy: float | None
    claims: int
    same_as: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.record.submission

    def cells(self) -> tuple[str, ...]:
        """Return the cells for a terminal, in the order of `HEADER`."""
        return (
            self.name,
            self.result,
            "; ".join(self.details),
            ", ".join(f"{count:,}" for count in self.parameters),
            "" if self.accuracy is None else percent(self.accuracy),
            f"{self.claims}" if self.claims else "",
            "; ".join(self.same_as),
            f"{self.record.seconds:.0f} s",
        )


HEADER = ("submission", "result", "why", "parameters", "accuracy", "claims that differ", "same as", "time")


def rows_of(records: Sequence[SubmissionRecord], sharings: Sequence[Sharing] = ()) -> tuple[TableRow, ...]:
    """Return the rows of a class, in its order.

    Example:
        >>> record = SubmissionRecord(submission="ada", state="no net", problem="the folder is empty")
        >>> rows_of([record])[0].cells()[:3]
        ('ada', 'not judged', 'the folder is empty')
    """
    return tuple(_row(record, sharings) for record in records)


def _row(record: SubmissionRecord, sharings: Sequence[Sharing]) -> TableRow:
    analyses = [step.analysis for step in record.steps if step.analysis]
    scores = [step.score for step in record.steps if step.score]
    return TableRow(
        record=record,
        result=result_of(record),
        details=_details(record),
        nets=tuple(step.net for step in record.steps),
        parameters=tuple(each.parameters for each in analyses),
        receptive_fields=tuple(each.receptive_field for each in analyses),
        accuracy=scores[-1].accuracy if scores else None,
        claims=sum(each.result == "differs" for each in record.claims),
        same_as=tuple(each.text(record.submission) for each in sharings if record.submission in each.names),
    )


def result_of(record: SubmissionRecord) -> str:
    """Return the result of a submission in one word or two.

    "pass" if all checks pass, "open" if none fails and some could not be made, such as the accuracy of a net
    without weights, "fail" if one fails, "not judged" if there was nothing to check.
    """
    if record.passed:
        return "open" if any(map(_is_open, record.checks)) else "pass"
    return "fail" if record.state == "judged" else "not judged"


def _is_open(check: CheckRecord) -> bool:
    """Whether a check could not be made; a step before the last need not pass it."""
    return check.verdict == "not applicable" and not check.actual.endswith(BEFORE_LAST)


def _details(record: SubmissionRecord) -> tuple[str, ...]:
    problems = [record.problem] if record.problem else []
    problems += [step.problem for step in record.steps if step.problem]
    several = len(record.steps) > 1
    checks = list(_failures(record.brief_checks))
    for step in record.steps:
        prefix = f"{step.net}: " if several else ""
        checks += [f"{prefix}{each}" for each in _failures(step.checks)]
    open_ = list(dict.fromkeys(each.title for each in record.checks if _is_open(each)))
    unknown = [f"not checked: {', '.join(open_)}"] if open_ else []
    return (*problems, *checks, *unknown)


def _failures(checks: Sequence[CheckRecord]) -> Iterator[str]:
    for each in checks:
        if each.verdict == "fail":
            yield f"{each.title}: {each.actual} (required: {each.required})"


def summary_line(rows: Sequence[TableRow]) -> str:
    """Return the counts of a class as one line.

    >>> summary_line(rows_of([SubmissionRecord(submission="ada", state="judged")]))
    '1 submission: 1 passes, 0 fail, 0 open, 0 not judged'
    """
    counts = Counter(row.result for row in rows)
    verbs = [f"{counts['pass']} {'passes' if counts['pass'] == 1 else 'pass'}"]
    verbs += [f"{counts['fail']} {'fails' if counts['fail'] == 1 else 'fail'}"]
    verbs += [f"{counts['open']} open", f"{counts['not judged']} not judged"]
    return f"{plural(len(rows), 'submission')}: {', '.join(verbs)}"


def csv_text(rows: Sequence[TableRow]) -> str:
    """Return the table as CSV; no cell is a formula for a spreadsheet."""
    return "".join([csv_row(COLUMNS), *(csv_row(_csv_cells(row)) for row in rows)])


def _csv_cells(row: TableRow) -> list[object]:
    record = row.record
    score = next((step.score for step in reversed(record.steps) if step.score), None)
    training = next((step.training for step in reversed(record.steps) if step.training), None)
    epochs = training.epochs if training else record.curve
    last = [percent(each.test) for each in epochs[-_LAST:] if each.test is not None]
    failed = [each.title for each in record.failed]
    notes = [*record.notes, *(note for step in record.steps for note in step.notes)]
    return [
        row.name,
        row.result,
        "; ".join(failed),
        "; ".join(row.details),
        record.fix or "; ".join(step.fix for step in record.steps if step.fix),
        "; ".join(row.nets),
        "; ".join(map(str, row.parameters)),
        "; ".join(row.receptive_fields),
        "" if score is None else round(score.accuracy, 6),
        "" if score is None else score.correct,
        "" if score is None else score.total,
        "" if score is None else score.weights,
        "; ".join(last),
        "; ".join(_claim_text(each) for each in record.claims if each.result == "differs"),
        "; ".join(row.same_as),
        "; ".join(notes),
        record.outcome,
        record.seconds,
    ]


def _claim_text(claim: ClaimRecord) -> str:
    return f"{claim.quantity} {claim.claim}, measured {claim.measured} ({claim.file}, {claim.place})"
