"""The schema of a run folder: the name and the type of each JSON file, and a row of metrics.csv.

The records of an evaluation are defined in `convsmith.evaluation.schema`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    RootModel,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails

from convsmith.data.config import DataConfig, FoldText
from convsmith.data.dataset import ImageDataset
from convsmith.data.fold import TEST_SET, EvaluationSet, Fold
from convsmith.data.images.input_rule import ResizePolicy
from convsmith.data.issues import DataIssue
from convsmith.errors import Problem, RunError
from convsmith.evaluation.confidence import Confidence
from convsmith.evaluation.predictions import EVALUATE_AGAIN
from convsmith.evaluation.schema import Duplicates, LabelErrors, Record, Results, Robustness
from convsmith.system import files, reading
from convsmith.system.device import machine_record
from convsmith.text import percent
from convsmith.training.metrics import EpochMetrics

# Pixels a side, and channels; far above those of any small net.
Size = Annotated[int, Strict(), Field(ge=1, le=16_384)]
# Thirty years.
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Share = Annotated[float, Field(ge=0, le=1)]
_SPLIT_OFF, _OWN_SPLIT = "by convsmith, stratified", "the source's own"
_FOLD = "a part of the training set, held out by convsmith, stratified; the test set is not used"
_OWN_VALIDATION = "the source's validation split"
_PHASES, _MAX_NOTED = "train.phases.", 3
R = TypeVar("R", bound=BaseModel)


class SplitRecord(Record):
    """A split: its images, in all and of each class, and a fingerprint of pixels and labels."""

    images: int
    per_class: tuple[NonNegativeInt, ...]
    fingerprint: str

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if sum(self.per_class) != self.images:
            raise ValueError(f"{self.images:,} images, but {sum(self.per_class):,} in all classes")
        return self


class DataRecord(Record):
    """The data set of a run.

    Attributes:
        title: Its name.
        place: The folder, hub id or package that it was read from.
        identity: Its name, with ", verified" if it is known to be the canonical data set of that name.
        fingerprint: Of all images and labels.
        image_shape: `(C, H, W)`.
        mean: Of each channel of the training images, of pixels from 0 to 1; `std` likewise.
        resize_policy: How files of other sizes become images of this size; None in runs of older versions.
        background: The colour behind transparent pixels, a level for each channel; None in runs of older
            versions, whose trainings ignored transparency.
        dropped: Damaged images that were left out.
        splits: By name.
        test_split: How the test set was made, in words.
        left_out: How many files, rows or pages of the source are not read, by reason.
        notes: What the layout and the class names of the source were taken for.
        layout: One line that names the layout of the source; empty for built-in data and in older runs.
        group: The column or pattern that groups images; None without groups.
        groups: Their number, if images were held out.
        equal_images: Images with the pixels of an earlier one that stayed in its split.
        leaked: Test images whose pixels or group the training or validation images have; None in older runs.
        validation_split: As `test_split`; None without validation images and in older runs.
        leaked_validation: Likewise, validation images whose pixels or group the training images have.
        fold: "2/5" if the second of five folds of the training set is held out, and is the split "test".
    """

    title: str
    place: str
    identity: str
    fingerprint: str
    class_names: tuple[str, ...]
    image_shape: tuple[Size, Size, Size]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize_policy: ResizePolicy | None = None
    background: tuple[int, ...] | None = None
    split_seed: int
    dropped: tuple[DataIssue, ...]
    splits: dict[str, SplitRecord]
    test_split: str
    left_out: dict[str, int] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layout: str = ""
    group: str | None = None
    groups: int | None = None
    equal_images: int = 0
    leaked: int | None = None
    validation_split: str | None = None
    leaked_validation: int | None = None
    fold: FoldText | None = None

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if any(len(split.per_class) != len(self.class_names) for split in self.splits.values()):
            raise ValueError(f"expected the counts of {len(self.class_names)} classes in each split")
        return self

    @classmethod
    def of(cls, data: ImageDataset, config: DataConfig) -> "DataRecord":
        """Describe a data set that was loaded by a recipe's `[data]` table."""
        fingerprints = data.split_fingerprints()
        return cls(
            title=data.title,
            place=data.location,
            identity=data.identity,
            fingerprint=data.fingerprint,
            class_names=data.class_names,
            image_shape=data.image_shape,
            mean=data.mean,
            std=data.std,
            resize_policy=data.rule.resize_policy,
            background=data.rule.background,
            split_seed=config.split_seed,
            dropped=data.dropped,
            splits={
                name: SplitRecord(
                    images=len(split),
                    per_class=tuple(np.bincount(split.labels, minlength=len(data.class_names)).tolist()),
                    fingerprint=fingerprints[name],
                )
                for name, split in data.splits.items()
            },
            test_split=_test_split(data),
            left_out=dict(data.layout.left_out),
            notes=data.layout.notes,
            layout=data.layout.description,
            group=config.group,
            groups=data.grouping.groups if data.grouping else None,
            equal_images=data.grouping.equal_images if data.grouping else 0,
            leaked=data.leaked,
            validation_split=_validation_split(data),
            leaked_validation=data.leaked_validation if data.validation else None,
            fold=config.fold,
        )

    @property
    def verified_title(self) -> str:
        """The name of the canonical data set if the images are known to be those, else the title."""
        return self.identity.removesuffix(", verified")

    @property
    def test_is_split_off(self) -> bool:
        """Whether convsmith split the test set off the images, which had none of their own."""
        return self.test_split == _SPLIT_OFF or self.fold is not None

    @property
    def evaluation_set(self) -> EvaluationSet:
        """The names of the images of the split "test"."""
        return TEST_SET if self.fold is None else Fold.parse(self.fold).evaluation_set


def _test_split(data: ImageDataset) -> str:
    if data.fold is not None:
        return _FOLD
    if data.test_is_split_off:
        return _SPLIT_OFF
    return _OWN_VALIDATION if data.layout.test_is_validation else _OWN_SPLIT


def _validation_split(data: ImageDataset) -> str | None:
    if data.validation is None:
        return None
    return _SPLIT_OFF if data.validation_is_split_off else _OWN_SPLIT


class Environment(Record):
    """The machine and the versions of the packages that a run was trained with.

    Attributes:
        instructions: From `cpu_instructions`; empty in runs of older versions.
    """

    python: str
    system: str
    processor: str
    instructions: str = ""
    cores: int | None
    torch_threads: int
    device: str
    packages: dict[str, str]

    @classmethod
    def current(cls) -> "Environment":
        """Describe this machine."""
        return cls.model_validate(machine_record())


class TeacherRecord(Record):
    """The teacher of a run that was trained by distillation.

    Attributes:
        place: The name or the folder that it was loaded from.
        net: In the notation.
        test_accuracy: On its own test set, from 0 to 1.
        sha256: Of its weights and of everything else that determines its outputs.
        sentence: A description for the log and the report.
        notes: What limits the meaning of the student's accuracy.
    """

    place: str
    net: str
    parameters: int
    test_accuracy: float
    sha256: str
    sentence: str = Field(alias="told")
    notes: tuple[str, ...]

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class SeenData(Record):
    """A data set that weights were trained on.

    Attributes:
        fingerprint: Of all of its images and labels.
        splits: The fingerprint of each split, by name; empty if they are not known.
        settings: The settings that each held-out split was made by, by name, as text.
        is_known: Whether the weights were trained on it for certain, and on nothing else.
    """

    title: str
    fingerprint: str
    splits: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, str] = Field(default_factory=dict)
    is_known: bool = True


class StartRecord(Record):
    """The weights that a training began with.

    Attributes:
        place: The name in the zoo, the folder or the file that they were loaded from.
        title: The same in words, without the folders that it is in.
        net: In the notation, or the module; empty if it is not known.
        test_accuracy: On its own test set, from 0 to 1; None if it is not known.
        sha256: Of the file of weights.
        seen: The data sets that they, and the weights that they began with, were trained on.
        counts: Layers and values that were taken, are new and were left.
        table: The same by part, as Markdown.
        notes: What was adapted and is assumed, and what limits the meaning of the accuracy.
    """

    place: str
    title: str
    net: str
    test_accuracy: float | None
    sha256: str
    seen: tuple[SeenData, ...]
    counts: str
    table: str
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The start in words, for log, report and model card; no full stop."""
        accuracy = "" if self.test_accuracy is None else f", {percent(self.test_accuracy)} on its test set"
        return (
            f"the training began with the weights of {self.title} (SHA-256 {self.sha256[:12]}{accuracy}): "
            f"{self.counts}"
        )


class WeightsRecord(Record):
    """Weights that were trained elsewhere, and came from a file.

    Attributes:
        file: Its name, without its folder.
        entry: Where they were in a checkpoint, as `checkpoint['ema']`; empty for a plain state_dict.
        sha256: Of the file.
        notes: What was converted, and what is assumed about the images and the classes; a sentence each.
    """

    file: str
    entry: str
    sha256: str
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Where the weights come from, for a headline.

        >>> WeightsRecord(file="net.pth", entry="checkpoint['ema']", sha256="0" * 64, notes=()).title
        "weights from net.pth (checkpoint['ema']), trained elsewhere"
        """
        entry = f" ({self.entry})" if self.entry else ""
        return f"weights from {self.file}{entry}, trained elsewhere"


class Change(Record):
    """A condition of the training that differs from the one in the checkpoint; "nothing" if it is absent."""

    field: str
    before: str
    now: str

    def line(self) -> str:
        """Format the change as one line.

        >>> Change(field="train.epochs", before="30", now="60").line()
        'train.epochs: was 30, is 60'
        """
        return f"{self.field}: was {self.before}, is {self.now}"


class Resumption(Record):
    """When a run was resumed, how far it was, and what had changed."""

    time: str
    epochs_done: int
    batches_done: int
    changes: tuple[Change, ...]

    @property
    def unrecorded(self) -> tuple[Change, ...]:
        """The changes that the recipe does not record, so that training it again does not make them.

        Another number of epochs is recorded by a phase; runs of version 0.1.0 have none.
        """
        phase = any(change.field.startswith(_PHASES) for change in self.changes)
        started = bool(self.epochs_done or self.batches_done)
        recorded = {"train.stop_after", *(("train.epochs",) if phase or not started else ())}
        return tuple(
            each for each in self.changes if each.field not in recorded and not each.field.startswith(_PHASES)
        )

    def note(self) -> str:
        """Describe the unrecorded changes in a sentence."""
        lines = [each.line() for each in self.unrecorded]
        more = f"; and {len(lines) - _MAX_NOTED} more" if len(lines) > _MAX_NOTED else ""
        batches = f" and {self.batches_done} batches" if self.batches_done else ""
        return (
            f"the recipe does not reproduce these weights: after epoch {self.epochs_done}{batches}, "
            f"{'; '.join(lines[:_MAX_NOTED])}{more}"
        )


class Resumptions(RootModel[tuple[Resumption, ...]]):
    """All resumptions of a run, the first one first."""


def unrecorded_changes(resumptions: Resumptions | None) -> tuple[str, ...]:
    """Return a sentence for each resumption with changes that the recipe does not record.

    Example:
        >>> lr = Change(field="train.optimizer.lr", before="0.1", now="0.2")
        >>> resumed = Resumption(time="", epochs_done=10, batches_done=0, changes=(lr,))
        >>> unrecorded_changes(Resumptions((resumed,)))
        ('the recipe does not reproduce these weights: after epoch 10, train.optimizer.lr: was 0.1, is 0.2',)
    """
    return tuple(each.note() for each in (resumptions.root if resumptions else ()) if each.unrecorded)


class FileEntry(Record):
    """The SHA-256 and the size of a file in bytes.

    Attributes:
        settings_sha256: Of recipe.toml: the SHA-256 of its fields without the notes, which may be edited.
    """

    sha256: str
    bytes: int
    settings_sha256: str | None = None

    @classmethod
    def of(cls, path: Path, settings_sha256: str | None = None) -> "FileEntry":
        """Describe a file."""
        return cls(sha256=reading.sha256(path), bytes=path.stat().st_size, settings_sha256=settings_sha256)

    @model_serializer(mode="wrap")
    def _short(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class CodeRecord(Record):
    """The code of a net that is a module, in `source/` of the run folder.

    Attributes:
        module: The class with its arguments, as `model.module` of the recipe.
        files: By their path in `source/`.
        is_instance: Whether the user passed an instance, whose arguments are not known.
    """

    module: str
    files: dict[str, FileEntry]
    is_instance: bool = False


class Manifest(RootModel[dict[str, FileEntry]]):
    """Every other file of a finished run, by its path in the folder."""


class EpochRow(Record):
    """A row of metrics.csv; a split that was not measured has None.

    Losses are in nats and may be NaN. `lr` is the learning rate at the beginning of the epoch. `clipped` is
    the share of the steps whose gradient was clipped.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    epoch: int
    lr: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    train_loss: float | None = None
    train_accuracy: Share | None = None
    validation_loss: float | None = None
    validation_accuracy: Share | None = None
    validation_balanced_accuracy: Share | None = None
    test_loss: float | None = None
    test_accuracy: Share | None = None
    test_balanced_accuracy: Share | None = None
    clipped: Share | None = None
    train_seconds: Seconds = 0.0
    evaluation_seconds: Seconds = 0.0

    @property
    def seconds(self) -> float:
        """The duration of the epoch, training and evaluation.

        >>> EpochRow(epoch=1, train_seconds=5.0, evaluation_seconds=0.5).seconds
        5.5
        """
        return self.train_seconds + self.evaluation_seconds

    def metric(self, split: str, kind: str) -> float | None:
        """Return the loss or the accuracy of a split.

        >>> EpochRow(epoch=1, test_loss=2.3).metric("test", "loss")
        2.3
        """
        value: float | None = getattr(self, f"{split}_{kind}")
        return value


# The JSON files of a run folder.
FILES: Mapping[type[BaseModel], str] = {
    DataRecord: "data.json",
    Environment: "environment.json",
    TeacherRecord: "teacher.json",
    StartRecord: "start.json",
    CodeRecord: "code.json",
    WeightsRecord: "weights.json",
    Resumptions: "resumed.json",
    Confidence: "confidence.json",
    Results: "results.json",
    Robustness: "robustness.json",
    Duplicates: "duplicates.json",
    LabelErrors: "label_errors.json",
    Manifest: "manifest.json",
}
_RESTORE = "restore the file from a copy, or train again"
_MADE_BY_EVALUATE: set[type[BaseModel]] = {Confidence, Results, Robustness, Duplicates, LabelErrors}
METRICS = "metrics.csv"


def read_record(folder: Path, kind: type[R]) -> R:
    """Read a JSON file of a run folder and validate it.

    Raises:
        FileError: The file is missing or is not JSON.
        RunError: The file does not fit its schema; one problem for each field.
    """
    path = folder / FILES[kind]
    fix = EVALUATE_AGAIN if kind in _MADE_BY_EVALUATE else _RESTORE
    return validated(kind, reading.read_json(path), path, fix)


def write_record(folder: Path, record: BaseModel) -> None:
    """Write a record to its JSON file.

    Raises:
        FileError: The folder cannot be written to.
    """
    files.write_json(folder / FILES[type(record)], record.model_dump(mode="json", by_alias=True))


def epoch_row(cells: Mapping[str, str | None], path: Path) -> EpochRow:
    """Validate a row of metrics.csv; empty cells were not measured.

    Raises:
        RunError: The row does not fit its schema; one problem for each column.
    """
    return validated(EpochRow, {name: cell for name, cell in cells.items() if cell}, path)


def row_cells(metrics: EpochMetrics) -> dict[str, object]:
    """Return the cells of an epoch in metrics.csv, by the fields of `EpochRow`."""
    row: dict[str, object] = {"epoch": metrics.epoch, "lr": f"{metrics.lr:.8g}"}
    for name in ("train", "validation", "test"):
        split = getattr(metrics, name)
        row[f"{name}_loss"] = f"{split.loss:.6f}" if split else ""
        row[f"{name}_accuracy"] = f"{split.accuracy:.6f}" if split else ""
        if name != "train":
            balanced = split.balanced_accuracy if split else None
            row[f"{name}_balanced_accuracy"] = "" if balanced is None else f"{balanced:.6f}"
    row["clipped"] = "" if metrics.clipped is None else f"{metrics.clipped:.6f}"
    row["train_seconds"] = f"{metrics.train_seconds:.3f}"
    row["evaluation_seconds"] = f"{metrics.evaluation_seconds:.3f}"
    return row


def validated(kind: type[R], value: Any, path: Path, fix: str = _RESTORE) -> R:
    """Return the content of a file as a record.

    Raises:
        RunError: It does not fit its schema; one problem for each field, with this fix.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise RunError.of(_problem(details, path, fix) for details in error.errors()) from error


def _problem(details: ErrorDetails, path: Path, fix: str) -> Problem:
    field = ".".join(map(str, details["loc"]))
    if details["type"] == "missing":
        return Problem(what=f"damaged: {field} is missing", where=str(path), fix=fix)
    value = repr(details["input"])
    value = value if len(value) <= 60 else f"{value[:57]}..."
    expected = details["msg"].removeprefix("Input should be ")
    what = f"damaged: {field + ': ' if field else ''}found {value}, expected {expected}"
    return Problem(what=what, where=str(path), fix=fix)
