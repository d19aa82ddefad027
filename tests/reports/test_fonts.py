"""Names in any script: fonts for PNG files; SVG has the names as text."""

from matplotlib.text import Text

from convsmith.evaluation.schema import ClassMetrics
from convsmith.reports import charts, fonts


def test_a_font_is_found_for_characters_that_the_first_lacks() -> None:
    # STIX, which matplotlib brings, has this letter; DejaVu Sans lacks it.
    letter = "ᶁ"
    assert not fonts.fallback_fonts("plain")
    families = fonts.fallback_fonts(f"a{letter}")
    assert families
    classes = [ClassMetrics(name=name, correct=3, total=4, predicted=3) for name in (letter, "cat")]
    figure = charts.one(charts.class_accuracy(classes, 0.75))
    fonts.set_fonts(figure)
    with_letter = [each for each in figure.findobj(Text) if letter in str(each)]
    assert with_letter
    for each in with_letter:
        assert isinstance(each, Text)
        assert each.get_fontfamily() == [fonts.FAMILY, *families]


def test_characters_that_no_font_has() -> None:
    assert fonts.fallback_fonts("\U0010fffd") == ()
