"""The style of all charts, and figures as PNG files or inline SVG.

The colours are the Okabe-Ito palette, which is distinguishable with any kind of colour vision. Correct and
wrong predictions also differ by a mark.
"""

import base64
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from convsmith.reports import fonts
from convsmith.system import files
from convsmith.text import one_line

BLUE, ORANGE, GREEN, GREY, INK = "#0072b2", "#d55e00", "#009e73", "#8a8f98", "#1f2430"
# The rest of the palette, for the lines of compared runs.
SKY, PURPLE, AMBER = "#56b4e9", "#cc79a7", "#e69f00"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, INK, GREY)
FRAME, RULE, SOFT = "#c5c9d0", "#e8eaee", "#5a606b"
STYLE: Any = {
    "font.family": fonts.FAMILY,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FRAME,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "lines.linewidth": 2.0,
    # Keep text as text, and make the ids of equal figures equal.
    "svg.fonttype": "none",
    "svg.hashsalt": "convsmith",
}
# Inline SVG uses the colour variables of the page, which change with its colour scheme.
_VARIABLES = {
    INK: "--ink", SOFT: "--soft", GREY: "--grey", FRAME: "--frame", RULE: "--rule",
    BLUE: "--blue", ORANGE: "--orange", GREEN: "--green",
    "#ffffff": "--on-bar", SKY: "--sky", PURPLE: "--purple", AMBER: "--amber",
}  # fmt: skip
LONGEST_NAME = 16
DPI = 150


def add_heading(figure: Figure, title: str, subtitle: str) -> None:
    """Add a bold heading and a grey subtitle at the left; the axes use the space below."""
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine), "the figure needs a constrained layout"
    engine.set(rect=(0, 0, 1, 1 - heading_height(subtitle) / figure.get_figheight()))
    heading_text(figure, title, subtitle)


def heading_height(subtitle: str) -> float:
    """Height of a heading in inches."""
    return 0.62 if subtitle else 0.38


def heading_text(figure: Figure, title: str, subtitle: str) -> None:
    """Draw the text of a heading without moving the axes."""
    width, height = figure.get_size_inches()
    left = 0.1 / width
    figure.text(left, 1 - 0.08 / height, title, va="top", fontsize=13, weight="bold", parse_math=False)
    figure.text(left, 1 - 0.36 / height, subtitle, va="top", fontsize=9.5, color=SOFT, parse_math=False)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A chart that was drawn once: inline SVG, and pixels `(H, W, 3)` uint8."""

    svg: str
    pixels: NDArray[np.uint8]


def draw(figure: Figure, substitutes: dict[str, str]) -> Drawing:
    """Draw a chart for the page and for a picture; its layout is computed once.

    Args:
        figure: The chart.
        substitutes: Names that no font can draw, with what the pixels have in their place.
    """
    text = svg(figure)
    figure.set_layout_engine("none")
    return Drawing(svg=text, pixels=pixels(figure, substitutes))


def pixels(figure: Figure, substitutes: dict[str, str]) -> NDArray[np.uint8]:
    """Return the pixels `(H, W, 3)` of a figure."""
    fonts.substitute(figure, substitutes)
    fonts.set_fonts(figure)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings(), rc_context(STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.draw()  # type: ignore[no-untyped-call]
    rgba: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return rgba[..., :3].copy()


def side_by_side(parts: Sequence[NDArray[np.uint8]], columns: int = 2) -> NDArray[np.uint8]:
    """Join pictures on white paper, `columns` in a row.

    Example:
        >>> side_by_side([np.zeros((2, 3, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]).shape
        (4, 8, 3)
    """
    rows = [_joined(parts[start : start + columns], axis=1) for start in range(0, len(parts), columns)]
    return _joined(rows, axis=0)


def _joined(parts: Sequence[NDArray[np.uint8]], axis: int) -> NDArray[np.uint8]:
    across = max(part.shape[1 - axis] for part in parts)
    padded = []
    for part in parts:
        margin = [(0, 0), (0, 0), (0, 0)]
        margin[1 - axis] = (0, across - part.shape[1 - axis])
        padded.append(np.pad(part, margin, constant_values=255))
    return np.concatenate(padded, axis=axis)


def write_png(image: NDArray[np.uint8], path: Path) -> Path:
    """Write pixels `(H, W, 3)` as a PNG file atomically."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    files.write_bytes(path, content.getvalue())
    return path


def save(figure: Figure, path: Path, class_names: Sequence[str] = ()) -> Path:
    """Write a figure as a PNG file atomically; a class whose name has no glyphs is written as its number."""
    return write_png(pixels(figure, fonts.class_labels([short(name) for name in class_names])), path)


def svg(figure: Figure) -> str:
    """Return a figure as an inline SVG element without a background, in the colours of the page."""
    content = io.StringIO()
    backgrounds = [figure.patch, *(ax.patch for ax in figure.axes)]
    colours = [each.get_facecolor() for each in backgrounds]
    with warnings.catch_warnings(), rc_context(STYLE):
        # The browser has fonts for the characters that are missing here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for each in backgrounds:
            each.set_facecolor("none")
        # Not `savefig`, which draws everything a first time for the layout alone.
        FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
            content, metadata={"Date": None, "Creator": None}
        )
    for each, colour in zip(backgrounds, colours, strict=True):
        each.set_facecolor(colour)
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style .*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 role="img" aria-hidden="true">', text, count=1
    )
    text = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'", r"font: \1var(--font)", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return re.sub(r"\s*\n\s*", "\n", text)


def data_uri(content: bytes, kind: str) -> str:
    """Return an image as a data URI; `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def short(name: str) -> str:
    """Shorten a name to fit under a small image; names that differ only at the end stay distinct.

    >>> short("cifar10-sprint-120s"), short("frog")
    ('cifar10…int-120s', 'frog')
    """
    name = one_line(name)
    if len(name) <= LONGEST_NAME:
        return name
    end = LONGEST_NAME // 2
    return f"{name[: LONGEST_NAME - 1 - end]}…{name[-end:]}"
