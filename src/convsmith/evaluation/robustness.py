"""Robustness: accuracy on images with common corruptions at five strengths.

The strengths of noise, blur, contrast, JPEG and pixelation are those of CIFAR-10-C (Hendrycks and Dietterich,
arXiv 1903.12261). The shift is an addition to it.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, shift
from torch import nn

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer
from convsmith.evaluation.metrics import wilson_interval
from convsmith.evaluation.schema import CorruptedAccuracy, Robustness
from convsmith.training.metrics import evaluate_split

Pixels = NDArray[np.uint8]
STRENGTHS = (1, 2, 3, 4, 5)
NOISE = (0.04, 0.06, 0.08, 0.09, 0.10)
BLUR_PIXELS = (0.4, 0.6, 0.7, 0.8, 1.0)
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
JPEG_QUALITY = (80, 65, 58, 50, 40)
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
SHIFT_SHARE = (1 / 32, 2 / 32, 3 / 32, 4 / 32, 6 / 32)
# Images that are corrupted at once; each chunk has its own seed.
_CHUNK = 1000


def evaluate_robustness(
    net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype
) -> Robustness:
    """Measure the accuracy on a split without corruption, and with each corruption at each strength.

    Args:
        net: Takes normalized images `(N, C, H, W)`.
        split: The test images.
        normalize: Of the net's training images.
        dtype: The precision of the forward pass.
    """
    corruptions = {
        name: tuple(
            _accuracy(net, _corrupt_split(split, name, strength), normalize, dtype) for strength in STRENGTHS
        )
        for name in CORRUPTIONS
    }
    accuracies = [level.accuracy for levels in corruptions.values() for level in levels]
    return Robustness(
        images=len(split),
        clean=_accuracy(net, split, normalize, dtype),
        corruptions=corruptions,
        mean_accuracy=sum(accuracies) / len(accuracies),
    )


def _corrupt_split(split: Split, name: str, strength: int) -> Split:
    parts = [
        corrupt(name, np.asarray(split.images[start : start + _CHUNK]), strength, seed=start)
        for start in range(0, len(split), _CHUNK)
    ]
    return Split(images=np.concatenate(parts), labels=split.labels)


def _accuracy(net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype) -> CorruptedAccuracy:
    metrics = evaluate_split(net, split, normalize, dtype)
    interval = wilson_interval(metrics.correct, metrics.total)
    return CorruptedAccuracy(
        accuracy=metrics.accuracy, accuracy_95=(interval.low, interval.high), loss=metrics.loss
    )


def corrupt(name: str, images: Pixels, strength: int, seed: int = 0) -> Pixels:
    """Apply a corruption to images.

    Args:
        name: A key of `CORRUPTIONS`.
        images: `(N, H, W, C)` uint8, C is 1 or 3.
        strength: 1 to 5.
        seed: Of the noise; the other corruptions are deterministic.

    Returns:
        New images of the same shape.

    Example:
        >>> grey = np.full((1, 2, 2, 1), 200, dtype=np.uint8); grey[0, 0, 0] = 100
        >>> corrupt("contrast", grey, 5).ravel()
        array([164, 179, 179, 179], dtype=uint8)
    """
    return CORRUPTIONS[name](images, strength - 1, np.random.default_rng([seed, strength]))


def _noise(images: Pixels, level: int, generator: np.random.Generator) -> Pixels:
    return _to_uint8(images + 255 * NOISE[level] * generator.standard_normal(images.shape, dtype=np.float32))


def _blur(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    sigma = BLUR_PIXELS[level]
    return _to_uint8(gaussian_filter(images.astype(np.float32), sigma=(0, sigma, sigma, 0), mode="nearest"))


def _contrast(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    means = images.mean(axis=(1, 2), keepdims=True)
    return _to_uint8((images - means) * CONTRAST[level] + means)


def _jpeg(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    def convert(picture: Image.Image) -> Image.Image:
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=JPEG_QUALITY[level])
        return Image.open(content)

    return _map_images(images, convert)


def _pixelate(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    height, width = (max(int(side * PIXELATE[level]), 1) for side in images.shape[1:3])

    def convert(picture: Image.Image) -> Image.Image:
        small = picture.resize((width, height), Image.Resampling.BOX)
        return small.resize(picture.size, Image.Resampling.BOX)

    return _map_images(images, convert)


def _shift(images: Pixels, level: int, _: np.random.Generator) -> Pixels:
    """Shift to the right and down by whole pixels; the edge is repeated."""
    rows, columns = (max(round(side * SHIFT_SHARE[level]), 1) for side in images.shape[1:3])
    result: Pixels = shift(images, (0, rows, columns, 0), order=0, mode="nearest")
    return result


def _map_images(images: Pixels, convert: Callable[[Image.Image], Image.Image]) -> Pixels:
    grey = images.shape[-1] == 1
    pictures = (Image.fromarray(image[..., 0] if grey else image) for image in images)
    return np.stack([np.asarray(convert(picture)) for picture in pictures]).reshape(images.shape)


def _to_uint8(values: NDArray[np.floating]) -> Pixels:
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
