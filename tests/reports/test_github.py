"""The summary of a step."""

from pathlib import Path

from convsmith.briefs.checks import Check
from convsmith.briefs.judgement import Judgement
from convsmith.briefs.markdown import MOST_BYTES, markdown_report
from convsmith.briefs.verdicts import Verdicts
from convsmith.net.rows import Location
from convsmith.reports.github import annotations, append_summary


def judgement(count: int = 1) -> Judgement:
    check = Check(title="parameters", verdict="fail", actual="12", required="at most 10")
    at = Location(file="nets/model.py", line=3)
    return Judgement(name="nets/model.py:Net", checks=Verdicts([check] * count), definition=at)


def test_a_summary_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("before\n")
    assert append_summary([judgement()], {"GITHUB_STEP_SUMMARY": str(path)}) == ""
    assert path.read_text() == "before\n" + markdown_report([judgement()])
    assert append_summary([judgement()], {}) == ""


def test_a_summary_stays_below_one_mebibyte(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("x" * 1000)
    assert append_summary([judgement(30_000)], {"GITHUB_STEP_SUMMARY": str(path)}) == ""
    text = path.read_text()
    assert MOST_BYTES - 200 < len(text.encode()) <= MOST_BYTES
    assert text.rstrip().splitlines()[-1].startswith("The rest is left out: ")
    assert text.rstrip().splitlines()[-3].endswith(" |")


def test_a_summary_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    problem = append_summary([judgement()], {"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "file")})
    assert problem.startswith("the summary of the step was not written: ")


def test_annotations_name_files_from_the_root_of_the_repository(tmp_path: Path) -> None:
    environment = {"GITHUB_WORKSPACE": str(Path.cwd())}
    assert annotations([judgement()], environment)[0].startswith("::error file=nets/model.py,line=3,title=")
    assert annotations([judgement()], {"GITHUB_WORKSPACE": str(tmp_path)})[0].startswith("::error title=")
