"""One rule by which any image becomes the net's input; an image that has its size and mode stays as it is.

1. The orientation that a camera noted (EXIF) is applied; of an animation the first frame counts.
2. What is transparent is laid over the mean colour of the training images, which the net sees as nothing.
3. Colour or grey, as the net's training images were.
4. Of another size: the largest part in the middle that has the net's aspect ratio, brought to its size by a
   Lanczos filter as wide as the reduction, so that nothing aliases.

The decoder, its formats and its limits are those of data sets (`data.opening`).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convsmith.data.decode import MAX_PIXELS, UnusableImageError, decode_image
from convsmith.errors import ImageError
from convsmith.models.bundle_schema import Preprocessing

Pixels = NDArray[np.uint8]
ARRAYS = "(H, W), (H, W, C) or (N, H, W, C) with C of 1, 3 or 4"


def pixels_of(encoded: bytes | str, rule: Preprocessing) -> Pixels:
    """A file's bytes, or the path of a file, as the net's input `(H, W, C)` uint8.

    Raises:
        UnusableImageError: Damaged, no image, of a format that is not read, or too large.
    """
    return _fitted(decode_image(encoded, lambda image: _as_seen(image, rule)).image, rule)


def pixels_of_image(image: Image.Image, rule: Preprocessing) -> Pixels:
    """A Pillow image as the net's input `(H, W, C)` uint8.

    Raises:
        UnusableImageError: Its file is damaged, or its mode holds more than 8 bits a channel.

    Example:
        >>> rule = Preprocessing(channels=1, height=2, width=2, mean=(0.5,), std=(0.25,))
        >>> pixels_of_image(Image.new("RGB", (6, 4), "white"), rule).tolist()
        [[[255], [255]], [[255], [255]]]
    """
    try:
        if image.mode.startswith(("I", "F")):
            raise UnusableImageError("unreadable", f"mode {image.mode} holds more than 8 bits a channel")
        if image.width * image.height > MAX_PIXELS:
            raise UnusableImageError("oversized", f"more than {MAX_PIXELS:,} pixels")
        return _fitted(_as_seen(image, rule), rule)
    except (OSError, ValueError, SyntaxError) as error:
        raise UnusableImageError("unreadable", str(error)) from error


def pixels_of_array(array: NDArray[np.generic], rule: Preprocessing) -> Iterator[Pixels]:
    """The images of an array, each as the net's input `(H, W, C)` uint8.

    Args:
        array: uint8 `(H, W)`, `(H, W, C)` or `(N, H, W, C)`, with C of 1 (grey), 3 (RGB) or 4 (RGBA).
        rule: Of the net.

    Raises:
        ImageError: Another type or shape.
    """
    fits = array.ndim == 2 or (array.ndim in {3, 4} and array.shape[-1] in {1, 3, 4})
    if array.dtype != np.uint8 or not fits or 0 in array.shape[-3:]:
        raise ImageError(
            f"found {array.dtype} {array.shape}, expected uint8 {ARRAYS}",
            where="images",
            fix="give pixels from 0 to 255 with the channels last: array.astype('uint8')",
        )
    images = array.reshape(-1, *array.shape[-3:]) if array.ndim > 2 else array[None, :, :, None]
    for image in images:
        if image.shape == (rule.height, rule.width, rule.channels):
            yield image.astype(np.uint8, copy=False)
        else:
            yield pixels_of_image(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), rule)


def _as_seen(image: Image.Image, rule: Preprocessing) -> Image.Image:
    """Upright, opaque, grey or RGB."""
    image = ImageOps.exif_transpose(image)
    mode = "L" if rule.channels == 1 else "RGB"
    if image.has_transparency_data:
        colour = tuple(round(255 * value) for value in rule.mean)
        behind = Image.new("RGBA", image.size, colour * 3 if rule.channels == 1 else colour)
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    # Pillow has no way from this one to grey.
    return (image.convert("RGB") if image.mode == "LAB" else image).convert(mode)


def _fitted(image: Image.Image, rule: Preprocessing) -> Pixels:
    """An image of mode L or RGB at the net's size."""
    if image.size != (rule.width, rule.height):
        part = min(image.width / rule.width, image.height / rule.height)
        width, height = max(1, round(part * rule.width)), max(1, round(part * rule.height))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        # Cut out first: a filter over the whole image would look across the edge.
        middle = image.crop((left, top, left + width, top + height))
        image = middle.resize((rule.width, rule.height), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(rule.height, rule.width, rule.channels)
