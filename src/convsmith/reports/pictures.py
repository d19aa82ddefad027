"""Small images as matplotlib figures: galleries under captions, originals beside what became of them.

Images are enlarged by whole pixels, never blurred.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convsmith.reports.style import BLUE, FRAME, INK, ORANGE, STYLE, heading, short


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One image `(H, W, C)` uint8 of a gallery, with its caption and, where it was judged, the verdict."""

    image: NDArray[np.uint8]
    caption: str = ""
    right: bool | None = None


def gallery(tiles: Sequence[Tile], title: str, subtitle: str = "", *, columns: int = 6) -> Figure:
    """Images side by side under their captions."""
    rows = max(1, -(-len(tiles) // columns))
    lines = max((tile.caption.count("\n") + 1 for tile in tiles if tile.caption), default=0)
    cell = 1.3
    height = rows * (cell + 0.17 * lines) + 0.7
    with rc_context(STYLE):
        figure = Figure(figsize=(columns * (cell + 0.2) + 0.2, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat:
            ax.axis("off")
        for ax, tile in zip(axes.flat, tiles, strict=False):
            _draw_tile(ax, tile)
        heading(figure, title, subtitle)
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
    rows, columns = versions.shape[:2]
    with rc_context(STYLE):
        figure = Figure(figsize=((columns + 1) * 1.2 + 0.2, rows * 1.42 + 0.9), layout="constrained")
        axes = figure.subplots(rows, columns + 1, squeeze=False)
        for row in range(rows):
            _draw_tile(axes[row, 0], Tile(image=originals[row], caption=short(names[row])))
            for column in range(columns):
                _draw_tile(axes[row, column + 1], Tile(image=versions[row, column]))
        axes[0, 0].set_title(f"original\n{short(names[0])}", fontsize=9, parse_math=False)
        heading(figure, title, subtitle)
    return figure


def _draw_tile(ax: Axes, tile: Tile) -> None:
    grey = tile.image.shape[-1] == 1
    image = tile.image[..., 0] if grey else tile.image
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.axis("on")
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    colour = {None: FRAME, True: BLUE, False: ORANGE}[tile.right]
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=0.8 if tile.right is None else 2.0)
    mark = {None: "", True: "✓ ", False: "✗ "}[tile.right]
    if tile.caption:
        ax.set_title(
            mark + tile.caption,
            fontsize=9,
            color=INK if tile.right is None else colour,
            parse_math=False,
        )
