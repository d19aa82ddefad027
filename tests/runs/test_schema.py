"""Every record of a run folder: what was written is read again, and what does not fit is refused."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from convsmith.errors import FileError, RunError
from convsmith.evaluation.confidence import Confidence
from convsmith.evaluation.schema import Duplicates, LabelErrors, Results, Robustness
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import (
    FILES,
    CodeRecord,
    DataRecord,
    Environment,
    Manifest,
    Resumptions,
    StartRecord,
    TeacherRecord,
    WeightsRecord,
)
from convsmith.system import files, reading

RUN = Path(__file__).parents[1] / "fixtures" / "run-0.1.0"
ACCURACY = {"accuracy": 0.5, "accuracy_95": [0.4, 0.6], "loss": 1.25}
# Records that the run of the fixtures lacks.
OTHERS: dict[type[BaseModel], Any] = {
    Confidence: {
        "temperature": 1.25,
        "unsure_below": 0.5,
        "fitted_on": "validation",
        "images": 10,
        "accuracy_if_sure": 0.75,
    },
    TeacherRecord: {
        "place": "digits",
        "net": "C4 / G F10",
        "parameters": 90,
        "test_accuracy": 0.9,
        "sha256": "0" * 64,
        "told": "taught by digits",
        "notes": ["a note"],
    },
    StartRecord: {
        "place": "digits",
        "title": "digits of the zoo",
        "net": "C4 / G F10",
        "test_accuracy": 0.9,
        "sha256": "0" * 64,
        "seen": [
            {
                "title": "digits",
                "fingerprint": "0" * 64,
                "splits": {"train": "1" * 64},
                "settings": {"test": "0.2"},
                "is_known": True,
            }
        ],
        "counts": "all 90 values",
        "table": "| part | values |",
        "notes": ["a note"],
    },
    CodeRecord: {
        "module": "source/model.py:Net(width=8)",
        "files": {"model.py": {"sha256": "0" * 64, "bytes": 10}},
        "is_instance": False,
    },
    WeightsRecord: {
        "file": "net.pth",
        "entry": "checkpoint['ema']",
        "sha256": "0" * 64,
        "notes": ["the prefix 'module.' of the names is removed"],
    },
    Resumptions: [
        {
            "time": "2026-01-01T00:00:00+0000",
            "epochs_done": 2,
            "batches_done": 0,
            "changes": [{"field": "train.epochs", "before": "2", "now": "4"}],
        }
    ],
    Robustness: {
        "images": 10,
        "clean": ACCURACY,
        "corruptions": {"contrast": [ACCURACY] * 5},
        "mean_accuracy": 0.5,
    },
    Duplicates: {
        "largest_difference": 10.0,
        "count": 1,
        "other_label": 0,
        "pairs": [{"test": 1, "train": 2, "difference": 0.5, "same_label": True}],
    },
    LabelErrors: {
        "method": "confident learning on the test predictions",
        "version": "2.7.1",
        "count": 1,
        "images": [{"index": 3, "label": "cat", "predicted": "dog", "confidence": 0.75}],
    },
}
# Fields that runs of some versions lack.
OPTIONAL = {
    "is_instance", "accuracy_if_sure", "test.calibration", "test.risk_coverage",
    "test.calibration.temperature_fitted_on", "test.calibration.prior", "test.balanced_accuracy",
    "train.balanced_accuracy", "imbalanced", "seen.0.splits", "seen.0.settings", "seen.0.is_known",
    *(f"classes.0.{name}" for name in ("accuracy", "precision", "recall", "f1")),
}  # fmt: skip


# Fields that version 0.1.0 does not write, as they are read from its files.
ADDED: dict[type[BaseModel], dict[str, Any]] = {
    DataRecord: {"resize_policy": None, "background": None},
    Environment: {"instructions": ""},
    Results: {
        "prediction_check": None,
        "imbalanced": False,
        "train": {"balanced_accuracy": None},
        "test": {"balanced_accuracy": None, "balanced_accuracy_95": None, "calibration": {"prior": ""}},
    },
}


# What runs of version 0.1.0 did not record: what was not read, and what was kept together.
NEWER: dict[str, Any] = {
    "left_out": {"hidden": 2},
    "notes": ["a note"],
    "group": "patient",
    "groups": 3,
    "equal_images": 2,
    "leaked": 1,
    "layout": "a folder for each class",
    "validation_split": "its own",
    "leaked_validation": 1,
    "fold": "2/5",
}


def valid(kind: type[BaseModel]) -> Any:
    """Return the content of a valid file."""
    value = copy.deepcopy(OTHERS[kind]) if kind in OTHERS else reading.read_json(RUN / FILES[kind])
    return {**value, **NEWER} if kind is DataRecord else value


def fields(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every field of a record; of a list, those of the first item."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield (*path, name)
            yield from fields(each, (*path, name))
    elif isinstance(value, list) and value:
        yield from fields(value[0], (*path, 0))


def parent_of(value: Any, path: tuple[str | int, ...]) -> Any:
    for part in path[:-1]:
        value = value[part]
    return value


def error_of(kind: type[BaseModel], value: Any, folder: Path) -> str:
    files.write_json(folder / FILES[kind], value)
    with pytest.raises(RunError) as caught:
        RunFolder(path=folder).read(kind)
    assert str(folder / FILES[kind]) in str(caught.value)
    assert all(problem.fix for problem in caught.value.problems)
    return str(caught.value)


def keys_are_data(kind: type[BaseModel], path: tuple[str | int, ...]) -> bool:
    """Whether the last part of a path is the key of a table with arbitrary keys."""
    tables = {
        "splits",
        "settings",
        "left_out",
        "files",
        "packages",
        "corruptions",
        "top_accuracy",
        "risk_at_coverage",
    }
    return (len(path) > 1 and path[-2] in tables) or (kind is Manifest and len(path) == 1)


def merged(table: Any, more: dict[str, Any]) -> Any:
    """Return a table with further fields, also in the tables within it."""
    if not more or table is None:
        return table
    inner = {name: merged(table[name], value) for name, value in more.items() if isinstance(value, dict)}
    return {**table, **more, **inner}


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.__name__)
def test_a_record_is_read_as_it_was_written(kind: type[BaseModel], tmp_path: Path) -> None:
    files.write_json(tmp_path / FILES[kind], valid(kind))
    folder = RunFolder(path=tmp_path)
    record = folder.read(kind)
    folder.write(record)
    written = reading.read_json(tmp_path / FILES[kind])
    assert written == merged(valid(kind), ADDED.get(kind, {}))
    assert folder.find(kind) == record
    folder.remove(kind)
    assert folder.find(kind) is None


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("value", [1, "text", None, [1]])
def test_what_is_no_record(kind: type[BaseModel], value: object, tmp_path: Path) -> None:
    assert "damaged: " in error_of(kind, value, tmp_path)


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.__name__)
def test_a_missing_field_is_named(kind: type[BaseModel], tmp_path: Path) -> None:
    for path in fields(valid(kind)):
        name = ".".join(map(str, path)).removeprefix("0." if kind is Resumptions else "")
        is_newer = kind is DataRecord and name in NEWER
        if name in OPTIONAL or is_newer or keys_are_data(kind, path):
            continue
        value = valid(kind)
        del parent_of(value, path)[path[-1]]
        assert f"damaged: {'.'.join(map(str, path))} is missing" in error_of(kind, value, tmp_path)


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.__name__)
def test_a_field_of_a_wrong_type_is_named(kind: type[BaseModel], tmp_path: Path) -> None:
    for path in fields(valid(kind)):
        name = ".".join(map(str, path))
        if name in OPTIONAL and name.startswith("classes"):
            continue
        value = valid(kind)
        parent_of(value, path)[path[-1]] = 7 if isinstance(parent_of(value, path)[path[-1]], str) else "x"
        text = error_of(kind, value, tmp_path)
        assert f"damaged: {name}" in text
        assert "expected" in text


def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    value = valid(Environment)
    files.write_json(tmp_path / "environment.json", {**value, "colour": "blue"})
    assert RunFolder(path=tmp_path).read(Environment) == RunFolder(path=RUN).read(Environment)


def test_every_error_is_reported(tmp_path: Path) -> None:
    value = valid(DataRecord)
    del value["title"]
    value["mean"] = "grey"
    text = error_of(DataRecord, value, tmp_path)
    assert "title is missing" in text
    assert "mean: found 'grey', expected a valid tuple" in text


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    text = json.dumps(valid(Results)).replace('"loss": ', '"loss": 1e999, "was": ', 1)
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(FileError, match="not valid JSON: a number too large"):
        RunFolder(path=tmp_path).read(Results)


def test_rows_of_metrics(tmp_path: Path) -> None:
    first, second = RunFolder(path=RUN).metrics()
    assert (first.epoch, first.train_accuracy, first.validation_loss) == (1, 0.160267, None)
    assert second.metric("test", "accuracy") == 0.365609
    (tmp_path / "metrics.csv").write_text("epoch,lr,train_loss\n1,x,nan\n")
    with pytest.raises(RunError, match=r"metrics\.csv: damaged: lr: found 'x', expected a valid number"):
        RunFolder(path=tmp_path).metrics()


@pytest.mark.parametrize("seconds", ["nan", "1e999", "-3", "1e10"])
def test_durations_out_of_range(tmp_path: Path, seconds: str) -> None:
    (tmp_path / "metrics.csv").write_text(f"epoch,train_loss,train_seconds\n1,nan,2.5\n2,nan,{seconds}\n")
    with pytest.raises(RunError, match="damaged: train_seconds"):
        RunFolder(path=tmp_path).metrics()
