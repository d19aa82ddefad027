"""Annotations of GitHub Actions, read back as its runner reads them."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.briefs.annotations import MOST, Annotation, annotation_lines, command
from convsmith.briefs.checks import Check
from convsmith.briefs.hints import Hint
from convsmith.briefs.judgement import Judgement
from convsmith.briefs.verdicts import Verdicts
from convsmith.errors import ModuleError, Problem
from convsmith.net.rows import Location
from helpers.github import Command, commands, parse
from helpers.nets import examples


def failed(title: str, line: int | None = None) -> Check:
    location = None if line is None else Location(file="model.py", line=line)
    return Check(
        title=title,
        verdict="fail",
        actual="12",
        required="at most 10",
        location=location,
        remedy=lambda: "less",
    )


def unknown(title: str) -> Check:
    return Check(title=title, verdict="not applicable", actual="not trained", required="at least 99 %")


def net(*checks: Check, name: str = "model.py:Net", hints: tuple[Hint, ...] = ()) -> Judgement:
    place = Location(file="model.py", line=3)
    return Judgement(name=name, checks=Verdicts(checks), hints=hints, definition=place)


@settings(max_examples=examples(200), deadline=None)
@given(title=st.text(min_size=1), message=st.text(), file=st.text("abc,:%/ .", min_size=1))
def test_the_runner_reads_back_what_was_written(title: str, message: str, file: str) -> None:
    annotation = Annotation(
        level="warning", title=title, message=message, location=Location(file=file, line=4)
    )
    line = command(annotation)
    assert len(line.splitlines()) == 1
    parsed = parse(line)
    assert parsed is not None
    assert parsed.name == "warning"
    assert parsed.properties["file"] == file
    assert parsed.properties["line"] == "4"
    if title.isprintable() and message.isprintable():
        # The runner strips the spaces around the properties.
        assert parsed.properties["title"].strip() == title.strip()
        assert parsed.message == message


def test_the_documented_form() -> None:
    at = Location(file="app.py", line=1)
    annotation = Annotation(level="error", title="YOUR-TITLE", message="Missing semicolon", location=at)
    # As on GitHub's page, without the columns.
    assert command(annotation) == "::error file=app.py,line=1,title=YOUR-TITLE::Missing semicolon"
    escaped = Annotation(level="notice", title="a:b,c%d", message="a:b,c%d\ne\rf")
    # \r is not printable, so it cannot steer a terminal either.
    assert command(escaped) == "::notice title=a%3Ab%2Cc%25d::a:b,c%25d%0Ae?f"


def test_a_failed_check_is_an_error_at_its_line_or_at_the_definition() -> None:
    first, second = commands("\n".join(annotation_lines([net(failed("MACs", 7), failed("parameters"))])))
    assert first == Command(
        "error",
        "found 12, required at most 10\nfix: less",
        {"file": "model.py", "line": "7", "title": "MACs"},
    )
    assert second.properties == {"file": "model.py", "line": "3", "title": "parameters"}


def test_what_was_not_checked_is_one_warning_and_a_hint_a_notice() -> None:
    hints = tuple(
        Hint(
            topic="bottleneck", layer=f"conv{number}", what="few", location=Location(file="model.py", line=9)
        )
        for number in range(3)
    )
    judgement = net(unknown("test accuracy"), unknown("epochs"), hints=hints)
    warning, notice = commands("\n".join(annotation_lines([judgement])))
    assert warning == Command(
        "warning",
        "test accuracy (not trained), epochs (not trained)",
        {"title": "model.py:Net: not checked"},
    )
    assert notice == Command(
        "notice", "conv0 (and 2 more): few", {"file": "model.py", "line": "9", "title": "bottleneck"}
    )


def test_ten_of_a_kind_the_gravest_first_and_the_last_names_the_rest() -> None:
    broken = ModuleError.of([Problem(what="no such class", where="nets.py, line 5", fix="write it")])
    nets = [
        net(*(failed(f"check {number}") for number in range(6)), name="A"),
        net(*(failed(f"check {number}") for number in range(7)), name="B"),
        Judgement(name="C", definition=Location(file="nets.py", line=1), error=broken),
    ]
    errors = commands("\n".join(annotation_lines(nets)))
    assert len(errors) == MOST
    assert errors[0].properties == {"file": "nets.py", "line": "5", "title": "C cannot be judged"}
    assert errors[0].message == "error[E022]: nets.py, line 5: no such class\n  fix: write it"
    titles = [each.properties["title"] for each in errors[1:9]]
    assert titles == [f"{name}: check {number}" for number in range(4) for name in "AB"]
    assert errors[9].properties == {"title": "5 more annotations of this kind"}
    assert errors[9].message == "A: check 4; B: check 4; A: check 5; B: check 5; B: check 6"


def test_ten_need_no_line_for_the_rest() -> None:
    lines = annotation_lines([net(*(failed(f"check {number}") for number in range(10)))])
    assert [parsed.properties["title"] for parsed in commands("\n".join(lines))] == [
        f"check {number}" for number in range(10)
    ]


def test_paths_are_relative_to_the_repository(tmp_path: Path) -> None:
    def file_of(name: str) -> str | None:
        at = Location(file=name, line=2)
        line = command(Annotation(level="error", title="a", message="b", location=at), tmp_path)
        parsed = parse(line)
        assert parsed is not None
        return parsed.properties.get("file")

    (tmp_path / "link").symlink_to(tmp_path / "nets")
    assert file_of(str(tmp_path / "nets" / "model.py")) == "nets/model.py"
    assert file_of(str(tmp_path / "link" / "model.py")) == "nets/model.py"
    assert file_of(str(tmp_path.parent / "model.py")) is None


def test_a_notebook_has_no_lines() -> None:
    at = Location(file="S7.ipynb", line=12, cell=3)
    assert command(Annotation(level="error", title="a", message="b", location=at)) == (
        "::error file=S7.ipynb,title=a::b%0Aat cell 3, line 12"
    )


def test_a_net_without_a_brief_and_a_doubtful_accuracy_are_warnings() -> None:
    assert annotation_lines([net()]) == ["::warning title=model.py%3ANet::no brief: nothing was checked"]
    passed = Check(title="a", verdict="pass", actual="1", required="1")
    doubtful = Judgement(name="N", checks=Verdicts([passed]), remarks=("warning: near chance", "all well"))
    assert annotation_lines([doubtful]) == ["::warning title=N::near chance"]


def test_a_long_message_is_cut() -> None:
    line = command(Annotation(level="error", title="a", message="x" * 100_000))
    assert len(line) < 3_000
