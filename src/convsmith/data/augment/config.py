"""The `[augment]` table of a recipe."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from convsmith.data.augment.mix import Mix
from convsmith.data.augment.registry import MIXES, TRANSFORMS
from convsmith.data.augment.transform import Augmentation, Transform

if TYPE_CHECKING:
    AnyTransform = Transform
    AnyMix = Mix
else:
    AnyTransform = Annotated[reduce(or_, TRANSFORMS), Field(discriminator="name")]
    AnyMix = Annotated[reduce(or_, MIXES), Field(discriminator="name")]


class AugmentConfig(BaseModel):
    """The `[augment]` table of a recipe: transforms in the order in which they are applied."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    engine: Literal["batched", "albumentations"] = Field(
        default="batched", description="what applies the transforms: a batch at once, or image by image"
    )
    transforms: Annotated[tuple[AnyTransform, ...], Field(strict=False)] = Field(
        default=(), description="tables with a name, applied in this order"
    )
    mix: AnyMix | None = Field(
        default=None, description="mixing of images and labels of a batch, after the transforms"
    )

    @property
    def all(self) -> tuple[Augmentation, ...]:
        """The transforms, and the mix if there is one."""
        return (*self.transforms, *filter(None, [self.mix]))

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.engine == "albumentations" and any(transform.alternates for transform in self.transforms):
            raise ValueError('alternate flips need the engine "batched"')
        return self
