"""Horizontal flips, at random or in alternate epochs."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from convsmith.codegen import call, number
from convsmith.data.augment.transform import Transform, alike_reason

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class HorizontalFlip(Transform):
    """Mirror the image left to right."""

    title: ClassVar = "Horizontal flip"

    name: Literal["HorizontalFlip"]
    alternate: bool = Field(
        default=False,
        description="instead of at random, flip every image in every other epoch; half of them start flipped",
    )

    @property
    def alternates(self) -> bool:
        return self.alternate

    @property
    def frequency(self) -> str:
        return "every other epoch" if self.alternate else super().frequency

    @property
    def label_risk(self) -> str:
        return "digits, letters and signs, which a mirror changes"

    @property
    def details(self) -> str:
        return "every image in every other epoch" if self.alternate else self.frequency

    def inactive_reason(self, height: int, width: int) -> str:
        if self.alternate:
            return ""
        return super().inactive_reason(height, width) or alike_reason(self.p)

    def select(self, indices: "Tensor", epoch: int, generator: "torch.Generator") -> "Tensor":
        if self.alternate:
            # The order of the training set is by hashes of the images, so parity is random.
            return (indices + epoch) % 2 == 1
        return super().select(indices, epoch, generator)

    def apply(self, images: "Tensor", parameters: Any, mean: tuple[float, ...]) -> "Tensor":
        del parameters, mean
        return images.flip(3)

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        import albumentations

        del mean
        return albumentations.HorizontalFlip(p=self.p, strict=True)

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        return call("A.HorizontalFlip", [f"p={number(self.p)}"], indent=indent, after=",")
