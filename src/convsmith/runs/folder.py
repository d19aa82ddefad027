"""The folder that a run leaves behind: what is in it, under which names, and how it is written."""

import contextlib
import csv
import io
import shlex
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
from numpy.typing import NDArray
from torch import nn

from convsmith.errors import Problem, RunError
from convsmith.runs.checkpoint import TrainingState, load_state
from convsmith.system import files, folders, locks, reading
from convsmith.training.trainer import EpochMetrics

METRICS = (
    "epoch",
    "lr",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
    "train_seconds",
    "evaluation_seconds",
)

WEIGHTS, STATE = "model.safetensors", "state.safetensors"
# Pixels a side, and channels; far above any small net's.
_LARGEST_SIDE = 16_384
# In seconds: thirty years.
_LONGEST_EPOCH = 1e9
# What a training writes and others read. The rest is made anew from it by `convsmith evaluate`.
ORIGINALS = ("recipe.toml", "environment.json", "data.json", "metrics.csv", "log.txt", WEIGHTS, STATE)


def epoch_seconds(row: Mapping[str, float]) -> float:
    """What an epoch took, by its row of metrics.csv: training and evaluation, what is missing left out.

    >>> epoch_seconds({"epoch": 1, "train_seconds": 5.0, "evaluation_seconds": 0.5})
    5.5
    """
    return row.get("train_seconds", 0.0) + row.get("evaluation_seconds", 0.0)


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The files of one run.

    recipe.toml (resolved), environment.json, data.json (fingerprint, splits, mean, deviation), summary.txt,
    log.txt, metrics.csv (a row an epoch), model.safetensors (weights after the last whole epoch),
    state.safetensors (all that the training goes on from), resumed.json (when it was resumed, and what had
    changed), profile.txt and tensorboard/ (where they are asked for), predictions.npz, explanation.npz,
    receptive_field.npz, results.json, robustness.json, duplicates.json, label_errors.json (where they are
    asked for), teacher.json (who taught, where somebody did), plots/, README.md and
    report.html (the report), manifest.json (sha256 of all of them).
    """

    path: Path

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunFolder":
        return cls(path=folders.new_numbered_folder(parent, name))

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """A trained run, whose files are as they were written.

        Raises:
            RunError: The folder is missing, holds no run, or has damaged files.
        """
        fix = "name a folder that `convsmith train` made and that has at least one whole epoch"
        run = cls._with(path, ("recipe.toml", "data.json", WEIGHTS), fix)
        run.verify(*ORIGINALS)
        return run

    @classmethod
    def open_to_resume(cls, path: Path) -> "RunFolder":
        """A run that can go on. Its recipe may have been edited: whoever resumes it looks at that.

        Raises:
            RunError: As `open`.
        """
        fix = "train again; runs of older versions of convsmith kept no state"
        run = cls._with(path, ("recipe.toml", "data.json", STATE), fix)
        run.verify(*(name for name in ORIGINALS if name != "recipe.toml"))
        return run

    @classmethod
    @contextlib.contextmanager
    def held(cls, path: Path) -> Iterator[None]:
        """Be the only process that writes in a run's folder. A folder that is no run is not touched.

        Raises:
            FileError: Another process holds it.
        """
        with locks.lock_folder(path) if (path / "recipe.toml").is_file() else contextlib.nullcontext():
            yield

    @classmethod
    def _with(cls, path: Path, needed: Sequence[str], fix: str) -> "RunFolder":
        if not path.is_dir():
            raise RunError("no such run folder", where=str(path), fix="`convsmith train` makes one in runs/")
        missing = [name for name in needed if not (path / name).is_file()]
        if missing:
            what = f"this folder is no trained run: {', '.join(missing)} missing"
            raise RunError(what, where=str(path), fix=fix)
        return cls(path=path)

    @property
    def is_finished(self) -> bool:
        """Whether the manifest, which is written last, is there."""
        return (self.path / "manifest.json").is_file()

    def verify(self, *names: str) -> None:
        """Compare files with the manifest; before a run is finished there is none.

        Raises:
            RunError: Naming every file that is damaged or missing.
        """
        if not self.is_finished:
            return
        manifest = self.read_json("manifest.json")
        if not isinstance(manifest, dict) or not all(isinstance(each, dict) for each in manifest.values()):
            raise RunError("damaged: expected an object of objects", where=str(self.path / "manifest.json"))
        damaged = [
            self._problem(name, found)
            for name in names
            if name in manifest and (found := self._difference(name, manifest[name]))
        ]
        if damaged:
            raise RunError.of(damaged)

    def _problem(self, name: str, found: str) -> Problem:
        path = self.path / name
        if name == "recipe.toml" and path.is_file():
            # Damaged or edited: nothing tells which, and the second is likelier.
            return Problem(
                what=f"not the recipe that was trained: {found}",
                where=str(path),
                fix=f"set it back; to train what it says now: `convsmith train {shlex.quote(str(path))}`",
            )
        return Problem(
            what=f"damaged: {found}", where=str(path), fix="restore the file from a copy, or train again"
        )

    def _difference(self, name: str, entry: dict[str, Any]) -> str:
        """How a file differs from its entry in the manifest; empty where it does not."""
        path = self.path / name
        if not path.is_file():
            return "missing"
        if (size := path.stat().st_size) != entry.get("bytes"):
            return f"found {size} bytes, expected {entry.get('bytes')}"
        found, expected = reading.sha256(path), str(entry.get("sha256"))
        return "" if found == expected else f"found SHA-256 {found[:12]}, expected {expected[:12]}"

    @property
    def report(self) -> Path:
        return self.path / "README.md"

    @property
    def plots(self) -> Path:
        folder = self.path / "plots"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.npz"

    @property
    def explanation(self) -> Path:
        return self.path / "explanation.npz"

    @property
    def field(self) -> Path:
        return self.path / "receptive_field.npz"

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    def write_start(
        self, *, recipe: dict[str, Any], environment: dict[str, Any], data: dict[str, Any], summary: str
    ) -> None:
        """All that is known before the first step."""
        files.write_toml(self.path / "recipe.toml", recipe)
        files.write_json(self.path / "environment.json", environment)
        files.write_json(self.path / "data.json", data)
        files.write_text(self.path / "summary.txt", summary + "\n")

    def reopen(self, note: dict[str, Any]) -> None:
        """Before a run goes on: it is no longer finished, and what has changed is written down."""
        for name in ("manifest.json", "results.json"):
            (self.path / name).unlink(missing_ok=True)
        files.sync_folder(self.path)
        path = self.path / "resumed.json"
        notes = self.read_json(path.name) if path.is_file() else []
        if not isinstance(notes, list):
            raise RunError("damaged: expected a list", where=str(path))
        files.write_json(path, [*notes, note])

    def write_state(self, state: TrainingState) -> None:
        files.write_bytes(self.path / STATE, state.to_bytes())

    def load_state(self) -> TrainingState:
        """Raises RunError where it is damaged."""
        return load_state(self.path / STATE)

    def write_profile(self, table: str) -> None:
        files.write_text(self.path / "profile.txt", table + "\n")

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, METRICS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_row(facts) for facts in history)
        files.write_text(self.path / "metrics.csv", text.getvalue())

    def write_weights(self, net: nn.Module) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
        files.write_bytes(self.path / WEIGHTS, safetensors.torch.save(tensors))

    def load_weights(self, net: nn.Module) -> None:
        """Raises RunError where the weights are damaged or of another net."""
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

    def weight(self, name: str) -> NDArray[np.float32]:
        """One tensor of the weights, without the net.

        Raises:
            RunError: The weights are damaged or of another net.
        """
        path = self.path / "model.safetensors"
        try:
            tensor: NDArray[np.float32] = safetensors.numpy.load(reading.read_safetensors(path))[name]
        except (safetensors.SafetensorError, KeyError, ValueError, struct.error) as error:
            raise RunError(f"the weights do not fit the recipe's net: {error}", where=str(path)) from error
        return tensor

    def record(self, name: str) -> dict[str, Any] | None:
        """An analysis that was asked for, from a JSON file; None where it was not.

        Raises:
            RunError: The file holds something else.
        """
        if not (self.path / name).is_file():
            return None
        found = reading.read_json(self.path / name)
        if not isinstance(found, dict):
            raise RunError("damaged: expected an object", where=str(self.path / name))
        return found

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv; what was not measured is absent."""
        rows = csv.DictReader(io.StringIO(reading.read_text(self.path / "metrics.csv")))
        try:
            found = [{key: float(value) for key, value in row.items() if value} for row in rows]
        except (ValueError, TypeError, csv.Error) as error:
            raise RunError(f"damaged: {error}", where=str(self.path / "metrics.csv")) from error
        if any("epoch" not in row for row in found):
            raise RunError("damaged: a row has no epoch", where=str(self.path / "metrics.csv"))
        # A loss may be NaN, which is the truth about it; a time is never.
        if not all(0 <= epoch_seconds(row) <= _LONGEST_EPOCH for row in found):
            raise RunError("damaged: a time that cannot be", where=str(self.path / "metrics.csv"))
        return found

    def data_record(self) -> dict[str, Any]:
        record = reading.read_json(self.path / "data.json")
        if not isinstance(record, dict):
            raise RunError("damaged: expected an object", where=str(self.path / "data.json"))
        return record

    def image_shape(self) -> tuple[int, int, int]:
        """`(C, H, W)` of the images that it was trained on. Raises RunError where data.json does not say."""
        match self.data_record().get("image_shape"):
            case [int(channels), int(height), int(width)] if (
                min(channels, height, width) >= 1 and max(channels, height, width) <= _LARGEST_SIDE
            ):
                return channels, height, width
        raise RunError("damaged: no image_shape", where=str(self.path / "data.json"), fix="train again")

    def read_text(self, name: str) -> str:
        return reading.read_text(self.path / name)

    def read_json(self, name: str) -> Any:
        return reading.read_json(self.path / name)

    def write_record(self, name: str, value: dict[str, Any] | None) -> None:
        """Write a record, or take away what an earlier part of the run left where there is none now."""
        if value is None:
            (self.path / name).unlink(missing_ok=True)
        else:
            files.write_json(self.path / name, value)

    def write_json(self, name: str, value: Any) -> None:
        files.write_json(self.path / name, value)

    def write_manifest(self) -> None:
        """Last of all: the sha256 and size of every other file."""
        entries = {
            str(path.relative_to(self.path)): {"sha256": reading.sha256(path), "bytes": path.stat().st_size}
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and path.name != "manifest.json" and not path.name.startswith(".")
        }
        files.write_json(self.path / "manifest.json", entries)


def _row(facts: EpochMetrics) -> dict[str, object]:
    row: dict[str, object] = {"epoch": facts.epoch, "lr": f"{facts.lr:.8g}"}
    for name in ("train", "validation", "test"):
        score = getattr(facts, name)
        row[f"{name}_loss"] = f"{score.loss:.6f}" if score else ""
        row[f"{name}_accuracy"] = f"{score.accuracy:.6f}" if score else ""
    row["train_seconds"] = f"{facts.train_seconds:.3f}"
    row["evaluation_seconds"] = f"{facts.evaluation_seconds:.3f}"
    return row
