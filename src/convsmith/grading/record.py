"""What the isolated process of a submission reads and writes: a request and a record, as JSON.

The process runs strangers' code, so the record is data of a stranger too: `read_record` checks its fields and
its size, and every page escapes its texts.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from convsmith.errors import FileError
from convsmith.system import reading
from convsmith.system.validation import problems_of
from convsmith.text import in_line

# In bytes: the record of a net of thousands of rows has less than one million.
MAX_RECORD = 2**24
# One line without characters that control a terminal.
Text = Annotated[str, StringConstraints(max_length=4000), AfterValidator(in_line)]
Name = Annotated[str, StringConstraints(max_length=1000), AfterValidator(in_line)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Hints(_Part):
    """What a teacher wrote about a submission, in a column of the CSV or an option.

    Attributes:
        nets: References to its nets, relative to its folder: `model.py:Net(width=8)`. Several for a brief
            with steps.
        weights: Its file of weights, relative to its folder.
    """

    nets: tuple[str, ...] = ()
    weights: str = ""


class Request(_Part):
    """What the process does with one submission.

    Attributes:
        submission: Its name in the table.
        folder: The private copy of its folder; all paths of the record are relative to it.
        brief: The fields of the brief, as `Brief.model_dump(mode="json")`.
        hints: Of the teacher.
        data: The folder of prepared images, see `images.prepare`; empty without data.
        image_shape: `(C, H, W)` of one image.
        num_classes: Of the data.
        train: Whether the net is trained anew by the rules of the brief; this needs data.
        recipe: The fields of the recipe that it is trained by; None chooses by the data.
        seed: Of the training.
        seal: A secret that a record repeats. The process keeps it from the files of the submission as well
            as one process can.
    """

    submission: str
    folder: str
    brief: dict[str, Any]
    hints: Hints = Hints()
    data: str = ""
    image_shape: tuple[int, int, int]
    num_classes: int
    train: bool = False
    recipe: dict[str, Any] | None = None
    seed: int = 0
    seal: Name = ""


class NetRecord(_Part):
    """A net in the files of a submission.

    Attributes:
        reference: `model.py:Net`, as a hint names it.
        parameters: None if it cannot be created without arguments.
        problem: Why it cannot be created, or does not fit the brief's images; empty if it does.
        reasons: What speaks for it: "its name", "the training cell uses it", "its outputs fit".
    """

    reference: Name
    parameters: Count | None = None
    problem: Text = ""
    reasons: tuple[Text, ...] = ()


class CheckRecord(_Part):
    """A verdict of the brief; `file` and `line` are those of the submission."""

    title: Name
    verdict: Literal["pass", "fail", "not applicable"]
    actual: Text
    required: Text
    fix: Text = ""
    layer: Name = ""
    file: Name = ""
    line: Count | None = None


class RowRecord(_Part):
    """A row of the summary table."""

    layer: Name
    operation: Name
    shape: Name
    parameters: Count
    receptive_field: Name


class AnalysisRecord(_Part):
    """Totals and rows of a net.

    Attributes:
        title: Its class.
        parameters: Trainable and frozen, each counted once.
        hidden: Values in tensors that `parameters()` does not return.
        buffers: Values of running statistics and other state.
        macs: For one image; None if unknown.
        receptive_field: With its unit, or why it is unknown.
        idle: Layers that are built and never called.
        remarks: What a reader must know, one line each.
    """

    title: Name
    parameters: Count
    trainable: Count
    frozen: Count = 0
    hidden: Count = 0
    buffers: Count = 0
    macs: Count | None = None
    receptive_field: Text
    idle: tuple[Text, ...] = ()
    remarks: tuple[Text, ...] = ()
    rows: tuple[RowRecord, ...] = ()


class MistakeRecord(_Part):
    """A misclassified test image: its index in the test split, its label and the net's class."""

    index: Count
    true: Count
    predicted: Count
    confidence: Share


class ScoreRecord(_Part):
    """The accuracy of weights on the test images.

    Attributes:
        weights: The file, or "trained anew".
        classes: Correct and all images of each class, in the order of the labels.
        mistakes: Those with the highest loss.
    """

    weights: Name
    correct: Count
    total: Annotated[int, Field(ge=1)]
    classes: tuple[tuple[Count, Count], ...] = ()
    mistakes: tuple[MistakeRecord, ...] = ()
    notes: tuple[Text, ...] = ()

    @property
    def accuracy(self) -> float:
        """From 0 to 1."""
        return self.correct / self.total


class EpochRecord(_Part):
    """Accuracies after an epoch, from 0 to 1; None where they are not known."""

    epoch: Count
    train: Share | None = None
    test: Share | None = None


class TrainingRecord(_Part):
    """A training anew by the brief's rules."""

    epochs: tuple[EpochRecord, ...]
    description: Text
    notes: tuple[Text, ...] = ()
    seconds: float = 0


class ClaimRecord(_Part):
    """What a submission says about itself, compared with what was measured.

    Attributes:
        quantity: "parameters", "test accuracy", "receptive field", "epochs", "batch size".
        claim: The number as it stands there.
        file: Its place: README.md, S7.ipynb.
        place: "line 12", "output of cell 7".
        measured: The number that it is compared with; empty if there is none.
        result: "equal", "differs", or "not measured".
        note: What a reader should know, such as another net of the submission that has this number.
    """

    quantity: Name
    claim: Name
    file: Name
    place: Name
    measured: Name = ""
    result: Literal["equal", "differs", "not measured"]
    note: Text = ""


class Signature(_Part):
    """What equal nets have in common.

    Attributes:
        net: The reference.
        structure: A hash of operations, settings, shapes and connections, without names.
        source: A hash of the source text of its class without names, comments and formatting; empty if the
            net has none.
        weights: A hash of the trained tensors in order, without names; empty without a file of weights.
    """

    net: Name
    structure: Name
    source: Name = ""
    weights: Name = ""


class StepRecord(_Part):
    """One net of a submission that was chosen and judged.

    Attributes:
        net: The reference.
        chosen: Why this one: "by the hint", "the only net that fits".
        problem: Why it could not be judged; empty if it was.
    """

    net: Name
    chosen: Text = ""
    problem: Text = ""
    fix: Text = ""
    checks: tuple[CheckRecord, ...] = ()
    analysis: AnalysisRecord | None = None
    score: ScoreRecord | None = None
    training: TrainingRecord | None = None
    signature: Signature | None = None
    notes: tuple[Text, ...] = ()


State = Literal["judged", "no net", "several nets", "not readable", "failed", "stopped"]


class SubmissionRecord(_Part):
    """Everything that is known about one submission.

    Attributes:
        submission: Its name in the table.
        state: "judged", or why it was not: no net was found; several fit and none is named; its files cannot
            be read; the process failed; the process was stopped at a limit.
        problem: For the row of the table, one sentence; empty if it was judged.
        fix: What the teacher can do.
        nets: All nets in its files.
        steps: The nets that were judged; one, or one for each step of the brief.
        brief_checks: Verdicts on the submission as a whole.
        claims: What its README, logs and notebook outputs say.
        curve: Accuracies by epoch that a log or a notebook shows, if it was not trained anew.
        notes: What a reader should know, one sentence each.
        outcome: How the process ended: "ok", "crash", "time", "memory", "files", "processes", "output",
            "no record", "not started".
        seconds: Of the process.
        seal: That of the request; empty in records that are kept.
    """

    submission: Annotated[str, StringConstraints(max_length=1000)]
    state: State
    problem: Text = ""
    fix: Text = ""
    nets: tuple[NetRecord, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    brief_checks: tuple[CheckRecord, ...] = ()
    claims: tuple[ClaimRecord, ...] = ()
    curve: tuple[EpochRecord, ...] = ()
    notes: tuple[Text, ...] = ()
    outcome: Name = "ok"
    seconds: float = 0
    seal: Name = ""

    @property
    def checks(self) -> tuple[CheckRecord, ...]:
        """All verdicts: of the submission as a whole, then of each net."""
        return (*self.brief_checks, *(check for step in self.steps for check in step.checks))

    @property
    def failed(self) -> tuple[CheckRecord, ...]:
        return tuple(each for each in self.checks if each.verdict == "fail")

    @property
    def passed(self) -> bool:
        """Whether it was judged and no check fails."""
        return self.state == "judged" and not self.failed and not any(step.problem for step in self.steps)


def read_record(path: Path) -> SubmissionRecord:
    """Read a record that a process wrote.

    Raises:
        FileError: It is missing, larger than 16 MiB, no JSON, or not a record.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "record.json"
        >>> record = SubmissionRecord(submission="ada", state="no net", problem="the folder is empty")
        >>> _ = path.write_text(record.model_dump_json())
        >>> read_record(path) == record
        True
    """
    content = reading.read_bytes(path, MAX_RECORD)
    try:
        return SubmissionRecord.model_validate_json(content)
    except ValidationError as error:
        first = problems_of(error, SubmissionRecord)[0]
        raise FileError(f"no record of a submission: {first.what}", where=f"{path}: {first.where}") from error
