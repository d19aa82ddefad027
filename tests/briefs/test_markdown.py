"""Judgements as a Markdown page."""

from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.briefs.judgement import Judgement
from convsmith.briefs.markdown import markdown_report, shortened
from convsmith.briefs.verdicts import Verdicts
from convsmith.errors import ModuleError
from helpers.nets import examples
from helpers.verdicts import PASSED, failed


def judgement(name: str = "model.py:Net") -> Judgement:
    checks = [failed("narrow a|b <c>"), PASSED]
    return Judgement(name=name, checks=Verdicts(checks), totals="8,442 parameters", remarks=("a note",))


def test_a_page_of_one_net() -> None:
    lines = markdown_report([judgement()], "Checks by brief.toml").splitlines()
    assert lines[0] == "# Checks by brief.toml"
    assert lines[2] == "## ❌ model.py:Net: 1 of 2 checks failed"
    assert lines[4] == "8,442 parameters"
    header, rule, first, second = lines[6:10]
    cells = [cell.strip() for cell in first.strip("| ").split(" | ")]
    assert [cell.strip() for cell in header.strip("|").split("|")][1:3] == ["verdict", "check"]
    assert set(rule) <= set("|- :")
    assert cells == [
        "1",
        "❌ fail",
        "parameters",
        "8,442",
        "at most 8,000",
        "conv1 (model.py:7)",
        "narrow a\\|b &lt;c&gt;",
    ]
    assert second.startswith("| 2 | ✅ pass")
    assert lines[-1] == "- a note"


def test_a_page_of_several_nets_begins_with_their_table() -> None:
    broken = Judgement(name="C", error=ModuleError("no such class", where="a.py", fix="write it"))
    page = markdown_report([judgement("A"), judgement("B"), broken])
    rows = [line for line in page.split("##")[0].splitlines() if line.startswith("| ❌")]
    assert [row.split("|")[2].strip() for row in rows] == ["A", "B", "C"]
    assert page.count("## ❌") == 3
    assert "```text\nerror[E022]: a.py: no such class\n  fix: write it\n```" in page


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))), st.integers(0, 300))
def test_a_page_fits_and_keeps_whole_lines(lines: list[str], most: int) -> None:
    page = "".join(f"{line}\n" for line in lines)
    result = shortened(page, most)
    assert len(result.encode()) <= most
    if len(page.encode()) <= most:
        assert result == page
    elif result:
        kept = result.split("\nThe rest is left out: ")[0]
        count = int(result.rsplit("left out: ", 1)[1].split()[0].replace(",", ""))
        assert page.startswith(kept)
        assert count == len(lines) - kept.count("\n")
