"""Names in any script: fonts and substitutes in pictures, the names themselves on the page."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from convsmith.evaluation.schema import ClassMetrics
from convsmith.reports import charts, fonts
from convsmith.reports.galleries import Tile, gallery
from convsmith.reports.style import draw, pixels

# Chinese, Japanese, Korean, Hebrew, Arabic, Hindi, Thai.
NAMES = ("猫", "いぬ", "고양이", "חתול", "قط", "बिल्ली", "แมว")


@pytest.fixture
def no_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only DejaVu Sans, which matplotlib brings, whatever this machine has."""
    monkeypatch.setattr(fonts, "_regular_fonts", lambda: ())


def texts_of(figure: Figure) -> list[str]:
    return [each.get_text() for each in figure.findobj(lambda each: isinstance(each, Text))]  # type: ignore[attr-defined]


def class_chart(names: tuple[str, ...]) -> charts.Draw:
    classes = [ClassMetrics(name=name, correct=3, total=4, predicted=3) for name in names]
    return charts.class_accuracy(classes, 0.75)


def test_a_font_is_found_for_characters_that_the_first_lacks() -> None:
    # STIX, which matplotlib brings, has this letter; DejaVu Sans lacks it.
    letter = "ᶁ"
    assert not fonts.fallback_fonts("plain")
    families = fonts.fallback_fonts(f"a{letter}")
    assert families
    assert fonts.is_drawable(letter)
    figure = charts.one(class_chart((letter, "cat")))
    fonts.set_fonts(figure)
    with_letter = [each for each in figure.findobj(Text) if letter in str(each)]
    assert with_letter
    for each in with_letter:
        assert isinstance(each, Text)
        assert each.get_fontfamily() == [fonts.FAMILY, *families]


@pytest.mark.usefixtures("no_other_fonts")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_without_a_font_is_the_number_of_its_class(name: str) -> None:
    # DejaVu Sans has Hebrew and Arabic letters.
    drawn_here = fonts._SHAPES_TEXT and name in {"חתול", "قط"}
    labels = fonts.class_labels(["cat", name])
    assert labels == ({} if drawn_here else {name: "class 1"})
    chart = draw(charts.one(class_chart(("cat", name))), labels)
    assert name in chart.svg
    tiles = [Tile(image=np.zeros((8, 8, 1), np.uint8), caption=f"cat (97%)\ntrue: {name}", correct=False)]
    for figure in (charts.one(class_chart(("cat", name))), gallery(tiles, "Mistakes")):
        pixels(figure, labels)
        texts = texts_of(figure)
        assert all(map(fonts.is_drawable, texts))
        assert any((name if drawn_here else "class 1") in text for text in texts)


@pytest.mark.usefixtures("no_other_fonts")
@pytest.mark.parametrize("name", ["חתול", "قط"])
def test_matplotlib_without_libraqm_cannot_write_from_right_to_left(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_SHAPES_TEXT", False)
    assert fonts.class_labels([name, "cat"]) == {name: "class 0"}


def test_a_name_within_another_one() -> None:
    assert fonts._replaced("true: ab, predicted: a", {"a": "class 0", "ab": "class 1"}).startswith(
        "true: class 1"
    )
