"""A picture of a net: what becomes of an image, layer by layer."""

from matplotlib.axes import Axes

from convsmith.arch.facts import Analysis, Row
from convsmith.reports.charts import Draw
from convsmith.reports.style import BLUE, GREEN, GREY, INK, ORANGE, SOFT, short

# Deeper nets show their first and last layers.
MOST_LAYERS = 60
_POOLS = {"MaxPool2d", "AvgPool2d", "GlobalAvgPool2d", "PixelUnshuffle"}


def architecture(analysis: Analysis) -> Draw:
    """Each layer as a bar as wide as its map's side, with its output and what it learns.

    Args:
        analysis: The numbers of a net.
    """
    rows = shown_rows(analysis)
    left_out = len(_layers(analysis)) - len(rows)
    counted = f"output; parameters ({left_out} layers left out)" if left_out else "output; parameters"

    def draw(ax: Axes) -> None:
        widths = [_side(row.out_shape) for row in rows]
        widest = max(widths)
        for place, (row, width) in enumerate(zip(rows, widths, strict=True)):
            ax.barh(place, width / widest, left=-width / widest / 2, height=0.66, color=_colour(row))
            ax.text(-0.56, place, short(row.layer), ha="right", va="center", fontsize=8, parse_math=False)
            ax.text(0.56, place, _told(row), ha="left", va="center", fontsize=8, color=INK)
        ax.set(xlim=(-1.15, 1.85), ylim=(len(rows) + 0.5, -1.4))
        ax.axis("off")
        for x, text, side in ((-0.56, "layer", "right"), (0.56, counted, "left")):
            ax.text(x, -1, text, ha=side, va="center", fontsize=8, color=SOFT)
        kinds = (("convolution", BLUE), ("depthwise", GREEN), ("pooling", GREY), ("fully connected", ORANGE))
        used = {_colour(row) for row in rows}
        legend = [(text, colour) for text, colour in kinds if colour in used]
        for number, (text, colour) in enumerate(legend):
            ax.text(-1.1 + 0.7 * number, len(rows), text, color=colour, fontsize=8, va="center")

    return draw


def architecture_height(analysis: Analysis) -> float:
    """How high the picture is to be, in inches."""
    return 0.7 + 0.21 * len(shown_rows(analysis))


def shown_rows(analysis: Analysis) -> list[Row]:
    """The layers that the picture shows: those with weights, and those that pool."""
    rows = _layers(analysis)
    half = MOST_LAYERS // 2
    return rows if len(rows) <= MOST_LAYERS else [*rows[:half], *rows[-half:]]


def _layers(analysis: Analysis) -> list[Row]:
    return [row for row in analysis.rows if row.macs or row.operation in _POOLS]


def _side(shape: tuple[int, ...]) -> float:
    """A map's longer side; flat values are as narrow as a map of one pixel."""
    return float(max(shape[1:], default=1))


def _colour(row: Row) -> str:
    if row.operation == "Linear":
        return ORANGE
    if row.operation in _POOLS:
        return GREY
    return GREEN if row.groups == row.in_shape[0] > 1 else BLUE


def _told(row: Row) -> str:
    shape = " x ".join(map(str, row.out_shape))
    return f"{shape}; {row.parameters:,}" if row.parameters else shape
