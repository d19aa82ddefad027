"""Small images as matplotlib figures: galleries under captions, originals beside what became of them.

Images are enlarged, never blurred. They share one pair of axes, in inches: as many axes as images would take
most of the time of a report.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from convsmith.reports.style import BLUE, FRAME, INK, ORANGE, STYLE, heading_height, heading_text, short

# Inches: a cell's side, the gap beside it and under it, a line of its caption.
CELL, GAP, LINE = 1.3, 0.2, 0.17


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One image `(H, W, C)` uint8 of a gallery, with its caption and, where it was judged, the verdict."""

    image: NDArray[np.uint8]
    caption: str = ""
    right: bool | None = None


def gallery(
    tiles: Sequence[Tile | None], title: str, subtitle: str = "", *, columns: int = 6, cell: float = CELL
) -> Figure:
    """Images side by side under their captions; a None leaves its cell empty."""
    rows = max(1, -(-len(tiles) // columns))
    lines = max((tile.caption.count("\n") + 1 for tile in tiles if tile and tile.caption), default=0)
    pitch = cell + LINE * lines + 0.12
    top = heading_height(subtitle) + 0.05
    width, height = columns * (cell + GAP) + GAP, top + rows * pitch + 0.1
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        ax = figure.add_axes((0, 0, 1, 1))
        ax.axis("off")
        ax.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
        for number, tile in enumerate(tiles):
            if tile is None:
                continue
            row, column = divmod(number, columns)
            place = (GAP + column * (cell + GAP), top + row * pitch + LINE * lines)
            _draw_tile(ax, tile, place, cell)
        heading_text(figure, title, subtitle)
    return figure


def augmented(
    originals: NDArray[np.uint8],
    versions: NDArray[np.uint8],
    names: Sequence[str],
    title: str,
    subtitle: str,
) -> Figure:
    """A row an image: as it is, then as the net sees it in training.

    Args:
        originals: `(N, H, W, C)` uint8.
        versions: `(N, K, H, W, C)` uint8, K changed copies of each.
        names: The class of each.
        title: What the picture shows.
        subtitle: How it was made.
    """
    tiles: list[Tile | None] = []
    for number, (original, changed, name) in enumerate(zip(originals, versions, names, strict=True)):
        caption = f"original\n{short(name)}" if number == 0 else short(name)
        tiles += [Tile(image=original, caption=caption), *(Tile(image=each) for each in changed)]
    return gallery(tiles, title, subtitle, columns=versions.shape[1] + 1, cell=1.1)


def _draw_tile(ax: Axes, tile: Tile, place: tuple[float, float], cell: float) -> None:
    """An image in the middle of its cell, whose upper left corner is at `place`, its caption above."""
    height, width = tile.image.shape[:2]
    share = cell / max(height, width)
    left, top = place[0] + (cell - width * share) / 2, place[1] + (cell - height * share) / 2
    right, bottom = left + width * share, top + height * share
    image = tile.image[..., 0] if tile.image.shape[-1] == 1 else tile.image
    ax.imshow(
        image,
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="nearest",
        extent=(left, right, bottom, top),
        aspect="auto",
    )
    colour = {None: FRAME, True: BLUE, False: ORANGE}[tile.right]
    line = 0.8 if tile.right is None else 2.0
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=line))
    mark = {None: "", True: "✓ ", False: "✗ "}[tile.right]
    if tile.caption:
        ax.text(
            place[0] + cell / 2,
            place[1] - 0.05,
            mark + tile.caption,
            fontsize=9,
            ha="center",
            va="bottom",
            color=INK if tile.right is None else colour,
            parse_math=False,
        )
