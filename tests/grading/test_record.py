"""Records of strangers' processes are checked when they are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from convsmith.errors import FileError
from convsmith.grading.record import (
    MAX_RECORD,
    CheckRecord,
    ScoreRecord,
    StepRecord,
    SubmissionRecord,
    read_record,
)

RECORD = SubmissionRecord(
    submission="ada",
    state="judged",
    steps=(
        StepRecord(
            net="model.py:Net",
            checks=(CheckRecord(title="parameters", verdict="pass", actual="9", required="at most 10"),),
            score=ScoreRecord(weights="net.pth", correct=3, total=4),
        ),
    ),
)


def test_a_record_returns(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(RECORD.model_dump_json())
    record = read_record(tmp_path / "record.json")
    assert record == RECORD
    assert record.passed
    assert record.steps[0].score is not None
    assert record.steps[0].score.accuracy == 0.75


@pytest.mark.parametrize(
    "change",
    [{"state": "excellent"}, {"seconds": "soon"}, {"problem": "x" * 4001}, {"grade": 100}],
)
def test_a_forged_field_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "record.json").write_text(json.dumps({**RECORD.model_dump(mode="json"), **change}))
    with pytest.raises(FileError, match="no record of a submission"):
        read_record(tmp_path / "record.json")


def test_no_record_and_a_large_one(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read"):
        read_record(tmp_path / "record.json")
    (tmp_path / "record.json").write_bytes(b" " * (MAX_RECORD + 1))
    with pytest.raises(FileError, match="expected at most"):
        read_record(tmp_path / "record.json")


def test_a_failed_check_fails_the_submission() -> None:
    check = CheckRecord(title="steps", verdict="fail", actual="2", required="3 to 4")
    record = RECORD.model_copy(update={"brief_checks": (check,)})
    assert not record.passed
    assert record.failed == (check,)


def test_texts_are_one_line_without_control_characters() -> None:
    record = SubmissionRecord.model_validate_json(
        '{"submission": "bob", "state": "failed", "problem": "a\\nada: pass\\u001b[31m", "notes": ["b\\rc"]}'
    )
    assert (record.problem, record.notes) == ("a?ada: pass?[31m", ("b?c",))
