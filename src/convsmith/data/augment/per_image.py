"""Transforms applied image by image through albumentations: the library that gives them their meaning."""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convsmith.data.augment.engines import Draw
from convsmith.data.augment.transforms import (
    AugmentConfig,
    CoarseDropout,
    Cutout,
    HorizontalFlip,
    RandomBrightnessContrast,
    RandomCrop,
    ShiftScaleRotate,
)


class Albumentations:
    """Applies a recipe's transforms image by image.

    Args:
        config: The `[augment]` table.
        mean: The data set's mean per channel, 0..1.
    """

    def __init__(self, config: AugmentConfig, mean: tuple[float, ...]) -> None:
        # Before the import: it would ask the package index for a newer version over the network.
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations

        fill = tuple(255 * value for value in mean)
        self.pipeline = albumentations.Compose(
            [_BUILDERS[type(transform)](transform, fill) for transform in config.transforms]
        )
        # The pipeline keeps what it draws in itself; two threads would mix theirs up.
        self.lock = threading.Lock()

    def __call__(self, images_NCHW: Tensor, draw: Draw) -> Tensor:  # noqa: N803 - shape suffix
        if not self.pipeline.transforms:
            return images_NCHW
        images_NHWC = images_NCHW.permute(0, 2, 3, 1).cpu().numpy()  # noqa: N806
        with self.lock:
            self.pipeline.set_random_seed(draw.seed)
            changed = np.stack([self.pipeline(image=image)["image"] for image in images_NHWC])
        return torch.from_numpy(changed).to(images_NCHW.device).permute(0, 3, 1, 2)


# `strict=True` throughout: without it albumentations drops arguments it does not know and runs its defaults.
def _flip(transform: HorizontalFlip, fill: tuple[float, ...]) -> Any:
    import albumentations

    del fill
    return albumentations.HorizontalFlip(p=transform.p, strict=True)


def _shift_scale_rotate(transform: ShiftScaleRotate, fill: tuple[float, ...]) -> Any:
    """Through Affine: ShiftScaleRotate itself now draws a scale per axis and fills with black."""
    import albumentations
    import cv2

    shift, scale = transform.shift_limit, transform.scale_limit
    return albumentations.Affine(
        translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
        scale=(1 - scale, 1 + scale),
        rotate=(-transform.rotate_limit, transform.rotate_limit),
        keep_ratio=True,
        interpolation=cv2.INTER_LINEAR,
        p=transform.p,
        strict=True,
        **_border(transform.border, fill),
    )


def _coarse_dropout(transform: CoarseDropout, fill: tuple[float, ...]) -> Any:
    import albumentations

    return albumentations.CoarseDropout(
        num_holes_range=transform.num_holes_range,
        hole_height_range=transform.hole_height_range,
        hole_width_range=transform.hole_width_range,
        fill=fill if transform.fill == "mean" else 0,
        fill_mask=None,
        p=transform.p,
        strict=True,
    )


def _random_crop(transform: RandomCrop, fill: tuple[float, ...]) -> Any:
    """Through Affine: padding and cutting is moving by whole pixels, whatever the image's size."""
    import albumentations
    import cv2

    padding = transform.padding
    return albumentations.Affine(
        translate_px={"x": (-padding, padding), "y": (-padding, padding)},
        scale=1.0,
        rotate=0.0,
        interpolation=cv2.INTER_NEAREST,
        p=transform.p,
        strict=True,
        **_border(transform.border, fill),
    )


def _cutout(transform: Cutout, fill: tuple[float, ...]) -> Any:
    import albumentations

    class CutoutSquare(albumentations.CoarseDropout):  # type: ignore[misc]
        """CoarseDropout keeps its holes inside the image; this one lets the edge cut them."""

        def get_params_dependent_on_data(
            self, params: dict[str, Any], data: dict[str, Any]
        ) -> dict[str, Any]:
            del data
            height, width = params["shape"][:2]
            top = self.random_generator.integers(0, height) - transform.size // 2
            left = self.random_generator.integers(0, width) - transform.size // 2
            bottom, right = min(top + transform.size, height), min(left + transform.size, width)
            return {"holes": np.array([[max(left, 0), max(top, 0), right, bottom]]), "seed": 0}

    return CutoutSquare(fill=fill if transform.fill == "mean" else 0, fill_mask=None, p=transform.p)


def _brightness_contrast(transform: RandomBrightnessContrast, fill: tuple[float, ...]) -> Any:
    import albumentations

    del fill
    brightness, contrast = transform.brightness_limit, transform.contrast_limit
    return albumentations.RandomBrightnessContrast(
        brightness_limit=(-brightness, brightness),
        contrast_limit=(-contrast, contrast),
        brightness_by_max=True,
        p=transform.p,
        strict=True,
    )


def _border(border: str, fill: tuple[float, ...]) -> dict[str, Any]:
    import cv2

    modes = {"reflect": cv2.BORDER_REFLECT_101, "replicate": cv2.BORDER_REPLICATE}
    return {
        "border_mode": modes.get(border, cv2.BORDER_CONSTANT),
        "fill": fill if border == "mean" else 0,
    }


_BUILDERS: dict[type[Any], Callable[[Any, tuple[float, ...]], Any]] = {
    HorizontalFlip: _flip,
    ShiftScaleRotate: _shift_scale_rotate,
    CoarseDropout: _coarse_dropout,
    RandomCrop: _random_crop,
    Cutout: _cutout,
    RandomBrightnessContrast: _brightness_contrast,
}
