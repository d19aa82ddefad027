"""A class with the faults of real hand-ins: each row is the one that a teacher expects."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from convsmith.data.config import DataConfig
from convsmith.grading import images
from convsmith.grading.duplicates import find_sharings
from convsmith.grading.record import Request, SubmissionRecord
from convsmith.grading.table import TableRow, rows_of
from convsmith.grading.worker import record_of
from helpers.class_of_students import STARTER, STUDENTS
from helpers.submissions import BRIEF, IMPORTS, Case, Expected, changed, trained, untrained

FAST = tuple(case for case in STUDENTS if case.fast)
SLOW = tuple(case for case in STUDENTS if not case.fast)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    images.prepare(DataConfig(source="digits", test_fraction=0.25), folder)
    return folder


def judge(
    folder: Path, name: str, data: Path, brief: Mapping[str, Any] = MappingProxyType(BRIEF)
) -> SubmissionRecord:
    return record_of(
        Request(
            submission=name,
            folder=str(folder),
            brief=dict(brief),
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


NOTES = """# {name}
**Target:** fewer parameters

**Result:** {parameters} parameters, receptive field: 10

**Analysis:** it still learns
"""


def test_a_hand_in_of_three_steps(tmp_path: Path, data: Path) -> None:
    """Two steps have one structure; each has its own weights, and the last one no notes."""
    names = "Model_1", "Model_2", "Model_3"
    texts = [changed(("class Net", f"class {name}"), ("super(Net", f"super({name}")) for name in names]
    texts[0] = changed(("24", "32"), text=texts[0])
    notes = [
        NOTES.format(name=name, parameters=count)
        for name, count in zip(names[:2], ("9,648", "7,328"), strict=True)
    ]
    case = Case(
        name="steps",
        texts={"model.py": IMPORTS + "".join(texts), "README.md": "".join(notes)},
        weights={
            "model_1.pth": lambda student: trained(student, texts[0], "Model_1"),
            "model_2.pth": lambda student: untrained(student, texts[1], "Model_2"),
            "model_3.pth": lambda student: trained(student, texts[2], "Model_3"),
        },
        expected=Expected(result="fail"),
    )
    rules = {"steps": [3, 4], "goal": "last", "notes": ["target", "result", "analysis"]}
    record = judge(case.write(tmp_path), "steps", data, {**BRIEF, **rules})
    assert [step.net for step in record.steps] == [f"model.py:{name}" for name in names]
    assert [each.verdict for each in record.brief_checks] == ["pass"]
    scores = [step.score for step in record.steps]
    assert [score and score.weights for score in scores] == ["model_1.pth", "model_2.pth", "model_3.pth"]
    # Too wide and untrained are steps before the last, to which they lead.
    titles = [{check.title for check in step.checks if check.verdict == "fail"} for step in record.steps]
    assert titles == [set(), set(), {"note: target", "note: result", "note: analysis"}]
    claims = {(each.quantity, each.claim): each.result for each in record.claims}
    assert claims == {
        ("parameters", "9,648"): "equal",
        ("parameters", "7,328"): "equal",
        ("receptive field", "10"): "equal",
    }


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
    record = record_of(request)
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
