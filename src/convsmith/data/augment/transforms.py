"""Random changes of training images: the closed table of transforms that a recipe may name."""

from typing import Annotated, Literal, Self

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
    alternate: bool = Field(
        default=False,
        description="instead of by chance, every image in every other epoch, one half beginning mirrored",
    )


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


class RandomCrop(_Transform):
    """Pad the image on all sides, and cut its own size out of that at a place drawn evenly."""

    name: Literal["RandomCrop"]
    p: Likelihood = Field(default=1.0, description="probability that an image is changed")
    padding: int = Field(default=4, ge=1, le=1024, description="pixels a side")
    border: Border = Field(default="reflect", description="what the padding shows")


class Cutout(_Transform):
    """Cover one square whose centre is drawn evenly from the image, so that it may reach over the edge.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
    arXiv 1708.04552.
    """

    name: Literal["Cutout"]
    size: int = Field(default=8, ge=1, le=1024, description="pixels a side")
    fill: Literal["mean", "black"] = Field(default="mean", description="the data set's mean colour, or black")


class RandomBrightnessContrast(_Transform):
    """Change brightness and contrast: each pixel times 1 + contrast, plus 255 times brightness."""

    name: Literal["RandomBrightnessContrast"]
    brightness_limit: Limit = Field(default=0.2, description="share of the whole range, to either side")
    contrast_limit: Limit = Field(default=0.2, description="share, to either side")


Transform = Annotated[
    HorizontalFlip | ShiftScaleRotate | CoarseDropout | RandomCrop | Cutout | RandomBrightnessContrast,
    Field(discriminator="name"),
]


class Mixup(_Transform):
    """Blend each image, and its label, with another of the batch; the share is drawn from Beta(alpha, alpha).

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.
    """

    name: Literal["mixup"]
    alpha: float = Field(default=0.2, gt=0, le=100, description="of the beta distribution")


class CutMix(_Transform):
    """Paste a rectangle of another image of the batch into each, and blend the labels by its area.

    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
    arXiv 1905.04899.
    """

    name: Literal["cutmix"]
    alpha: float = Field(default=1.0, gt=0, le=100, description="of the beta distribution of the area")


Mix = Annotated[Mixup | CutMix, Field(discriminator="name")]


class AugmentConfig(BaseModel):
    """The `[augment]` table of a recipe: transforms in the order in which they are applied."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    engine: Literal["batched", "albumentations"] = Field(
        default="batched", description="what applies the transforms: a batch at once, or image by image"
    )
    transforms: Annotated[tuple[Transform, ...], Field(strict=False)] = ()
    mix: Mix | None = Field(default=None, description="what mixes images and labels of a batch, after them")

    @model_validator(mode="after")
    def _engine_can(self) -> Self:
        if self.engine == "albumentations" and any(
            isinstance(transform, HorizontalFlip) and transform.alternate for transform in self.transforms
        ):
            raise ValueError('alternate flips are of the engine "batched"')
        return self
