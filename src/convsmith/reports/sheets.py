"""Sprite sheets: many small images in one embedded image of a page."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.reports.style import data_uri

Pixels = NDArray[np.uint8]
COLUMNS = 16
# A sheet with more bytes of pixels is JPEG-compressed; images with a longer side are downscaled first.
LOSSLESS_BYTES, LARGEST_SIDE = 1_500_000, 96
# The same for an image of a gallery.
LOSSLESS_IMAGE_BYTES, LARGEST_EMBEDDED = 15_000, 192
JPEG_QUALITY = 85


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A sprite sheet of `count` images in rows of `columns`; `aspect` is height / width of one image."""

    uri: str
    columns: int
    count: int
    aspect: float

    def place(self, number: int) -> tuple[int, int]:
        """Return the column and row of an image."""
        return number % self.columns, number // self.columns


def sheet(images: Sequence[Pixels], *, lossless: bool = True) -> Sheet:
    """Put images `(H, W, C)` of one size on a sheet; there must be at least one.

    Example:
        >>> example = sheet([np.zeros((8, 8, 1), np.uint8)] * 20)
        >>> example.count, example.place(17), example.uri[:22]
        (20, (1, 1), 'data:image/png;base64,')
    """
    images = [_downscaled(image, LARGEST_SIDE) for image in images]
    height, width, channels = images[0].shape
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    canvas = np.zeros((rows * height, columns * width, channels), dtype=np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    return Sheet(
        uri=_encode(canvas, lossless=lossless and canvas.nbytes <= LOSSLESS_BYTES),
        columns=columns,
        count=len(images),
        aspect=height / width,
    )


def embedded(image: Pixels) -> str:
    """Return one image `(H, W, C)` as a data URI; photographs are downscaled and compressed.

    Example:
        >>> embedded(np.zeros((8, 8, 1), np.uint8))[:22]
        'data:image/png;base64,'
    """
    image = _downscaled(image, LARGEST_EMBEDDED)
    return _encode(image, lossless=image.nbytes <= LOSSLESS_IMAGE_BYTES)


def overlaid(image: Pixels, heat: NDArray[np.float32], low: float, high: float) -> Pixels:
    """Blend a grey image with a heat map: dark at `low`, bright at `high`.

    Args:
        image: `(H, W, C)`.
        heat: `(h, w)`, resized to the image by bilinear interpolation.
        low: Value of the darkest colour.
        high: Value of the brightest colour.

    Returns:
        `(H', W', 3)`, upscaled by an integer factor to a side of at least 64 pixels.
    """
    large = enlarged(image)
    height, width = large.shape[:2]
    share = np.clip((heat - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    wide = np.asarray(Image.fromarray(share).resize((width, height), Image.Resampling.BILINEAR))
    colours = mpl.colormaps["inferno"](wide)[..., :3]
    grey = large.mean(axis=2, keepdims=True) / 255
    mixed: Pixels = np.rint(255 * (0.45 * grey + 0.55 * colours)).astype(np.uint8)
    return mixed


def map_tile(values: NDArray[np.float32], height: int, width: int) -> Pixels:
    """Colour a map `(h, w)` from its minimum (dark) to its maximum (bright), resized to nearest."""
    low, high = float(values.min()), float(values.max())
    share = ((values - low) / max(high - low, 1e-6)).astype(np.float32)
    large = np.asarray(Image.fromarray(share).resize((width, height), Image.Resampling.NEAREST))
    colours: Pixels = np.rint(255 * mpl.colormaps["inferno"](large)[..., :3]).astype(np.uint8)
    return colours


def enlarged(image: Pixels) -> Pixels:
    """Upscale an image by an integer factor to a side of at least 64 pixels."""
    factor = max(-(-64 // min(image.shape[:2])), 1)
    result: Pixels = image.repeat(factor, axis=0).repeat(factor, axis=1)
    return result


def filter_tiles(weights: NDArray[np.float32]) -> list[Pixels]:
    """Return the filters of a first layer `(out, in, k, k)` as images; 0 is middle grey.

    Filters over three channels are shown in colour, others as the mean over their input channels in grey.
    Each filter is scaled by its largest absolute value.
    """
    filters = weights if weights.shape[1] == 3 else weights.mean(1, keepdims=True)
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    pixels = np.rint(127.5 + 127.5 * filters / np.maximum(largest, 1e-12)).astype(np.uint8)
    return list(pixels.transpose(0, 2, 3, 1))


def _downscaled(image: Pixels, side: int) -> Pixels:
    height, width, channels = image.shape
    if max(height, width) <= side:
        return image
    share = side / max(height, width)
    size = (max(round(width * share), 1), max(round(height * share), 1))
    resized = Image.fromarray(image[..., 0] if channels == 1 else image).resize(size, Image.Resampling.BOX)
    return np.asarray(resized).reshape(size[1], size[0], channels)


def _encode(canvas: Pixels, *, lossless: bool) -> str:
    image = Image.fromarray(canvas[..., 0] if canvas.shape[2] == 1 else canvas)
    content = io.BytesIO()
    if lossless:
        image.save(content, "PNG", optimize=True)
    else:
        image.save(content, "JPEG", quality=JPEG_QUALITY)
    return data_uri(content.getvalue(), "png" if lossless else "jpeg")
