"""The run folder: the names of its files, and how they are read, written and verified."""

import contextlib
import csv
import hashlib
import io
import json
import shlex
import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor, nn

from convsmith.briefs.metrics import EpochAccuracy, RunMetrics
from convsmith.data.fold import TEST_SET
from convsmith.errors import FileError, Problem, RunError
from convsmith.evaluation.confidence import Confidence
from convsmith.evaluation.predictions import EVALUATE_AGAIN
from convsmith.evaluation.schema import Duplicates, LabelErrors, Results, Robustness
from convsmith.recipes.loader import load as load_recipe
from convsmith.recipes.schema import Recipe
from convsmith.runs.checkpoint import Checkpoint, load_checkpoint
from convsmith.runs.schema import (
    FILES,
    METRICS,
    CodeRecord,
    DataRecord,
    Environment,
    EpochRow,
    FileEntry,
    Manifest,
    R,
    Resumption,
    Resumptions,
    StartRecord,
    WeightsRecord,
    epoch_row,
    read_record,
    row_cells,
    write_record,
)
from convsmith.system import files, folders, locks, paths, reading
from convsmith.system.tensors import independent
from convsmith.text import plural
from convsmith.training.metrics import EpochMetrics

RECIPE, LOG, WEIGHTS, STATE = "recipe.toml", "log.txt", "model.safetensors", "state.safetensors"
# The weights that a training began with, if they are those of a start.
FIRST_WEIGHTS = "start.safetensors"
# Written by a training and read by other commands; `convsmith evaluate` makes the other files from these.
_RECORDS = (Environment, DataRecord, CodeRecord, StartRecord, WeightsRecord)
ORIGINALS = (RECIPE, *(FILES[kind] for kind in _RECORDS), METRICS, LOG, FIRST_WEIGHTS, WEIGHTS, STATE)
# The entry in the metadata of the weights that names their epoch, if it was selected.
_EPOCH = "epoch"
SUMMARY, PROFILE, REPORT, PAGE = "summary.txt", "profile.txt", "README.md", "report.html"
PREDICTIONS, EXPLANATION, RECEPTIVE_FIELD = "predictions.npz", "explanation.npz", "receptive_field.npz"
ANALYSES = (FILES[Robustness], FILES[Duplicates], FILES[LabelErrors])
# Written by each evaluation.
EVALUATION = (PREDICTIONS, EXPLANATION, RECEPTIVE_FIELD, FILES[Confidence], FILES[Results])
# Every file of a run but those in its folders.
CONTENTS = (*dict.fromkeys((*ORIGINALS, *EVALUATION, *FILES.values(), SUMMARY, PROFILE, REPORT, PAGE)),)


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The files of one run.

    ====================== =====================================================================
    recipe.toml            the recipe, with every setting
    environment.json       `Environment`: the machine and the versions of packages
    data.json              `DataRecord`: fingerprint, classes, splits, mean and standard deviation
    teacher.json           `TeacherRecord`; only with a teacher
    start.json             `StartRecord`; only if the training began with other weights than initial ones
    start.safetensors      those weights, with the new layers
    source/, code.json     the code of a net that is a module, and its `CodeRecord`
    weights.json           `WeightsRecord`; only if the weights were trained elsewhere
    summary.txt            the layers of the net
    log.txt                the training log
    metrics.csv            an `EpochRow` for each epoch
    model.safetensors      the weights after the last complete epoch, or after the best one
    state.safetensors      the checkpoint
    resumed.json           `Resumptions`; only if the run was resumed
    profile.txt            the time of each step; on request
    tensorboard/           on request
    predictions.npz        `evaluation.predictions.Predictions` for the test set
    explanation.npz        `evaluation.explanation.Explanation`
    receptive_field.npz    the effective receptive field
    confidence.json        `Confidence`: the temperature, and the threshold of doubt
    results.json           `Results`
    robustness.json        `Robustness`; on request, as are the two below
    duplicates.json        `Duplicates`
    label_errors.json      `LabelErrors`
    plots/                 the pictures of the report, as SVG (PNG in version 0.1.0)
    README.md, report.html the report
    manifest.json          `Manifest`: SHA-256 and size of every other file; written last
    ====================== =====================================================================
    """

    path: Path

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunFolder":
        """Make a new folder in `parent`, with the next number after the name."""
        return cls(path=folders.new_numbered_folder(parent, name))

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open a trained run and verify its files.

        Raises:
            RunError: The folder is missing, is not a run, or has damaged files.
        """
        fix = "name a folder that `convsmith train` made and that has at least one complete epoch"
        run = cls._with(path, (RECIPE, FILES[DataRecord], WEIGHTS), fix)
        run.verify(*ORIGINALS)
        return run

    @classmethod
    def open_to_resume(cls, path: Path) -> "RunFolder":
        """Open a run that can be resumed. Its recipe may have been edited, so it is not verified.

        Raises:
            RunError: As `open`.
        """
        if paths.is_file(path / FILES[WeightsRecord]):
            raise RunError(
                "its weights were trained elsewhere, so that there is no training to resume",
                where=str(path),
                fix="train its net from the start: copy its recipe.toml and source/, and set train.epochs=30",
            )
        fix = "train again; runs of older versions of convsmith kept no state"
        run = cls._with(path, (RECIPE, FILES[DataRecord], STATE), fix)
        run.verify(*(name for name in ORIGINALS if name != RECIPE))
        return run

    @classmethod
    @contextlib.contextmanager
    def lock(cls, path: Path) -> Iterator[None]:
        """Lock the folder of a run against other processes. A folder that is not a run stays untouched.

        Raises:
            FileError: Another process holds the lock.
        """
        with locks.lock_folder(path) if paths.is_file(path / RECIPE) else contextlib.nullcontext():
            yield

    @classmethod
    def _with(cls, path: Path, required: Sequence[str], fix: str) -> "RunFolder":
        if not paths.is_folder(path):
            raise RunError("no such run folder", where=str(path), fix="`convsmith train` makes one in runs/")
        missing = [name for name in required if not paths.is_file(path / name)]
        if missing:
            what = f"this folder is not a trained run: {', '.join(missing)} missing"
            if inside := [each for each in sorted(path.iterdir()) if paths.is_file(each / RECIPE)]:
                newest = max(inside, key=lambda each: (each / RECIPE).stat().st_mtime)
                fix = f"{plural(len(inside), 'run')} in it: name one, the newest is {newest}"
            raise RunError(what, where=str(path), fix=fix)
        return cls(path=path)

    @property
    def is_finished(self) -> bool:
        """Whether the manifest, which is written last, exists."""
        return paths.is_file(self.path / FILES[Manifest])

    @property
    def state(self) -> Literal["complete", "begun", "missing"]:
        """Whether the run is complete, can be resumed, or does not exist yet."""
        if self.is_finished:
            return "complete"
        return "begun" if paths.is_file(self.path / STATE) else "missing"

    def renew(self) -> Self:
        """Make the folder, and remove what a process has left that was killed before its first checkpoint."""
        try:
            if paths.exists(self.path):
                shutil.rmtree(self.path)
        except OSError as error:
            raise files.write_error(self.path, error) from error
        files.make_folder(self.path)
        return self

    def verify(self, *names: str) -> None:
        """Compare files with the manifest, if there is one yet.

        Raises:
            RunError: Files are damaged or missing; one problem for each.
        """
        if not self.is_finished:
            return
        entries = self.read(Manifest).root
        damaged = [
            self._problem(name, difference)
            for name in names
            if (difference := self._difference(name, entries.get(name)))
        ]
        if damaged:
            raise RunError.of(damaged)

    def _problem(self, name: str, difference: str) -> Problem:
        path = self.path / name
        if name == RECIPE and paths.is_file(path):
            # Damaged or edited: nothing distinguishes the two, and an edit is more probable.
            try:
                reading.read_toml(path)
            except FileError as error:
                difference += f"; {error.problems[0].what}"
            return Problem(
                what=f"not the recipe that was trained: {difference}",
                where=str(path),
                fix=f"restore it, or train the edited recipe: `convsmith train {shlex.quote(str(path))}`",
            )
        fix = "restore the file from a copy, or train again"
        if name in EVALUATION:
            fix = EVALUATE_AGAIN
        elif name in ANALYSES:
            fix = f"remove it, or {EVALUATE_AGAIN}, with the option of this analysis"
        return Problem(what=f"damaged: {difference}", where=str(path), fix=fix)

    def _difference(self, name: str, entry: FileEntry | None) -> str:
        """How a file differs from its entry in the manifest; empty if it does not, or if neither exists."""
        path = self.path / name
        if entry is None:
            return f"not in {FILES[Manifest]}" if paths.exists(path) else ""
        if not paths.is_file(path):
            return "missing"
        if (size := path.stat().st_size) != entry.bytes and not self._differs_in_notes(entry):
            return f"found {size} bytes, expected {entry.bytes}"
        found, expected = reading.sha256(path), entry.sha256
        if found == expected or self._differs_in_notes(entry):
            return ""
        return f"found SHA-256 {found[:12]}, expected {expected[:12]}"

    def _differs_in_notes(self, entry: FileEntry) -> bool:
        """Whether an entry is that of the recipe, and the recipe differs in its notes only."""
        if entry.settings_sha256 is None:
            return False
        with contextlib.suppress(FileError):
            return entry.settings_sha256 == settings_sha256(self.path / RECIPE)
        return False

    @property
    def log(self) -> Path:
        return self.path / LOG

    @property
    def report(self) -> Path:
        return self.path / REPORT

    @property
    def plots(self) -> Path:
        return files.make_folder(self.path / "plots")

    @property
    def predictions(self) -> Path:
        return self.path / PREDICTIONS

    @property
    def explanation(self) -> Path:
        return self.path / EXPLANATION

    @property
    def receptive_field(self) -> Path:
        return self.path / RECEPTIVE_FIELD

    @property
    def page(self) -> Path:
        return self.path / PAGE

    def read(self, kind: type[R]) -> R:
        """Read the record of a kind.

        Raises:
            FileError: Its file is missing or is not JSON.
            RunError: Its file does not fit the schema.
        """
        return read_record(self.path, kind)

    def find(self, kind: type[R]) -> R | None:
        """Read the record of a kind; None if there is no such file.

        Raises:
            FileError: Its file is not JSON.
            RunError: Its file does not fit the schema.
        """
        return self.read(kind) if paths.is_file(self.path / FILES[kind]) else None

    def write(self, record: BaseModel) -> None:
        """Write a record to the file of its kind."""
        write_record(self.path, record)

    def remove(self, kind: type[BaseModel]) -> None:
        """Remove the file of a kind of record, if it exists."""
        files.remove(self.path / FILES[kind])

    def recipe(self, overrides: Sequence[str] = ()) -> Recipe:
        """Load the recipe.

        Raises:
            RecipeError: A field is invalid.
        """
        return load_recipe(str(self.path / RECIPE), overrides)

    def write_recipe(self, recipe: Recipe) -> None:
        files.write_toml(self.path / RECIPE, recipe.table())

    def write_start(
        self, *, recipe: Recipe, environment: Environment, data: DataRecord, summary: str
    ) -> None:
        """Write what is known before the first step."""
        self.write_recipe(recipe)
        self.write(environment)
        self.write(data)
        files.write_text(self.path / SUMMARY, summary + "\n")

    def reopen(self, resumption: Resumption) -> None:
        """Mark a run as unfinished and record its resumption."""
        for kind in (Manifest, Confidence, Results):
            self.remove(kind)
        files.sync_folder(self.path)
        earlier = self.find(Resumptions)
        self.write(Resumptions((*(earlier.root if earlier else ()), resumption)))

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        files.write_bytes(self.path / STATE, checkpoint.to_bytes())

    def load_checkpoint(self) -> Checkpoint:
        """Load the checkpoint. Raises RunError if it is damaged."""
        return load_checkpoint(self.path / STATE)

    def write_profile(self, table: str) -> None:
        files.write_text(self.path / PROFILE, table + "\n")

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(EpochRow.model_fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row_cells(metrics) for metrics in history)
        files.write_text(self.path / METRICS, text.getvalue())

    def run_metrics(self, accuracy: float, calibration_error: float | None) -> RunMetrics:
        """Return the metrics that a brief judges: those of the test set, and the accuracies of the epochs.

        Raises:
            RunError: metrics.csv is damaged.
        """
        rows = self.metrics() if paths.is_file(self.path / METRICS) else ()
        epochs = (
            EpochAccuracy(epoch=row.epoch, train=row.train_accuracy, test=row.test_accuracy) for row in rows
        )
        record = self.find(DataRecord)
        return RunMetrics(
            accuracy=accuracy,
            calibration_error=calibration_error,
            epochs=tuple(epochs),
            kind=(record.evaluation_set if record else TEST_SET).kind,
        )

    def metrics(self) -> tuple[EpochRow, ...]:
        """Read the rows of metrics.csv.

        Raises:
            RunError: A row does not fit the schema.
        """
        path = self.path / METRICS
        try:
            rows = list(csv.DictReader(io.StringIO(reading.read_text(path))))
        except csv.Error as error:
            raise RunError(f"damaged: {error}", where=str(path)) from error
        epochs = tuple(epoch_row(row, path) for row in rows)
        if [row.epoch for row in epochs] != list(range(1, len(epochs) + 1)):
            raise RunError("damaged: expected the epochs 1, 2, 3 and so on", where=str(path))
        return epochs

    def write_weights(self, net: nn.Module, epoch: int | None = None) -> None:
        """Write the weights that are kept; of the best epoch with its number, in the same file."""
        metadata = None if epoch is None else {_EPOCH: str(epoch)}
        content = safetensors.torch.save(independent(net.state_dict()), metadata)
        files.write_bytes(self.path / WEIGHTS, content)

    def best_epoch(self) -> int | None:
        """Return the epoch that was selected by the validation split; None if the last epoch was kept.

        Raises:
            RunError: The weights are damaged.
        """
        path = self.path / WEIGHTS
        content = reading.read_safetensors(path)
        try:
            (length,) = struct.unpack("<Q", content[:8])
            epoch = json.loads(content[8 : 8 + length]).get("__metadata__", {}).get(_EPOCH)
            return None if epoch is None else int(epoch)
        except (ValueError, AttributeError, struct.error, RecursionError) as error:
            raise RunError(f"damaged: {str(error).splitlines()[0]}", where=str(path)) from error

    def write_first_weights(self, net: nn.Module) -> None:
        """Write the weights that a training begins with."""
        content = safetensors.torch.save(independent(net.state_dict()))
        files.write_bytes(self.path / FIRST_WEIGHTS, content)

    def read_weights(self) -> dict[str, Tensor]:
        """Read the weights without building the net. Raises RunError if they are damaged."""
        path = self.path / WEIGHTS
        try:
            return safetensors.torch.load(reading.read_safetensors(path))
        except (safetensors.SafetensorError, KeyError, ValueError, struct.error) as error:
            raise RunError(
                f"the weights are damaged: {str(error).splitlines()[0]}",
                where=str(path),
                fix="restore the file from a copy, or train again",
            ) from error

    def load_weights(self, net: nn.Module) -> None:
        """Load the weights into a net. Raises RunError if they are damaged or do not fit it."""
        path = self.path / WEIGHTS
        try:
            tensors = safetensors.torch.load(reading.read_safetensors(path))
            net.load_state_dict(tensors)
        except (safetensors.SafetensorError, RuntimeError, ValueError, struct.error) as error:
            raise RunError(
                f"the weights do not fit the recipe's net: {str(error).splitlines()[0]}",
                where=str(path),
                fix="restore model.safetensors and recipe.toml as the training wrote them, or train again",
            ) from error

    def find_weight(self, name: str) -> NDArray[np.float32] | None:
        """Load one tensor of the weights, without building the net; None if there is none of this name.

        Raises:
            RunError: The weights are damaged.
        """
        path = self.path / WEIGHTS
        try:
            weights = safetensors.numpy.load(reading.read_safetensors(path))
        except (safetensors.SafetensorError, KeyError, ValueError, struct.error) as error:
            raise RunError(f"the weights do not fit the recipe's net: {error}", where=str(path)) from error
        return weights.get(name)

    def read_log(self) -> str:
        return reading.read_text(self.log)

    def write_manifest(self) -> None:
        """Write the SHA-256 and the size of every other file, which marks the run as finished."""
        entries = {
            str(path.relative_to(self.path)): self._entry(path)
            for path in sorted(self.path.rglob("*"))
            if paths.is_file(path) and path.name != FILES[Manifest] and not path.name.startswith(".")
        }
        self.write(Manifest(entries))

    def _entry(self, path: Path) -> FileEntry:
        return FileEntry.of(path, settings_sha256(path) if path == self.path / RECIPE else None)


def settings_sha256(recipe: Path) -> str:
    """Return the SHA-256 of the fields of a recipe file, without the notes.

    Raises:
        FileError: The file is not TOML.
    """
    table = reading.read_toml(recipe)
    table.pop("notes", None)
    return hashlib.sha256(json.dumps(table, sort_keys=True, default=str).encode()).hexdigest()
