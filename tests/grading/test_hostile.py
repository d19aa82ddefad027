"""Hostile submissions: each has its own row, and nothing else is harmed."""

import json
import sys
from pathlib import Path

import pytest

from convsmith.briefs.schema import Brief
from convsmith.grading.duplicates import find_sharings
from convsmith.grading.protection import detect
from convsmith.recipes.loader import load
from helpers.class_of_students import STUDENTS
from helpers.hostile_class import check_attacks, grade_with_attacks
from helpers.hostile_submissions import ATTACKS
from helpers.submissions import BRIEF

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attacks on Linux")


@pytest.fixture(autouse=True)
def _needs_namespaces() -> None:
    if not detect().complete:
        pytest.skip("this system has no namespaces")


def test_some_attacks(tmp_path: Path) -> None:
    attacks = [attack for attack in ATTACKS if attack.fast]
    grades = grade_with_attacks(
        tmp_path, attacks, brief=Brief(max_parameters=8_000), recipe="digits", memory=1
    )
    check_attacks(grades, attacks)
    assert len(grades.rows) == len(attacks)


@pytest.mark.slow
def test_the_whole_class(tmp_path: Path) -> None:
    """Right, wrong, broken and hostile submissions together: every row is the one that a teacher expects."""
    brief = Brief.model_validate_json(json.dumps(BRIEF))
    grades = grade_with_attacks(
        tmp_path,
        ATTACKS,
        [case.write for case in STUDENTS],
        brief=brief,
        recipe=load("digits", ["data.test_fraction=0.25"]),
        memory=1,
        time=45,
    )
    assert len(grades.rows) == len(STUDENTS) + len(ATTACKS) >= 60
    check_attacks(grades)
    rows = {row.name: row for row in grades.rows}
    for case in STUDENTS:
        row, expected = rows[case.name], case.expected
        details = " ".join(row.details).casefold()
        assert row.result == expected.result, (case.name, details)
        assert all(why.casefold() in details for why in expected.why), (case.name, details)
        assert row.nets == ((expected.net,) if expected.net else ()), case.name
        differing = {each.quantity for each in row.record.claims if each.result == "differs"}
        assert differing == set(expected.differs), case.name
        for other in expected.same_as:
            assert any({case.name, other} <= set(each.names) for each in find_sharings(grades.records))
