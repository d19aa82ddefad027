"""JUnit XML by the schema of Apache Ant."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.briefs.checks import Check
from convsmith.briefs.judgement import Judgement
from convsmith.briefs.junit import junit_xml
from convsmith.briefs.verdicts import Verdicts
from convsmith.errors import ModuleError
from helpers.junit import check_junit
from helpers.nets import examples
from helpers.verdicts import PASSED, failed

AT = datetime(2026, 11, 29, 12, 30, 15, tzinfo=UTC)
_AT = 'timestamp="2026-11-29T12:30:15" hostname="localhost"'
EXPECTED = f"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="model.py:Net" package="convsmith" id="0" {_AT} \
tests="4" failures="1" errors="0" skipped="1" time="0">
    <properties>
      <property name="convsmith" value="0.1.0" />
      <property name="brief" value="brief.toml" />
      <property name="size" value="8,442 parameters" />
    </properties>
    <testcase name="parameters" classname="model.py:Net" time="0">
      <failure message="found 8,442, required at most 8,000" type="check">found 8,442, required at most 8,000
where: model.py:7: conv1
fix: narrow &lt;it&gt; &amp; more</failure>
    </testcase>
    <testcase name="parameters (2)" classname="model.py:Net" time="0" />
    <testcase name="residual" classname="model.py:Net" time="0" />
    <testcase name="test accuracy" classname="model.py:Net" time="0">
      <skipped message="not trained, required at least 99 %" />
    </testcase>
    <system-out>a note</system-out>
    <system-err />
  </testsuite>
  <testsuite name="model.py:No" package="convsmith" id="1" {_AT} \
tests="1" failures="0" errors="1" skipped="0" time="0">
    <properties>
      <property name="convsmith" value="0.1.0" />
      <property name="brief" value="brief.toml" />
    </properties>
    <testcase name="the net can be judged" classname="model.py:No" time="0">
      <error message="error[E022]: model.py: no class No" type="E022">error[E022]: model.py: no class No
  fix: write model.py:Net</error>
    </testcase>
    <system-out />
    <system-err />
  </testsuite>
</testsuites>
"""


def test_the_document_as_it_is_written() -> None:
    checks = [
        failed("narrow <it> & more"),
        Check(title="parameters", verdict="pass", actual="8,442", required="at least 10"),
        PASSED,
        Check(
            title="test accuracy", verdict="not applicable", actual="not trained", required="at least 99 %"
        ),
    ]
    judged = Judgement(
        name="model.py:Net", checks=Verdicts(checks), totals="8,442 parameters", remarks=("a note",)
    )
    error = ModuleError("no class No", where="model.py", fix="write model.py:Net")
    text = junit_xml([judged, Judgement(name="model.py:No", error=error)], "brief.toml", AT)
    assert text == EXPECTED
    check_junit(text)


@settings(max_examples=examples(200), deadline=None)
@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_any_text_gives_well_formed_xml(title: str, value: str) -> None:
    check = Check(title=f"a{title}", verdict="fail", actual=value, required=value, remedy=lambda: value)
    text = junit_xml([Judgement(name="net", checks=Verdicts([check]))], value, AT)
    assert len(check_junit(text)[0].findall("testcase")) == 1
