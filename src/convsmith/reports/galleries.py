"""Galleries of small images as matplotlib figures.

Images are upscaled to nearest, never blurred. All images are put into one array of pixels: an image of
matplotlib for each would dominate the time of a report.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convsmith.reports.style import BLUE, DPI, FRAME, INK, ORANGE, STYLE, heading_height, heading_text, short

# Inches: side of a cell, gap between cells, height of a caption line.
CELL, GAP, LINE = 1.3, 0.2, 0.17


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One image `(H, W, C)` uint8 of a gallery with its caption; `correct` is None without a prediction."""

    image: NDArray[np.uint8]
    caption: str = ""
    correct: bool | None = None


def gallery(
    tiles: Sequence[Tile | None], title: str, subtitle: str = "", *, columns: int = 6, cell: float = CELL
) -> Figure:
    """Draw images under their captions; None leaves a cell empty."""
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
        paper = np.full((round(height * DPI), round(width * DPI), 3), 255, dtype=np.uint8)
        for number, tile in enumerate(tiles):
            if tile is None:
                continue
            row, column = divmod(number, columns)
            place = (GAP + column * (cell + GAP), top + row * pitch + LINE * lines)
            _draw_tile(paper, tile, place, cell)
            _caption(ax, tile, place, cell)
        ax.imshow(paper, extent=(0, width, height, 0), aspect="auto", interpolation="nearest")
        heading_text(figure, title, subtitle)
    return figure


def augmented(
    originals: NDArray[np.uint8],
    versions: NDArray[np.uint8],
    names: Sequence[str],
    title: str,
    subtitle: str,
) -> Figure:
    """Draw one row per image: the original, then augmented versions.

    Args:
        originals: `(N, H, W, C)` uint8.
        versions: `(N, K, H, W, C)` uint8, K augmented versions of each image.
        names: The class of each image.
        title: Heading of the figure.
        subtitle: Line under the heading.
    """
    tiles: list[Tile | None] = []
    for number, (original, augmented_images, name) in enumerate(zip(originals, versions, names, strict=True)):
        caption = f"original\n{short(name)}" if number == 0 else short(name)
        tiles += [Tile(image=original, caption=caption), *(Tile(image=each) for each in augmented_images)]
    return gallery(tiles, title, subtitle, columns=versions.shape[1] + 1, cell=1.1)


def _draw_tile(paper: NDArray[np.uint8], tile: Tile, place: tuple[float, float], cell: float) -> None:
    """Put an image with its frame on the paper, centred in the cell whose upper left corner is `place`."""
    height, width = tile.image.shape[:2]
    scale = cell * DPI / max(height, width)
    rows, columns = (max(round(side * scale), 1) for side in (height, width))
    top, left = (
        round(start * DPI + (cell * DPI - size) / 2)
        for start, size in zip((place[1], place[0]), (rows, columns), strict=True)
    )
    line = 2 if tile.correct is None else 4
    frame = paper[top - line : top + rows + line, left - line : left + columns + line]
    frame[:] = np.rint(255 * np.array(to_rgb(_colour(tile)))).astype(np.uint8)
    image = tile.image[np.arange(rows) * height // rows][:, np.arange(columns) * width // columns]
    paper[top : top + rows, left : left + columns] = image


def _caption(ax: Axes, tile: Tile, place: tuple[float, float], cell: float) -> None:
    mark = {None: "", True: "✓ ", False: "✗ "}[tile.correct]
    if tile.caption:
        ax.text(
            place[0] + cell / 2,
            place[1] - 0.05,
            mark + tile.caption,
            fontsize=9,
            ha="center",
            va="bottom",
            color=INK if tile.correct is None else _colour(tile),
            parse_math=False,
        )


def _colour(tile: Tile) -> str:
    return {None: FRAME, True: BLUE, False: ORANGE}[tile.correct]
