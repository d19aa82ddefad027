"""Galleries of small images as SVG: each image is embedded once, and captions are text.

Images are upscaled to nearest, never blurred.
"""

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsmith.reports.sheets import embedded
from convsmith.reports.style import BLUE, FRAME, INK, ORANGE, SOFT, Drawing, short, themed, xml

# Points: width of a gallery, which fills a README on GitHub; gap between images; height of a caption line.
WIDTH, GAP, LINE = 672, 12, 12.5
_FONT = "'DejaVu Sans'"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One image `(H, W, C)` uint8 of a gallery with its caption; `correct` is None without a prediction."""

    image: NDArray[np.uint8]
    caption: str = ""
    correct: bool | None = None


def gallery(tiles: Sequence[Tile | None], title: str, subtitle: str = "", *, columns: int = 6) -> Drawing:
    """Draw images under their captions; None leaves a cell empty.

    Example:
        >>> tile = Tile(image=np.zeros((8, 8, 1), np.uint8), caption="seven (97%)", correct=True)
        >>> "✓ seven (97%)" in gallery([tile], "Predictions").body
        True
    """
    cell = (WIDTH - GAP) / columns - GAP
    lines = max((tile.caption.count("\n") + 1 for tile in tiles if tile and tile.caption), default=0)
    heading = list(_heading(title, subtitle))
    # Wide images have low cells.
    shapes = [tile.image.shape for tile in tiles if tile]
    tall = cell * min(max((height / width for height, width, _ in shapes), default=1.0), 1.0)
    top, pitch = 30 + 13 * (len(heading) - 1), tall + LINE * lines + GAP
    parts = heading
    for number, tile in enumerate(tiles):
        if tile is not None:
            row, column = divmod(number, columns)
            parts += _tile(tile, GAP + column * (cell + GAP), top + row * pitch + LINE * lines, (cell, tall))
    rows = max(1, -(-len(tiles) // columns))
    return Drawing(width=WIDTH, height=top + rows * pitch, body=themed("\n".join(parts)))


def augmented(
    originals: NDArray[np.uint8],
    versions: NDArray[np.uint8],
    names: Sequence[str],
    title: str,
    subtitle: str,
) -> Drawing:
    """Draw one row per image: the original, then augmented versions.

    Args:
        originals: `(N, H, W, C)` uint8.
        versions: `(N, K, H, W, C)` uint8, K augmented versions of each image.
        names: The class of each image.
        title: Heading of the drawing.
        subtitle: Lines under the heading.
    """
    tiles: list[Tile | None] = []
    for original, augmented_images, name in zip(originals, versions, names, strict=True):
        tiles += [Tile(image=original, caption=short(name)), *(Tile(image=each) for each in augmented_images)]
    return gallery(tiles, title, f"Left: the original images. {subtitle}", columns=versions.shape[1] + 1)


def _heading(title: str, subtitle: str) -> Iterator[str]:
    yield f'<text x="{GAP}" y="18" style="font: bold 13px {_FONT}; fill: {INK}">{xml(title)}</text>'
    for number, line in enumerate(textwrap.wrap(subtitle, 115)):
        y = 33 + 13 * number
        yield f'<text x="{GAP}" y="{y}" style="font: 9.5px {_FONT}; fill: {SOFT}">{xml(line)}</text>'


def _tile(tile: Tile, left: float, top: float, size: tuple[float, float]) -> Iterator[str]:
    """Draw an image with its frame, centred in a cell of this width and height, and its caption above it."""
    height, width = tile.image.shape[:2]
    cell, tall = size
    scale = min(cell / width, tall / height)
    x, y = left + (cell - width * scale) / 2, top + (tall - height * scale) / 2
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width * scale:.1f}" height="{height * scale:.1f}"'
    colour = {None: FRAME, True: BLUE, False: ORANGE}[tile.correct]
    line = 1 if tile.correct is None else 2
    yield f'<rect {place} style="fill: none; stroke: {colour}; stroke-width: {2 * line}px"/>'
    yield (
        f'<image {place} preserveAspectRatio="none" style="image-rendering: pixelated" '
        f'xlink:href="{embedded(tile.image)}"/>'
    )
    mark = {None: "", True: "✓ ", False: "✗ "}[tile.correct]
    texts = (mark + tile.caption).split("\n") if tile.caption else []
    for number, text in enumerate(texts):
        yield _caption(
            text,
            left + cell / 2,
            top - 5 - LINE * (len(texts) - 1 - number),
            cell,
            INK if tile.correct is None else colour,
        )


def _caption(text: str, x: float, y: float, cell: float, colour: str) -> str:
    """Draw a line of text, smaller if it is wider than its cell."""
    size = min(9.0, (cell + GAP - 4) / max(sum(map(_width, text)), 1.0))
    style = f"font: {size:.3g}px {_FONT}; fill: {colour}; text-anchor: middle"
    return f'<text x="{x:.1f}" y="{y:.1f}" style="{style}">{xml(text)}</text>'


def _width(char: str) -> float:
    """Return the width of a character in font sizes, rather too large."""
    if unicodedata.category(char) in {"Cf", "Mn"}:
        return 0.0
    if unicodedata.east_asian_width(char) in "WF" or char in "mwMW%@":
        return 1.05
    return 0.84 if char.isupper() or char in "+=<>~#&^✓✗" else 0.65
