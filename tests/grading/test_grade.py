"""A class is graded row by row: faults stay in their row, and a second call continues."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import convsmith as cs
from convsmith.api.grade import Grades
from convsmith.briefs.schema import Brief
from convsmith.cli import run
from convsmith.errors import FileError, RecipeError, UsageError
from convsmith.grading import grade as grading
from convsmith.grading.outcome import Limits, Outcome
from convsmith.grading.protection import Protection
from convsmith.grading.record import Request, SubmissionRecord
from convsmith.grading.sandbox import Sandbox
from convsmith.grading.store import RecordStore

OK = Outcome(kind="ok", seconds=1.5)


@dataclass
class FakeProcess:
    """Stands for the process of a submission: writes a record, or what `acts` has for its name."""

    calls: list[str] = field(default_factory=list)
    acts: dict[str, Callable[[Request, Sandbox], Outcome]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request, shared: Any, sandbox: Sandbox) -> Outcome:
        with self.lock:
            self.calls.append(request.submission)
        if act := self.acts.get(request.submission):
            return act(request, sandbox)
        write(sandbox, SubmissionRecord(submission=request.submission, state="judged", seal=request.seal))
        return OK


def write(sandbox: Sandbox, record: SubmissionRecord) -> None:
    sandbox.saved_record.write_text(record.model_dump_json(), encoding="utf-8")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> FakeProcess:
    fake = FakeProcess()
    monkeypatch.setattr(grading, "_execute", fake)
    monkeypatch.setattr("convsmith.api.grade.detect", Protection)
    return fake


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("ada", "bob", "eve"):
        (tmp_path / "class" / name).mkdir(parents=True)
        (tmp_path / "class" / name / "model.py").write_text(f"# {name}", encoding="utf-8")
    return tmp_path / "class"


def grade(place: Path, **options: Any) -> Grades:
    values = {"brief": Brief(), "recipe": "digits", "out": place.parent / "graded", "score": False}
    return cs.grade(place, **{**values, **options})


def states(grades: Grades) -> dict[str, str]:
    return {record.submission: record.state for record in grades.records}


def test_table_page_and_records(process: FakeProcess, place: Path) -> None:
    grades = grade(place)
    assert states(grades) == {"ada": "judged", "bob": "judged", "eve": "judged"}
    names = {str(path.relative_to(grades.folder)) for path in grades.folder.rglob("*") if path.is_file()}
    records = {f"records/{name}.json" for name in states(grades)}
    assert names == {"table.csv", "index.html", *records}
    assert (grades.folder / "table.csv").read_text(encoding="utf-8").count("\n") == 4
    # The seal was for one process only.
    assert all(record.seal == "" and record.seconds == 1.5 for record in grades.records)


def test_a_second_call_judges_what_has_changed(process: FakeProcess, place: Path) -> None:
    grade(place)
    assert grade(place, resume=True).judged == 0
    (place / "bob" / "model.py").write_text("# changed", encoding="utf-8")
    process.calls.clear()
    assert (grade(place, resume=True).judged, process.calls) == (1, ["bob"])
    assert grade(place, resume=True, brief=Brief(max_parameters=10)).judged == 3
    assert grade(place, resume=True, brief=Brief(max_parameters=10), seed=1).judged == 3


def test_limits_matter_only_to_those_whom_they_stopped(process: FakeProcess, place: Path) -> None:
    process.acts["eve"] = lambda request, sandbox: Outcome(kind="time", detail="stopped after 5 seconds")
    record = grade(place, time=5).records[2]
    assert (record.state, record.outcome, record.problem) == ("stopped", "time", "stopped after 5 seconds")
    assert record.fix == "look at its code, or allow more: --time"
    process.calls.clear()
    assert (grade(place, time=5, resume=True).judged, process.calls) == (0, [])
    assert (grade(place, time=9, resume=True).judged, process.calls) == (1, ["eve"])


def test_records_of_an_earlier_grading_are_not_overwritten(process: FakeProcess, place: Path) -> None:
    grade(place)
    with pytest.raises(FileError, match="has records of an earlier grading") as error:
        grade(place)
    assert "--resume" in error.value.problems[0].fix


def test_a_fault_stays_in_its_row(process: FakeProcess, place: Path) -> None:
    def fail(request: Request, sandbox: Sandbox) -> Outcome:
        raise OSError(28, "No space left on device")

    process.acts["bob"] = fail
    grades = grade(place)
    assert states(grades) == {"ada": "judged", "bob": "failed", "eve": "judged"}
    assert "No space left on device" in grades.records[1].problem
    assert not grades.complete
    process.acts.clear()
    process.calls.clear()
    again = grade(place, resume=True)
    assert (again.complete, process.calls) == (True, ["bob"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{}", "its process left a record that cannot be read: no record of a submission: missing field"),
        ("not JSON", "its process left a record that cannot be read"),
        ('{"submission": "bob", "state": "judged"}', "its code wrote a record of its own"),
        ('{"submission": "bob", "state": "judged", "seal": "0123"}', "its code wrote a record of its own"),
        ('{"submission": "ada", "state": "judged", "seal": "SEAL"}', "its code wrote a record of its own"),
    ],
)
def test_a_record_that_the_submission_wrote(
    content: str, problem: str, process: FakeProcess, place: Path
) -> None:
    def forge(request: Request, sandbox: Sandbox) -> Outcome:
        sandbox.saved_record.write_text(content.replace("SEAL", request.seal), encoding="utf-8")
        return OK

    process.acts["bob"] = forge
    record = grade(place).records[1]
    assert (record.submission, record.state, record.outcome) == ("bob", "failed", "no record")
    assert problem in record.problem


def test_an_interruption_keeps_what_is_complete(process: FakeProcess, place: Path) -> None:
    def interrupt(record: SubmissionRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade(place, jobs=1, on_record=interrupt)
    kept = len(list((place.parent / "graded" / "records").glob("*.json")))
    assert 1 <= kept < 3 or process.calls == ["ada", "bob", "eve"]
    process.calls.clear()
    assert states(grade(place, resume=True)) == {"ada": "judged", "bob": "judged", "eve": "judged"}
    assert len(process.calls) == 3 - kept


def test_what_is_no_submission(process: FakeProcess, place: Path, tmp_path: Path) -> None:
    (place / "fay").mkdir()
    (place / "gil").symlink_to(place / "ada")
    (place / "hal").mkdir()
    (place / "hal" / "model.py").symlink_to(place / "ada" / "model.py")
    grades = grade(place, out=place / "graded")
    assert grade(place, out=place / "graded", resume=True).judged == 1
    # A link to itself.
    (place / "ida").symlink_to("ida")
    (place / "jon").symlink_to("/")
    assert [each.problem for each in grade(place, out=place / "graded", resume=True).records[-2:]] == [
        "the submission is a link"
    ] * 2
    problems = {record.submission: record.problem for record in grades.records}
    assert problems == {
        "ada": "",
        "bob": "",
        "eve": "",
        "fay": "its folder is empty",
        "gil": "the submission is a link",
        "hal": "nothing in its folder can be copied",
    }
    assert grades.records[5].notes == ("not copied, a link: model.py",)
    assert sorted(process.calls) == ["ada", "bob", "eve"]


def test_names_that_look_alike_have_rows_of_their_own(process: FakeProcess, place: Path) -> None:
    for name in ("a\x01", "a\x02", "starter code 1"):
        (place / name).mkdir()
        (place / name / "model.py").write_text(repr(name), encoding="utf-8")
    grades = grade(place, starters=[place.parent / "class" / "ada"])
    assert list(states(grades)) == ["a?", "a? (2)", "ada", "bob", "eve", "starter code 1"]
    assert sorted(process.calls) == [*states(grades), "starter code 1 (2)"]
    assert grade(place, starters=[place / "ada"], resume=True).judged == 0


def test_any_exception_stays_in_its_row(process: FakeProcess, place: Path) -> None:
    def fail(request: Request, sandbox: Sandbox) -> Outcome:
        raise RecursionError

    process.acts["bob"] = fail
    grades = grade(place)
    assert states(grades) == {"ada": "judged", "bob": "failed", "eve": "judged"}
    assert grades.records[1].problem == "RecursionError"


def test_what_may_have_failed_at_a_limit_is_judged_again(process: FakeProcess, place: Path) -> None:
    def fail(request: Request, sandbox: Sandbox) -> Outcome:
        record = SubmissionRecord(submission=request.submission, state="failed", seal=request.seal)
        write(sandbox, record.model_copy(update={"problem": "MemoryError"}))
        return OK

    process.acts["bob"] = fail
    grade(place)
    process.calls.clear()
    assert (grade(place, resume=True).judged, process.calls) == (0, [])
    assert (grade(place, resume=True, memory=8).judged, process.calls) == (1, ["bob"])


def test_results_do_not_lie_among_the_submissions(process: FakeProcess, place: Path) -> None:
    for out in (place, place / "ada" / "graded", place / "ada" / "x" / "y"):
        with pytest.raises(FileError, match="the results would lie among") as error:
            grade(place, out=out)
        assert "--out" in error.value.problems[0].fix
    assert sorted(path.name for path in place.rglob("*")) == ["ada", "bob", "eve", *["model.py"] * 3]


def test_lines_that_reach_the_judging_program_are_noted(process: FakeProcess, place: Path) -> None:
    text = "import sys, os\n\nframe = sys._getframe(1)\nctypes_free = 1\nos._exit(0)  # sys._getframe"
    (place / "bob" / "model.py").write_text(text, encoding="utf-8")
    ada, bob, _ = grade(place).records
    assert ada.notes == ()
    assert bob.notes == (
        "model.py, line 3: sys._getframe can reach the program that judges it: read this line",
        "model.py, line 5: os._exit can reach the program that judges it: read this line",
    )


def test_starter_code_has_no_row(process: FakeProcess, place: Path, tmp_path: Path) -> None:
    (tmp_path / "starter").mkdir()
    (tmp_path / "starter" / "model.py").write_text("# starter", encoding="utf-8")
    grades = grade(place, starters=[tmp_path / "starter"])
    assert len(process.calls) == 4
    assert list(states(grades)) == ["ada", "bob", "eve"]
    with pytest.raises(FileError, match="no such folder"):
        grade(place, out=tmp_path / "other", starters=[tmp_path / "missing"])


def test_wrong_arguments(process: FakeProcess, place: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found time -1, expected more than 0"):
        grade(place, time=-1)
    for name in ("time", "memory", "disk"):
        with pytest.raises(UsageError, match=f"found {name} inf"):
            grade(place, **{name: float("inf")})
    for jobs in (0, 60):
        with pytest.raises(UsageError, match=f"found {jobs} jobs, expected 1 to 59"):
            grade(place, jobs=jobs)
    with pytest.raises(RecipeError, match="its images are not known"):
        grade(place, recipe=None)
    with pytest.raises(FileError, match="no such folder"):
        grade(tmp_path / "missing")
    assert not (tmp_path / "graded").exists()


def test_names_of_records(tmp_path: Path) -> None:
    names = ["ada", "Ada", "x/../../y", "..", "a" * 300, "übung", "con\n", "-"]
    store = RecordStore(tmp_path, names)
    paths = [store.path(name) for name in names]
    assert len({str(path).casefold() for path in paths}) == len(names)
    for name, path in zip(names, paths, strict=True):
        assert path.parent == tmp_path
        record = SubmissionRecord(submission=name, state="no net")
        store.save(record, "key", Limits())
        assert store.load(name, "key", Limits()) == record


def test_a_damaged_record_is_judged_again(process: FakeProcess, place: Path) -> None:
    grades = grade(place)
    (grades.folder / "records" / "ada.json").write_text("{", encoding="utf-8")
    assert grade(place, resume=True).judged == 1


def test_the_command(process: FakeProcess, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process.acts["bob"] = lambda request, sandbox: Outcome(kind="crash", detail="ended by SIG[bold]SEGV")
    out = place.parent / "graded"
    arguments = ["grade", str(place), "--brief", "course-cifar10", "--recipe", "digits", "--no-score"]
    assert run([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "bob: not judged, ended by SIG[bold]SEGV" in printed.err
    assert "NOT prevented on this system" in printed.err
    assert "docker run --rm --network none" in printed.err
    assert "SIG[bold]SEGV" in printed.out
    assert "3 submissions: " in printed.out
    assert str(out / "index.html") in printed.out
    assert run([*arguments, "--out", str(out)]) == 2
    assert run([*arguments, "--out", str(out), "--resume"]) == 0
