"""The folder that a run leaves behind: what is in it, under which names, and how it is written."""

import csv
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
from numpy.typing import NDArray
from torch import nn

from convsmith import files
from convsmith.errors import RunError
from convsmith.training.loop import EpochFacts

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


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The files of one run.

    recipe.toml (resolved), environment.json, data.json (fingerprint, splits, mean, deviation), summary.txt,
    log.txt, metrics.csv (a row an epoch), model.safetensors (weights after the last whole epoch),
    profile.txt (where it is asked for), predictions.npz, explanation.npz, results.json, robustness.json,
    duplicates.json, label_errors.json (where they are asked for), plots/, README.md and report.html (the
    report), manifest.json (sha256 of all of them).
    """

    path: Path

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunFolder":
        return cls(path=files.new_numbered_folder(parent, name))

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Raises RunError where the folder is missing or holds no run."""
        if not path.is_dir():
            raise RunError("no such run folder", where=str(path), fix="`convsmith train` makes one in runs/")
        missing = [
            name for name in ("recipe.toml", "data.json", "model.safetensors") if not (path / name).is_file()
        ]
        if missing:
            raise RunError(
                f"this folder is no trained run: {', '.join(missing)} missing",
                where=str(path),
                fix="name a folder that `convsmith train` made and that has at least one whole epoch",
            )
        return cls(path=path)

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

    def write_profile(self, table: str) -> None:
        files.write_text(self.path / "profile.txt", table + "\n")

    def write_metrics(self, history: Sequence[EpochFacts]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, METRICS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_row(facts) for facts in history)
        files.write_text(self.path / "metrics.csv", text.getvalue())

    def write_weights(self, net: nn.Module) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
        files.write_bytes(self.path / "model.safetensors", safetensors.torch.save(tensors))

    def load_weights(self, net: nn.Module) -> None:
        """Raises RunError where the weights are damaged or of another net."""
        path = self.path / "model.safetensors"
        try:
            tensors = safetensors.torch.load(files.read_bytes(path))
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
            tensor: NDArray[np.float32] = safetensors.numpy.load(files.read_bytes(path))[name]
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
        found = files.read_json(self.path / name)
        if not isinstance(found, dict):
            raise RunError("damaged: expected an object", where=str(self.path / name))
        return found

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv; what was not measured is absent."""
        rows = csv.DictReader(io.StringIO(files.read_text(self.path / "metrics.csv")))
        try:
            return [{key: float(value) for key, value in row.items() if value} for row in rows]
        except (ValueError, TypeError) as error:
            raise RunError(f"damaged: {error}", where=str(self.path / "metrics.csv")) from error

    def data_record(self) -> dict[str, Any]:
        record = files.read_json(self.path / "data.json")
        if not isinstance(record, dict):
            raise RunError("damaged: expected an object", where=str(self.path / "data.json"))
        return record

    def read_text(self, name: str) -> str:
        return files.read_text(self.path / name)

    def read_json(self, name: str) -> Any:
        return files.read_json(self.path / name)

    def write_json(self, name: str, value: Any) -> None:
        files.write_json(self.path / name, value)

    def write_manifest(self) -> None:
        """Last of all: the sha256 and size of every other file."""
        entries = {
            str(path.relative_to(self.path)): {"sha256": files.sha256(path), "bytes": path.stat().st_size}
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and path.name != "manifest.json" and not path.name.startswith(".")
        }
        files.write_json(self.path / "manifest.json", entries)


def _row(facts: EpochFacts) -> dict[str, object]:
    row: dict[str, object] = {"epoch": facts.epoch, "lr": f"{facts.lr:.8g}"}
    for name in ("train", "validation", "test"):
        score = getattr(facts, name)
        row[f"{name}_loss"] = f"{score.loss:.6f}" if score else ""
        row[f"{name}_accuracy"] = f"{score.accuracy:.6f}" if score else ""
    row["train_seconds"] = f"{facts.train_seconds:.3f}"
    row["evaluation_seconds"] = f"{facts.evaluation_seconds:.3f}"
    return row
