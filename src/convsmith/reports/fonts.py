"""Fonts for names in any script.

The page leaves text to the fonts of the browser. A picture has the glyphs of DejaVu Sans and of the installed
fonts; a class whose name no font can draw is written as its number there.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from matplotlib import ft2font
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from matplotlib.text import Text

FAMILY = "DejaVu Sans"
# Since matplotlib 3.11, which brings libraqm, text is shaped and runs in both directions.
_SHAPES_TEXT = hasattr(ft2font, "__libraqm_version__")


def fallback_fonts(text: str) -> tuple[str, ...]:
    """Return installed fonts that together have the characters that DejaVu Sans lacks, if there are any.

    Example:
        >>> fallback_fonts("cat, Κύκνος, лебедь")
        ()
    """
    missing = {char for char in text if char not in _characters(FAMILY) and char != "\n"}
    families: list[str] = []
    while missing:
        best = max(_regular_fonts(), key=lambda name: len(missing & _characters(name)), default=None)
        if best is None or not missing & _characters(best):
            break
        families.append(best)
        missing -= _characters(best)
    return tuple(families)


def is_drawable(text: str) -> bool:
    r"""Whether the installed fonts have every character, and matplotlib can arrange them.

    Example:
        >>> is_drawable("cat"), is_drawable("\U0010fffd")
        (True, False)
    """
    if not _SHAPES_TEXT and any(map(_needs_shaping, text)):
        return False
    drawn = _characters(FAMILY).union(*map(_characters, fallback_fonts(text)))
    return drawn.issuperset(text.replace("\n", ""))


def class_labels(names: Sequence[str]) -> dict[str, str]:
    r"""Return the names that cannot be drawn, with the number of the class as their substitute.

    Example:
        >>> class_labels(["cat", "\U0010fffd"])
        {'\U0010fffd': 'class 1'}
    """
    return {name: f"class {number}" for number, name in enumerate(names) if not is_drawable(name)}


def set_fonts(figure: Figure) -> None:
    """Give each text of a figure the fonts that its characters need."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if families := fallback_fonts(text.get_text()):
            text.set_fontfamily([FAMILY, *families])


def substitute(figure: Figure, substitutes: dict[str, str]) -> None:
    """Replace names in all texts of a figure, tick labels included."""
    if not substitutes:
        return
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            labels = [_replaced(label.get_text(), substitutes) for label in axis.get_ticklabels()]
            if labels != [label.get_text() for label in axis.get_ticklabels()]:
                axis.set_ticks(axis.get_ticklocs(), labels, parse_math=False)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(_replaced(text.get_text(), substitutes))


def _replaced(text: str, substitutes: dict[str, str]) -> str:
    # The longest first: a name may be part of another.
    names = sorted(substitutes, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, names)), lambda match: substitutes[match[0]], text)


def _needs_shaping(char: str) -> bool:
    return unicodedata.bidirectional(char) in {"R", "AL"} or unicodedata.category(char).startswith("M")


@cache
def _regular_fonts() -> tuple[str, ...]:
    """Return the families of the installed regular fonts, those without serifs first."""
    fonts = {
        each.name for each in fontManager.ttflist if each.style == "normal" and each.weight in {400, "normal"}
    }
    return tuple(sorted(fonts, key=lambda name: ("Sans" not in name, name)))


@cache
def _characters(family: str) -> frozenset[str]:
    try:
        font = ft2font.FT2Font(findfont(family, fallback_to_default=False))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    # Fonts of coloured bitmaps cannot be scaled.
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
