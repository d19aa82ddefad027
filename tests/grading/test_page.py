"""The page and the table of a class: complete, escaped, small, and without requests."""

import csv
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, load
from convsmith.grading.duplicates import find_sharings
from convsmith.grading.page import GradedClass, page_html
from convsmith.grading.record import (
    AnalysisRecord,
    CheckRecord,
    ClaimRecord,
    EpochRecord,
    MistakeRecord,
    RowRecord,
    ScoreRecord,
    Signature,
    StepRecord,
    SubmissionRecord,
    TrainingRecord,
)
from convsmith.grading.table import COLUMNS, csv_text, rows_of, summary_line

EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load(DataConfig(source="digits", test_fraction=0.25))


def record(name: str, text: str = "fine", *, epochs: int = 15, mistakes: int = 10) -> SubmissionRecord:
    """A record with everything that a page shows, and a stranger's text in every place."""
    generator = np.random.default_rng(len(name))
    wrong = generator.integers(0, 450, mistakes).tolist()
    return SubmissionRecord(
        submission=name,
        state="judged",
        steps=(
            StepRecord(
                net=text,
                chosen=text,
                problem=text,
                fix=text,
                checks=(
                    CheckRecord(
                        title=text, verdict="fail", actual=text, required=text, fix=text, file=text, line=3
                    ),
                ),
                analysis=AnalysisRecord(
                    title=text,
                    parameters=7_624,
                    trainable=7_000,
                    frozen=624,
                    hidden=31,
                    receptive_field=text,
                    idle=(text,),
                    rows=tuple(
                        RowRecord(layer=text, operation=text, shape=text, parameters=1, receptive_field=text)
                        for _ in range(30)
                    ),
                ),
                score=ScoreRecord(
                    weights=text,
                    correct=440,
                    total=450,
                    mistakes=tuple(
                        MistakeRecord(index=index, true=1, predicted=2, confidence=0.9) for index in wrong
                    ),
                    notes=(text,),
                ),
                training=TrainingRecord(
                    epochs=tuple(
                        EpochRecord(epoch=epoch, train=0.9, test=0.95) for epoch in range(1, epochs + 1)
                    ),
                    description=text,
                ),
                signature=Signature(net=text, structure="a", source="b", weights="c"),
                notes=(text,),
            ),
        ),
        claims=(
            ClaimRecord(
                quantity=text, claim=text, file=text, place=text, measured=text, result="differs", note=text
            ),
        ),
        notes=(text,),
    )


def page(records: list[SubmissionRecord], data: ImageDataset | None = None) -> str:
    sharings = find_sharings(records)
    return page_html(
        GradedClass(
            title=EVIL, brief=EVIL, records=tuple(records), sharings=sharings, data=data, notes=(EVIL,)
        )
    )


class Addresses(HTMLParser):
    """What the elements of a page refer to, and their event handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.handlers: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}}
        self.handlers |= {f"{tag} {name}" for name, _ in attrs if name.startswith("on")}


def test_texts_of_strangers_are_escaped(digits: ImageDataset) -> None:
    html = page([record(EVIL, EVIL), record("bob", EVIL)], digits)
    assert html.count("<script") == 1
    assert "<img" not in html
    assert "onerror=alert(1)&gt;" in html
    assert "default-src &#39;none&#39;" in html
    parser = Addresses()
    parser.feed(html)
    assert parser.found
    assert all(each.startswith(("#", "data:")) for each in parser.found)
    assert not parser.handlers


def test_an_index_that_a_stranger_made_up_has_no_image(digits: ImageDataset) -> None:
    (step,) = record("ada").steps
    assert step.score is not None
    wrong = MistakeRecord(index=10**9, true=99, predicted=99, confidence=1)
    score = step.score.model_copy(update={"mistakes": (wrong,)})
    forged = record("ada").model_copy(update={"steps": (step.model_copy(update={"score": score}),)})
    assert 'class="tile ' not in page([forged], digits)


@pytest.mark.slow
def test_a_class_of_sixty_is_a_page_of_a_few_megabytes(digits: ImageDataset) -> None:
    names = [f"student {number}" for number in range(60)]
    html = page([record(name) for name in names], digits)
    assert len(html) < 4_000_000
    assert all(f">{name}</a>" in html for name in names)
    # A link for each submission, and its section.
    assert len(set(re.findall(r'<section class="student" id="(s\d+)"', html))) == 60
    assert html.count('class="tile of-test"') == 600


def test_a_page_without_images_and_judgements() -> None:
    html = page([SubmissionRecord(submission="ada", state="no net", problem="the folder is empty")])
    assert "the folder is empty" in html
    assert "Same nets" not in html


def test_csv_has_a_row_for_each_submission_and_no_formulas() -> None:
    records = [record("=cmd|' /C calc'!A1", "@SUM(1)"), SubmissionRecord(submission="bob", state="failed")]
    rows = rows_of(records, find_sharings(records))
    header, first, second = csv.reader(io.StringIO(csv_text(rows)))
    assert tuple(header) == COLUMNS
    assert len(first) == len(second) == len(COLUMNS)
    assert not any(cell.startswith(("=", "@", "+")) for cell in first)
    assert first[COLUMNS.index("correct")] == "440"
    assert first[COLUMNS.index("accuracies of the last epochs")] == "; ".join(["95.00 %"] * 5)
    assert second[COLUMNS.index("result")] == "not judged"


def test_results() -> None:
    passed = CheckRecord(title="parameters", verdict="pass", actual="9", required="at most 10")
    open_ = passed.model_copy(update={"title": "test accuracy", "verdict": "not applicable"})
    early = open_.model_copy(update={"title": "parameters", "actual": "9,648; a step before the last"})
    failed = passed.model_copy(update={"title": "dropout", "verdict": "fail", "actual": "0 layers"})
    records = [
        SubmissionRecord(
            submission=name,
            state="judged",
            steps=(StepRecord(net="model.py:Net", checks=checks, problem=problem),),
        )
        for name, checks, problem in (
            ("a", (passed, early), ""),
            ("b", (passed, open_), ""),
            ("c", (failed, open_), ""),
            ("d", (passed,), "needs arguments"),
        )
    ]
    rows = rows_of([*records, SubmissionRecord(submission="e", state="stopped", problem="too long")])
    assert [row.result for row in rows] == ["pass", "open", "fail", "fail", "not judged"]
    assert rows[2].details == ("dropout: 0 layers (required: at most 10)", "not checked: test accuracy")
    assert summary_line(rows) == "5 submissions: 1 passes, 2 fail, 1 open, 1 not judged"
