"""Random changes of training images: a closed table of transforms, applied through albumentations.

The engine is a field, so that other engines can give the same transforms the same meaning.
"""

import os
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Likelihood = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Limit = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
IntRange = Annotated[tuple[int, int], Field(strict=False)]
Border = Literal["reflect", "replicate", "mean", "black"]


class _Transform(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    p: Likelihood = Field(default=0.5, description="probability that an image is changed")


class HorizontalFlip(_Transform):
    """Mirror the image left to right."""

    name: Literal["HorizontalFlip"]


class ShiftScaleRotate(_Transform):
    """Move, zoom and turn the image about its centre, by amounts drawn evenly from within the limits."""

    name: Literal["ShiftScaleRotate"]
    shift_limit: Limit = Field(default=0.0625, description="share of the width and of the height")
    scale_limit: Limit = Field(
        default=0.1, description="zoom from 1 - limit to 1 + limit, the same for both axes"
    )
    rotate_limit: float = Field(default=45.0, ge=0, le=180, description="degrees to either side")
    border: Border = Field(default="reflect", description="what fills the corners that come into view")


class CoarseDropout(_Transform):
    """Cover rectangles of the image. Sizes are in pixels, each range drawn from with both ends included."""

    name: Literal["CoarseDropout"]
    num_holes_range: IntRange = Field(default=(1, 1), description="how many holes")
    hole_height_range: IntRange = Field(default=(16, 16), description="their height")
    hole_width_range: IntRange = Field(default=(16, 16), description="their width")
    fill: Literal["mean", "black"] = Field(default="mean", description="the data set's mean colour, or black")

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for field in ("num_holes_range", "hole_height_range", "hole_width_range"):
            low, high = getattr(self, field)
            if not 1 <= low <= high:
                raise ValueError(f"{field}: found [{low}, {high}], expected 1 <= low <= high")
        return self


Transform = Annotated[HorizontalFlip | ShiftScaleRotate | CoarseDropout, Field(discriminator="name")]


class AugmentConfig(BaseModel):
    """The `[augment]` table of a recipe: transforms in the order in which they are applied."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    engine: Literal["albumentations"] = Field(
        default="albumentations", description="what applies the transforms"
    )
    transforms: Annotated[tuple[Transform, ...], Field(strict=False)] = ()


class Augmenter(Protocol):
    """Changes a batch `(N, H, W, C)` uint8 at random, into a new array of the same shape."""

    def __call__(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]: ...  # noqa: N803

    def reseed(self, seed: int) -> None: ...


def augmenter(config: AugmentConfig, mean: tuple[float, ...], seed: int) -> Augmenter:
    """Make the augmentation of a recipe.

    Args:
        config: The `[augment]` table.
        mean: The data set's mean per channel, 0..1, that holes and corners are filled with.
        seed: Equal seeds change equal batches equally.

    Example:
        >>> config = AugmentConfig.model_validate({"transforms": [{"name": "HorizontalFlip", "p": 1.0}]})
        >>> flip = augmenter(config, mean=(0.5,), seed=0)
        >>> flip(np.array([[[[1], [2]]]], dtype=np.uint8)).ravel().tolist()
        [2, 1]
    """
    return _Albumentations(config, mean, seed)


class _Albumentations:
    def __init__(self, config: AugmentConfig, mean: tuple[float, ...], seed: int) -> None:
        # Before the import: it would ask the package index for a newer version over the network.
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations

        fill = tuple(255 * value for value in mean)
        self.pipeline = albumentations.Compose(
            [_BUILDERS[type(transform)](transform, fill) for transform in config.transforms], seed=seed
        )

    def __call__(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:  # noqa: N803
        if not self.pipeline.transforms:
            return images_NHWC
        return np.stack([self.pipeline(image=image)["image"] for image in images_NHWC])

    def reseed(self, seed: int) -> None:
        self.pipeline.set_random_seed(seed)


# `strict=True` throughout: without it albumentations drops arguments it does not know and runs its defaults.
def _flip(transform: HorizontalFlip, fill: tuple[float, ...]) -> Any:
    import albumentations

    del fill
    return albumentations.HorizontalFlip(p=transform.p, strict=True)


def _shift_scale_rotate(transform: ShiftScaleRotate, fill: tuple[float, ...]) -> Any:
    """Through Affine: ShiftScaleRotate itself now draws a scale per axis and fills with black."""
    import albumentations
    import cv2

    modes = {"reflect": cv2.BORDER_REFLECT_101, "replicate": cv2.BORDER_REPLICATE}
    shift, scale = transform.shift_limit, transform.scale_limit
    return albumentations.Affine(
        translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
        scale=(1 - scale, 1 + scale),
        rotate=(-transform.rotate_limit, transform.rotate_limit),
        keep_ratio=True,
        interpolation=cv2.INTER_LINEAR,
        border_mode=modes.get(transform.border, cv2.BORDER_CONSTANT),
        fill=fill if transform.border == "mean" else 0,
        p=transform.p,
        strict=True,
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


_BUILDERS: dict[type[_Transform], Callable[[Any, tuple[float, ...]], Any]] = {
    HorizontalFlip: _flip,
    ShiftScaleRotate: _shift_scale_rotate,
    CoarseDropout: _coarse_dropout,
}
