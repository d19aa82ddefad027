"""Verdicts and hints as text and values."""

from dataclasses import replace

from convsmith.briefs.check import Check
from convsmith.briefs.checks import judge
from convsmith.briefs.hints import hints
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.briefs.verdicts import hint_lines, verdict_lines, verdict_record, verdict_table
from convsmith.net.rows import Location
from helpers.nets import analysis_of


def test_verdicts_as_lines_table_and_record() -> None:
    analysis = analysis_of("C12 C16 / G F10")
    checks = judge(
        Brief(max_parameters=10, min_accuracy=0.5, forbid=("max-pooling",)), Subject(analysis=analysis)
    )
    lines = verdict_lines(checks)
    assert lines[0].startswith(" 1. FAIL           parameters     2,")
    assert "NOT APPLICABLE test accuracy  not trained (required: at least 50.00%)" in "\n".join(lines)
    table = verdict_table(checks).splitlines()
    assert "❌ fail" in table[2]
    assert "✅ pass" in table[3]
    values = verdict_record(checks, hints(analysis))
    assert values["passed"] is False
    assert [each["verdict"] for each in values["checks"]] == ["fail", "pass", "not applicable"]
    assert values["hints"][0]["topic"] == "vector lanes"
    (line,) = hint_lines(hints(analysis))
    assert line.startswith("hint: vector lanes: C12 (block1.conv1): 12 channels take as long as 16: ")


def test_places_in_json() -> None:
    at = Location(file="S7.ipynb", line=3, cell=5)
    checks = [
        Check(title="dropout", verdict="fail", actual="0", required="1", layer="drop", location=place)
        for place in (at, replace(at, cell=0), None)
    ]
    places = [(each["file"], each["cell"], each["line"]) for each in verdict_record(checks, ())["checks"]]
    assert places == [("S7.ipynb", 5, 3), ("S7.ipynb", None, 3), (None, None, None)]
