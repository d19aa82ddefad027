"""Judgements as JUnit XML, which every continuous integration reads.

The form is that of the schema of Apache Ant's JUnit task; Jenkins' schema allows more. A test suite is a
net, a test case is a check.
"""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import convsmith
from convsmith.briefs.checks import Check
from convsmith.briefs.judgement import Judgement

# What XML 1.0 has no place for, not even as a character reference.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(judgements: Sequence[Judgement], brief: str = "", at: datetime | None = None) -> str:
    """Return a JUnit document.

    Args:
        judgements: One for each net.
        brief: The name of the brief.
        at: When the nets were judged; by default now.

    Example:
        >>> text = junit_xml([Judgement(name="Net")], at=datetime(2026, 1, 1, tzinfo=UTC))
        >>> print(text.splitlines()[2].strip()[:51])
        <testsuite name="Net" package="convsmith" id="0" ti
    """
    root = ET.Element("testsuites")
    time = (at or datetime.now(tz=UTC)).strftime("%Y-%m-%dT%H:%M:%S")
    for number, judgement in enumerate(judgements):
        root.append(_suite(number, judgement, brief, time))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(number: int, judgement: Judgement, brief: str, time: str) -> ET.Element:
    checks, errors = judgement.checks, 1 if judgement.error else 0
    suite = _element(
        "testsuite",
        name=_token(judgement.name),
        package="convsmith",
        id=str(number),
        timestamp=time,
        # The name of a machine says nothing about a net.
        hostname="localhost",
        tests=str(len(checks) + errors),
        failures=str(len(checks.failed)),
        errors=str(errors),
        skipped=str(len(judgement.unknown)),
        time="0",
    )
    properties = {"convsmith": convsmith.__version__, "brief": brief, "size": judgement.totals}
    parent = ET.SubElement(suite, "properties")
    parent.extend(_element("property", name=name, value=value) for name, value in properties.items() if value)
    if judgement.error:
        case = _case(judgement, "the net can be judged")
        text = str(judgement.error)
        case.append(_element("error", text=text, message=text.splitlines()[0], type=judgement.error.code))
        suite.append(case)
    counts: Counter[str] = Counter()
    for check in checks:
        counts[check.title] += 1
        repeated = f" ({counts[check.title]})" if counts[check.title] > 1 else ""
        suite.append(_check(judgement, check, f"{check.title}{repeated}"))
    suite.append(_element("system-out", text="\n".join(judgement.remarks)))
    suite.append(_element("system-err"))
    return suite


def _check(judgement: Judgement, check: Check, name: str) -> ET.Element:
    case = _case(judgement, name)
    message = f"found {check.actual}, required {check.required}"
    if check.verdict == "not applicable":
        case.append(_element("skipped", message=f"{check.actual}, required {check.required}"))
    elif check.verdict == "fail":
        where = ": ".join(str(part) for part in (judgement.place(check.location), check.layer) if part)
        lines = (message, f"where: {where}" if where else "", f"fix: {check.fix}" if check.fix else "")
        text = "\n".join(line for line in lines if line)
        case.append(_element("failure", text=text, message=message, type="check"))
    return case


def _case(judgement: Judgement, name: str) -> ET.Element:
    return _element("testcase", name=_token(name), classname=_token(judgement.name), time="0")


def _element(tag: str, *, text: str = "", **attributes: str) -> ET.Element:
    element = ET.Element(tag, {name: _allowed(value) for name, value in attributes.items()})
    element.text = _allowed(text) or None
    return element


def _token(text: str) -> str:
    """Return text for an attribute that readers take without spaces at its ends and in a row."""
    return " ".join(_allowed(text).split()) or "?"


def _allowed(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
