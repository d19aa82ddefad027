"""The schema of Apache Ant's JUnit task, which most readers of JUnit XML follow, as a function."""

import re
import xml.etree.ElementTree as ET
from datetime import datetime

_TOKEN = re.compile(r"[^\n\t\r ]+( [^\n\t\r ]+)*")
_SUITE = {"name", "timestamp", "hostname", "tests", "failures", "errors", "time", "package", "id"}
_OUTCOMES = {"skipped", "error", "failure"}


def check_junit(text: str) -> ET.Element:
    """Return the root of a document, after checking it against the schema."""
    root = ET.fromstring(text)  # noqa: S314 - our own output
    assert root.tag == "testsuites"
    assert not root.attrib
    for number, suite in enumerate(root):
        _check_suite(suite)
        assert suite.get("id") == str(number)
    return root


def _check_suite(suite: ET.Element) -> None:
    assert suite.tag == "testsuite"
    assert set(suite.attrib) - {"skipped"} == _SUITE
    for name in ("name", "hostname", "package"):
        assert _is_token(suite.attrib[name])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    datetime.fromisoformat(suite.attrib["timestamp"])
    float(suite.attrib["time"])
    # In this order: properties, any number of test cases, both outputs.
    tags = [child.tag for child in suite]
    cases = suite.findall("testcase")
    assert tags == ["properties", *["testcase"] * len(cases), "system-out", "system-err"]
    for each in suite[0]:
        assert set(each.attrib) == {"name", "value"}
    for case in cases:
        _check_case(case)
    assert int(suite.attrib["tests"]) == len(cases)
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
    assert int(suite.attrib["errors"]) == len(suite.findall("testcase/error"))
    assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))


def _check_case(case: ET.Element) -> None:
    assert set(case.attrib) == {"name", "classname", "time"}
    assert _is_token(case.attrib["name"])
    assert _is_token(case.attrib["classname"])
    assert len(case) <= 1
    for outcome in case:
        assert outcome.tag in _OUTCOMES
        if outcome.tag != "skipped":
            assert set(outcome.attrib) == {"message", "type"}


def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None
