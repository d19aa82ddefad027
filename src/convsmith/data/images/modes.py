"""Any mode of Pillow as 8 bits per channel, grey or RGB, with the transparency apart."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Modes of one channel besides alpha. A palette is colour, even if all of its colours are grey.
SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
GREY_MODES = frozenset({"1", "L", "LA", "La", "F", *SIXTEEN_BIT_MODES})
# Tags of TIFF.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _UNSIGNED, _SIGNED = 0, 1, 1, 2
_TAG_DEFAULTS = {_BITS_PER_SAMPLE: (16,), _PHOTOMETRIC: (_BLACK_IS_ZERO,), _SAMPLE_FORMAT: (_UNSIGNED,)}
# What a grey sample of a PNG of fewer than 8 bits is multiplied by, by Pillow's name of its storage.
_FEW_BITS = {"1": 255, "L;2": 85, "L;4": 17}
_SIXTEEN_BIT_RGB, _SIXTEEN_BIT_GREY = "RGB;16B", "LA;16B"
Sample = int | tuple[int, ...]


def transparent_sample(image: Image.Image) -> Sample | None:
    """Return the sample that a file declares transparent, in the scale of the decoded pixels.

    Only for images without palette and alpha channel. The number of bits in the file is known as long as the
    pixels are not decoded.
    """
    found = image.info.get("transparency")
    if found is None or image.mode.startswith("P") or image.mode.endswith(("A", "a")):
        return None
    storage = _storage(image)
    if isinstance(found, tuple):
        return tuple(each >> 8 for each in found) if storage == _SIXTEEN_BIT_RGB else found
    factor = _FEW_BITS.get(storage, 1)
    # Some versions of Pillow have scaled it already.
    return int(found) * factor if found <= 255 // factor else int(found)


def mode_of(image: Image.Image) -> str:
    """Return the mode of a file whose pixels are not decoded yet; Pillow opens grey of 16 bits as RGBA."""
    return "LA" if _storage(image) == _SIXTEEN_BIT_GREY else image.mode


def _storage(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None)
    return str(tiles[0][3]) if tiles else ""


def grey_or_rgb(image: Image.Image, transparent: Sample | None) -> tuple[Image.Image, Image.Image | None]:
    """Convert an image to mode L or RGB, and return its alpha channel, if it has one, in mode L.

    - More than 8 bits: the highest 8 of 12 or 16 bits, in grey and in colour alike; floats of 0 to 1 times
      255. Where a TIFF declares 0 to be white, the result is inverted.
    - Palettes and their transparency: looked up. CMYK: `(255 - C)(255 - K) / 255` is the red, and so on.
    - YCbCr, HSV, LAB: Pillow's conversions.

    Args:
        image: Of any mode.
        transparent: From `transparent_sample`.

    Raises:
        ValueError: Values are out of range, so that their scale is unknown, or the mode is unknown.

    Example:
        >>> grey, alpha = grey_or_rgb(Image.new("LA", (1, 1), (7, 9)), None)
        >>> grey.getpixel((0, 0)), alpha.getpixel((0, 0))
        (7, 9)
    """
    if image.mode == "F" or image.mode in SIXTEEN_BIT_MODES:
        return _wide(image, transparent)
    if _SIGNED in _tag(image, _SAMPLE_FORMAT):
        raise ValueError(f"signed samples in mode {image.mode}, expected unsigned ones")
    if image.has_transparency_data and transparent is None:
        alpha_mode = "LA" if image.mode in {"LA", "La"} else "RGBA"
        converted = image.convert(alpha_mode)
        return converted.convert(alpha_mode[:-1]), converted.getchannel("A")
    converted = image.convert("L" if image.mode in GREY_MODES else "RGB")
    return converted, None if transparent is None else _opaque_where_not(np.asarray(converted), transparent)


def _wide(image: Image.Image, transparent: Sample | None) -> tuple[Image.Image, Image.Image | None]:
    values: NDArray[Any] = np.asarray(image)
    low, high = values.min(), values.max()
    # Mode I has 32 bits; files of 16 signed or scaled bits are opened in it.
    bits = _tag(image, _BITS_PER_SAMPLE)[0] if image.mode.startswith("I;16") else 16
    largest = 1 if image.mode == "F" else 2**bits - 1
    # `not` covers NaN.
    if not (low >= 0 and high <= largest):
        raise ValueError(f"mode {image.mode} with values from {low:g} to {high:g}, expected 0 to {largest}")
    scaled = np.rint(values * 255.0) if image.mode == "F" else values >> (bits - 8)
    # Pillow inverts 8 bits or fewer by itself.
    if _WHITE_IS_ZERO in _tag(image, _PHOTOMETRIC):
        scaled = 255 - scaled
    alpha = None if transparent is None else _opaque_where_not(values, transparent)
    return Image.fromarray(scaled.astype(np.uint8)), alpha


def _tag(image: Image.Image, tag: int) -> tuple[int, ...]:
    """Return the values of a tag of a TIFF; the default of other images and of tags that are missing."""
    value = getattr(image, "tag_v2", {}).get(tag)
    if value is None:
        return _TAG_DEFAULTS[tag]
    return value if isinstance(value, tuple) else (value,)


def _opaque_where_not(values: NDArray[Any], transparent: Sample) -> Image.Image:
    equal = values == np.array(transparent)
    differs = ~(equal.all(axis=-1) if values.ndim == 3 else equal)
    return Image.fromarray(np.where(differs, 255, 0).astype(np.uint8))
