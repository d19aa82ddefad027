"""Convert any image to the net's input. An image of the right size and mode stays as it is.

1. Apply the EXIF orientation; of an animation take the first frame.
2. Composite transparent pixels over the mean colour of the training images, which is 0 after normalisation.
3. Convert to RGB or greyscale, as the training images were.
4. Resize: crop the largest centred part with the net's aspect ratio, and resample it by a Lanczos filter as
   wide as the reduction, which avoids aliasing.

Decoder, formats and limits are those of data sets (`data.decode`).
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


def preprocess_file(encoded: bytes | str, rule: Preprocessing) -> Pixels:
    """Convert the bytes or the path of an image file to the net's input `(H, W, C)` uint8.

    Raises:
        UnusableImageError: It is damaged, not an image, of an unsupported format, or too large.
    """
    return _resized(decode_image(encoded, lambda image: _converted(image, rule)).image, rule)


def preprocess_image(image: Image.Image, rule: Preprocessing) -> Pixels:
    """Convert a Pillow image to the net's input `(H, W, C)` uint8.

    Raises:
        UnusableImageError: Its file is damaged, or its mode holds more than 8 bits a channel.

    Example:
        >>> rule = Preprocessing(channels=1, height=2, width=2, mean=(0.5,), std=(0.25,))
        >>> preprocess_image(Image.new("RGB", (6, 4), "white"), rule).tolist()
        [[[255], [255]], [[255], [255]]]
    """
    try:
        if image.mode.startswith(("I", "F")):
            raise UnusableImageError("unreadable", f"mode {image.mode} holds more than 8 bits a channel")
        if image.width * image.height > MAX_PIXELS:
            raise UnusableImageError("oversized", f"more than {MAX_PIXELS:,} pixels")
        return _resized(_converted(image, rule), rule)
    except (OSError, ValueError, SyntaxError) as error:
        raise UnusableImageError("unreadable", str(error)) from error


def preprocess_array(array: NDArray[np.generic], rule: Preprocessing) -> Iterator[Pixels]:
    """Convert each image of an array to the net's input `(H, W, C)` uint8.

    Args:
        array: uint8 `(H, W)`, `(H, W, C)` or `(N, H, W, C)`, with C of 1 (grey), 3 (RGB) or 4 (RGBA).
        rule: The net's preprocessing.

    Raises:
        ImageError: The array has another type or shape.
    """
    fits = array.ndim == 2 or (array.ndim in {3, 4} and array.shape[-1] in {1, 3, 4})
    if array.dtype != np.uint8 or not fits or 0 in array.shape[-3:]:
        raise ImageError(
            f"found {array.dtype} {array.shape}, expected uint8 {ARRAYS}",
            where="images",
            fix="pass pixels from 0 to 255 with the channels last: array.astype('uint8')",
        )
    images = array.reshape(-1, *array.shape[-3:]) if array.ndim > 2 else array[None, :, :, None]
    for image in images:
        if image.shape == (rule.height, rule.width, rule.channels):
            yield image.astype(np.uint8, copy=False)
        else:
            yield preprocess_image(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), rule)


def _converted(image: Image.Image, rule: Preprocessing) -> Image.Image:
    """Return the image upright and opaque, as L or RGB."""
    image = ImageOps.exif_transpose(image)
    mode = "L" if rule.channels == 1 else "RGB"
    if image.has_transparency_data:
        colour = tuple(round(255 * value) for value in rule.mean)
        background = Image.new("RGBA", image.size, colour * 3 if rule.channels == 1 else colour)
        image = Image.alpha_composite(background, image.convert("RGBA"))
    # Pillow cannot convert LAB to L.
    return (image.convert("RGB") if image.mode == "LAB" else image).convert(mode)


def _resized(image: Image.Image, rule: Preprocessing) -> Pixels:
    """Crop and resize an image of mode L or RGB to the net's size."""
    if image.size != (rule.width, rule.height):
        scale = min(image.width / rule.width, image.height / rule.height)
        width, height = max(1, round(scale * rule.width)), max(1, round(scale * rule.height))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        # Crop first: a filter over the full image would mix in pixels outside of the crop.
        crop = image.crop((left, top, left + width, top + height))
        image = crop.resize((rule.width, rule.height), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(rule.height, rule.width, rule.channels)
