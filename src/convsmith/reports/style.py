"""The style of all charts, and figures as PNG files or SVG.

The colours are the Okabe-Ito palette, which is distinguishable with any kind of colour vision. Correct and
wrong predictions also differ by a mark.
"""

import base64
import io
import re
import warnings
from dataclasses import dataclass
from html import escape
from importlib import resources
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
# White becomes dark in the dark scheme, as bars become light; fields are bars below a diagram.
WHITE, FIELD = "#ffffff", "#bfd9ea"
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
# SVG uses the colour variables of colours.css, which change with the colour scheme.
_VARIABLES = {
    INK: "--ink", SOFT: "--soft", GREY: "--grey", FRAME: "--frame", RULE: "--rule",
    BLUE: "--blue", ORANGE: "--orange", GREEN: "--green",
    WHITE: "--on-bar", FIELD: "--field", SKY: "--sky", PURPLE: "--purple", AMBER: "--amber",
}  # fmt: skip
LONGEST_NAME = 16
DPI = 150
# Pixels of a point in SVG files: two charts fit side by side into a README on GitHub.
PIXELS = 1.24
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
    """A drawing as SVG: its size in points, and its elements.

    Colours and fonts are those of colours.css, which follows the colour scheme. Each is declared a second
    time as a constant, for programs that do not know variables.
    """

    width: float
    height: float
    body: str

    def inline(self) -> str:
        """Return an SVG element for a page, which has the colours and a description."""
        return f'<svg {self._box} role="img" aria-hidden="true">{self.body}</svg>'

    def file(self, title: str) -> str:
        """Return the text of an SVG file with this description, on paper of its own."""
        size = f'width="{self.width * PIXELS:.0f}" height="{self.height * PIXELS:.0f}"'
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        colours = (resources.files("convsmith.reports") / "templates" / "colours.css").read_text("utf-8")
        # A notebook may put the file into its own page, whose scheme is its own.
        colours = re.sub(r"color-scheme: (light|dark);", "", colours)
        return (
            f'<svg {spaces} {size} {self._box} role="img">\n<title>{xml(title)}</title>\n'
            f"<style>{colours}* {{ stroke-linejoin: round; }}</style>\n"
            '<rect width="100%" height="100%" style="fill: #ffffff; fill: var(--paper)"/>\n'
            f"{self.body}</svg>\n"
        )

    @property
    def _box(self) -> str:
        return f'viewBox="0 0 {self.width:g} {self.height:g}"'


def draw(figure: Figure) -> Drawing:
    """Draw a figure without its background."""
    content = io.StringIO()
    with warnings.catch_warnings(), rc_context(STYLE):
        # The browser has fonts for the characters that are missing here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for each in (figure.patch, *(ax.patch for ax in figure.axes)):
            each.set_facecolor("none")
        # Not `savefig`, which draws everything a first time for the layout alone.
        FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
            content, metadata={"Date": None, "Creator": None}
        )
    text = content.getvalue()
    text = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style .*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    width, height = (72 * float(side) for side in figure.get_size_inches())
    return Drawing(width=width, height=height, body=themed(text))


def themed(body: str) -> str:
    """Declare the colours and the font of SVG elements as variables too, after the constants.

    Example:
        >>> themed('<path style="fill: #1f2430"/>')
        '<path style="fill: #1f2430; fill: var(--ink)"/>'
    """

    def both(match: re.Match[str]) -> str:
        variable = _VARIABLES.get(match[2])
        return f"{match[0]}; {match[1]}: var({variable})" if variable else match[0]

    body = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", both, body)
    body = re.sub(r"(font|font-family): ([^;\"]*?)'DejaVu Sans'", r"\g<0>; \1: \2var(--font)", body)
    return re.sub(r"\s*\n\s*", "\n", _NOT_XML.sub("\ufffd", body))


def fixed(colour: str) -> str:
    """Return a colour that is the same in both colour schemes: its blue differs by one level of 255.

    Example:
        >>> fixed("#0072b2"), fixed("#ffffff")
        ('#0072b3', '#fffffe')
    """
    blue = int(colour[5:], 16)
    return f"{colour[:5]}{blue + 1 if blue < 255 else 254:02x}"


def xml(text: str) -> str:
    """Escape text for SVG; characters that XML excludes are replaced.

    Example:
        >>> xml("a < b")
        'a &lt; b'
    """
    return escape(_NOT_XML.sub("\ufffd", text))


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG file atomically."""
    fonts.set_fonts(figure)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings(), rc_context(STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.draw()  # type: ignore[no-untyped-call]
    rgba: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    content = io.BytesIO()
    Image.fromarray(rgba[..., :3].copy()).save(content, "PNG")
    files.write_bytes(path, content.getvalue())
    return path


def isolated(name: str) -> str:
    """Mark a name as text with a direction of its own, so that numbers after it stay after it."""
    return f"\u2068{name}\u2069"


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
