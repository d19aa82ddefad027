"""Fonts for names in any script.

SVG leaves text to the fonts of the browser. A PNG file has the glyphs of DejaVu Sans and of the installed
fonts.
"""

from functools import cache

from matplotlib import ft2font
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from matplotlib.text import Text

FAMILY = "DejaVu Sans"


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


def set_fonts(figure: Figure) -> None:
    """Give each text of a figure the fonts that its characters need."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if families := fallback_fonts(text.get_text()):
            text.set_fontfamily([FAMILY, *families])


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
