"""A class with the faults of real hand-ins: each row is the one that a teacher expects."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from convsmith.data.config import DataConfig
from convsmith.grading import images
from convsmith.grading.duplicates import find_sharings
from convsmith.grading.record import Request, SubmissionRecord
from convsmith.grading.table import TableRow, rows_of
from convsmith.grading.worker import judged
from helpers.class_of_students import STARTER, STUDENTS
from helpers.submissions import BRIEF, Case, Expected

FAST = tuple(case for case in STUDENTS if case.fast)
SLOW = tuple(case for case in STUDENTS if not case.fast)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    images.prepare(DataConfig(source="digits", test_fraction=0.25), folder)
    return folder


def judge(folder: Path, name: str, data: Path) -> SubmissionRecord:
    return judged(
        Request(
            submission=name,
            folder=str(folder),
            brief=BRIEF,
            data=str(data),
            image_shape=(1, 8, 8),
            num_classes=10,
        )
    )


def check_row(row: TableRow, expected: Expected) -> None:
    details = " ".join(row.details).casefold()
    assert row.result == expected.result, details
    for why in expected.why:
        assert why.casefold() in details
    assert row.nets == ((expected.net,) if expected.net else ())
    assert row.parameters == (() if expected.parameters is None else (expected.parameters,))
    differing = {each.quantity for each in row.record.claims if each.result == "differs"}
    assert differing == set(expected.differs)


@pytest.mark.parametrize("case", FAST, ids=lambda case: case.name)
def test_row(case: Case, tmp_path: Path, data: Path) -> None:
    check_row(rows_of([judge(case.write(tmp_path), case.name, data)])[0], case.expected)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=lambda case: case.name)
def test_row_of_the_whole_class(case: Case, tmp_path: Path, data: Path) -> None:
    check_row(rows_of([judge(case.write(tmp_path), case.name, data)])[0], case.expected)


def test_places_are_those_of_the_submission_wherever_its_copy_is(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = [each for each in STUDENTS if each.name == "hidden tensors"]
    folder = case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    for place in (folder, Path(folder.name)):
        (step,) = judge(place, case.name, data).steps
        failed = [each for each in step.checks if each.verdict == "fail"]
        assert [(each.file, each.line) for each in failed] == [("model.py", 24)]
        assert "secret (model.py:24)" in failed[0].actual


@pytest.mark.slow
def test_training_anew(tmp_path: Path, data: Path) -> None:
    (case,) = [each for each in STUDENTS if each.name == "untrained"]
    request = Request(
        submission=case.name,
        folder=str(case.write(tmp_path)),
        brief={**BRIEF, "epochs": 6, "batch_size": 64, "train_accuracy": {"epoch": 6, "min": 0.5}},
        data=str(data),
        image_shape=(1, 8, 8),
        num_classes=10,
        train=True,
    )
    record = judged(request)
    (step,) = record.steps
    assert step.training is not None
    assert step.score is not None
    assert [each.epoch for each in step.training.epochs] == [1, 2, 3, 4, 5, 6]
    assert "6 epochs, batches of 64, adamw" in step.training.description
    # The accuracy is that of the last epoch, whose weights are scored.
    assert step.training.epochs[-1].test == pytest.approx(step.score.accuracy)
    verdicts = {each.title: each.verdict for each in step.checks}
    assert verdicts["test accuracy"] == "pass"
    assert "not applicable" not in verdicts.values()


def class_records(parent: Path, data: Path, names: set[str]) -> Iterator[SubmissionRecord]:
    for case in STUDENTS:
        if case.name in names:
            yield judge(case.write(parent), case.name, data)


def test_copies_are_pointed_out_and_the_starter_is_not(tmp_path: Path, data: Path) -> None:
    names = {"plain", "notebook only", "original", "copy"}
    records = list(class_records(tmp_path / "class", data, names))
    starter = Case(name="starter", texts=STARTER, expected=Expected(result="open"))
    handed_out = judge(starter.write(tmp_path), "starter", data)
    sharings = find_sharings(records, [handed_out])
    (sharing,) = sharings
    assert set(sharing.names) == {"original", "copy"}
    (copy,) = [case for case in STUDENTS if case.name == "copy"]
    assert sharing.signs == copy.expected.signs
    # Without the starter, those who did not change it share it.
    assert {"plain", "notebook only"} in [set(each.names) for each in find_sharings(records)]
