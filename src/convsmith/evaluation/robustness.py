"""Images spoiled in known ways at five strengths, the same every time.

Noise, blur, contrast, JPEG and pixelation have the constants of CIFAR-10-C (Hendrycks and Dietterich, arXiv
1903.12261); shifts are ours.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

Pixels = NDArray[np.uint8]
STRENGTHS = (1, 2, 3, 4, 5)
NOISE = (0.04, 0.06, 0.08, 0.09, 0.10)
BLUR_PIXELS = (0.4, 0.6, 0.7, 0.8, 1.0)
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
JPEG_QUALITY = (80, 65, 58, 50, 40)
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
SHIFT_SHARE = (1 / 32, 2 / 32, 3 / 32, 4 / 32, 6 / 32)


def corrupted(name: str, images: Pixels, strength: int, seed: int = 0) -> Pixels:
    """Spoil images.

    Args:
        name: A key of `CORRUPTIONS`.
        images: `(N, H, W, C)` uint8, C is 1 or 3.
        strength: 1 to 5.
        seed: Of the noise; the others draw nothing.

    Returns:
        New images of the same shape.

    Example:
        >>> grey = np.full((1, 2, 2, 1), 200, dtype=np.uint8); grey[0, 0, 0] = 100
        >>> corrupted("contrast", grey, 5).ravel()
        array([164, 179, 179, 179], dtype=uint8)
    """
    return CORRUPTIONS[name](images, strength - 1, np.random.default_rng([seed, strength]))


def _noise(images: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    return _rounded(images + 255 * NOISE[level] * draw.standard_normal(images.shape, dtype=np.float32))


def _blur(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    sigma = BLUR_PIXELS[level]
    return _rounded(gaussian_filter(images.astype(np.float32), sigma=(0, sigma, sigma, 0), mode="nearest"))


def _contrast(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    means = images.mean(axis=(1, 2), keepdims=True)
    return _rounded((images - means) * CONTRAST[level] + means)


def _jpeg(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    def through(picture: Image.Image) -> Image.Image:
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=JPEG_QUALITY[level])
        return Image.open(content)

    return _each(images, through)


def _pixelate(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    height, width = (max(int(side * PIXELATE[level]), 1) for side in images.shape[1:3])

    def through(picture: Image.Image) -> Image.Image:
        small = picture.resize((width, height), Image.Resampling.BOX)
        return small.resize(picture.size, Image.Resampling.BOX)

    return _each(images, through)


def _shift(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    """To the right and down by whole pixels; what comes in continues the edge."""
    rows, columns = (max(round(side * SHIFT_SHARE[level]), 1) for side in images.shape[1:3])
    moved: Pixels = shift(images, (0, rows, columns, 0), order=0, mode="nearest")
    return moved


def _each(images: Pixels, through: Callable[[Image.Image], Image.Image]) -> Pixels:
    grey = images.shape[-1] == 1
    pictures = (Image.fromarray(image[..., 0] if grey else image) for image in images)
    return np.stack([np.asarray(through(picture)) for picture in pictures]).reshape(images.shape)


def _rounded(values: NDArray[np.floating]) -> Pixels:
    result: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return result


CORRUPTIONS: dict[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "gaussian noise": _noise,
    "gaussian blur": _blur,
    "contrast": _contrast,
    "JPEG": _jpeg,
    "pixelation": _pixelate,
    "shift": _shift,
}
