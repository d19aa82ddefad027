"""Draw docs/images/kinds.png, a picture of each kind of layer: `python docs/draw_kinds.py`."""

from collections.abc import Callable, Iterable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

SIZE, GAP = 5, 1
MIDDLE = 8.5
INPUT, OUTPUT, SECOND, FOURTH = "#0072b2", "#d55e00", "#e69f00", "#009e73"
PLAIN, LINE = "#f4f6f8", "#b8c0c8"

Cells = Iterable[tuple[int, int]]


def window(top: int, left: int, kernel: int = 3, dilation: int = 1) -> list[tuple[int, int]]:
    span = range(0, kernel * dilation, dilation)
    return [(top + row, left + column) for row in span for column in span]


def maps(axes: Axes, x: float, size: int, channels: dict[int, dict[str, Cells]], *, count: int = 3) -> None:
    """Draw channels below one another, centred vertically; cells in colours."""
    height = count * (size + GAP) - GAP
    for channel in range(count):
        left, top = x, MIDDLE - height / 2 + channel * (size + GAP)
        colours = {cell: colour for colour, cells in channels.get(channel, {}).items() for cell in cells}
        for row in range(size):
            for column in range(size):
                axes.add_patch(
                    Rectangle(
                        (left + column, top + row),
                        1,
                        1,
                        facecolor=colours.get((row, column), PLAIN),
                        edgecolor=LINE,
                        linewidth=0.5,
                    )
                )


def arrow(axes: Axes, start: float, end: float) -> None:
    axes.add_patch(
        FancyArrowPatch(
            (start, MIDDLE), (end, MIDDLE), arrowstyle="-|>", mutation_scale=9, color="#505a64", linewidth=1
        )
    )


def everywhere(cells: Cells) -> dict[int, dict[str, Cells]]:
    return {channel: {INPUT: cells} for channel in range(3)}


def convolution(axes: Axes) -> None:
    maps(axes, 0, SIZE, everywhere(window(1, 1)))
    arrow(axes, 5.6, 8.4)
    maps(axes, 9, SIZE, {0: {OUTPUT: [(2, 2)]}})


def depthwise(axes: Axes) -> None:
    maps(axes, 0, SIZE, {0: {INPUT: window(1, 1)}})
    arrow(axes, 5.6, 8.4)
    maps(axes, 9, SIZE, {0: {OUTPUT: [(2, 2)]}})


def pointwise(axes: Axes) -> None:
    maps(axes, 0, SIZE, everywhere([(2, 2)]))
    arrow(axes, 5.6, 8.4)
    maps(axes, 9, SIZE, {0: {OUTPUT: [(2, 2)]}})


def separable(axes: Axes) -> None:
    maps(axes, 0, SIZE, everywhere(window(1, 1)))
    arrow(axes, 5.6, 8.4)
    maps(axes, 9, SIZE, {channel: {SECOND: [(2, 2)]} for channel in range(3)})
    arrow(axes, 14.6, 17.4)
    maps(axes, 18, SIZE, {0: {OUTPUT: [(2, 2)]}})


def pool(axes: Axes) -> None:
    maps(axes, 0, SIZE, {0: {INPUT: window(2, 2, 2)}})
    arrow(axes, 5.6, 8.4)
    maps(axes, 9, 2, {0: {OUTPUT: [(1, 1)]}})


def global_pool(axes: Axes) -> None:
    maps(axes, 0, SIZE, {0: {INPUT: window(0, 0, SIZE)}})
    arrow(axes, 5.6, 8.4)
    maps(axes, 9, 1, {0: {OUTPUT: [(0, 0)]}})


def fully_connected(axes: Axes) -> None:
    maps(axes, 0, SIZE, everywhere(window(0, 0, SIZE)))
    arrow(axes, 5.6, 8.4)
    maps(axes, 9, 1, {2: {OUTPUT: [(0, 0)]}}, count=6)


def space_to_depth(axes: Axes) -> None:
    colours = (INPUT, SECOND, OUTPUT, FOURTH)
    places = ((2, 2), (2, 3), (3, 2), (3, 3))
    pixels = {colour: [place] for colour, place in zip(colours, places, strict=True)}
    maps(axes, 0, 6, {0: pixels}, count=1)
    arrow(axes, 6.6, 9.4)
    maps(axes, 10, 3, {channel: {colour: [(1, 1)]} for channel, colour in enumerate(colours)}, count=4)


def dilated(axes: Axes) -> None:
    maps(axes, 0, SIZE, everywhere(window(0, 0, 3, 2)))
    arrow(axes, 5.6, 8.4)
    maps(axes, 9, SIZE, {0: {OUTPUT: [(2, 2)]}})


def strided(axes: Axes) -> None:
    left, right = set(window(1, 0)), set(window(1, 2))
    maps(axes, 0, SIZE, {channel: {INPUT: left, SECOND: right} for channel in range(3)})
    arrow(axes, 5.6, 8.4)
    maps(axes, 9, 3, {0: {INPUT: [(1, 0)], SECOND: [(1, 1)]}})


def grouped(axes: Axes) -> None:
    colours = (INPUT, INPUT, SECOND, SECOND)
    maps(axes, 0, 3, {channel: {colour: window(0, 0)} for channel, colour in enumerate(colours)}, count=4)
    arrow(axes, 3.6, 8.4)
    maps(axes, 9, 3, {channel: {colour: [(1, 1)]} for channel, colour in enumerate(colours)}, count=4)


def residual(axes: Axes) -> None:
    for x, text, colour in ((0, "input", PLAIN), (6, "C16", INPUT), (12, "C16", INPUT), (18, "sum", OUTPUT)):
        axes.add_patch(Rectangle((x, MIDDLE - 1.5), 3.6, 3, facecolor=colour, edgecolor=LINE, linewidth=0.8))
        light = "#202830" if colour == PLAIN else "white"
        axes.text(x + 1.8, MIDDLE, text, ha="center", va="center", fontsize=8, color=light)
    for start, end in ((3.6, 6), (9.6, 12), (15.6, 18)):
        arrow(axes, start, end)
    axes.add_patch(
        FancyArrowPatch(
            (1.8, MIDDLE - 1.5),
            (19.8, MIDDLE - 1.5),
            connectionstyle="arc3,rad=-0.3",
            arrowstyle="-|>",
            mutation_scale=9,
            color="#505a64",
            linewidth=1,
        )
    )


PANELS: tuple[tuple[str, str, Callable[[Axes], None]], ...] = (
    ("C32", "convolution: a window over all channels", convolution),
    ("D", "depthwise: a window over one channel", depthwise),
    ("P32", "pointwise: one place over all channels", pointwise),
    ("S32", "depthwise-separable: depthwise, then pointwise", separable),
    ("M2, A2", "max or average of a window in a channel", pool),
    ("G", "global average of each channel", global_pool),
    ("F10", "fully connected: every value of every channel", fully_connected),
    ("U2", "space-to-depth: 2x2 pixels become 4 channels", space_to_depth),
    ("C32:d2", "dilation 2: every second pixel", dilated),
    ("C32:s2", "stride 2: windows two pixels apart", strided),
    ("C32:g2", "2 groups: each has its own channels", grouped),
    ("+(C16 C16)", "residual: the input is added", residual),
)


def main() -> None:
    figure = Figure(figsize=(10.5, 8.4), facecolor="white")
    for index, (notation, meaning, draw) in enumerate(PANELS):
        axes = figure.add_subplot(3, 4, index + 1)
        draw(axes)
        axes.set_title(notation, loc="left", fontsize=11, fontweight="bold", family="monospace", pad=14)
        axes.text(0, 1.03, meaning, transform=axes.transAxes, fontsize=7.5, color="#505a64")
        axes.set_xlim(-0.5, 24)
        axes.set_ylim(18, -1)
        axes.set_aspect("equal")
        axes.axis("off")
    figure.subplots_adjust(left=0.02, right=0.99, top=0.93, bottom=0.01, wspace=0.05, hspace=0.2)
    figure.savefig(Path(__file__).parent / "images" / "kinds.png", dpi=110)


if __name__ == "__main__":
    main()
