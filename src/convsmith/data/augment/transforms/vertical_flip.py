"""Vertical flips."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from convsmith.codegen import call, number
from convsmith.data.augment.transform import Transform, alike_reason

if TYPE_CHECKING:
    from torch import Tensor


class VerticalFlip(Transform):
    """Mirror the image top to bottom."""

    title: ClassVar = "Vertical flip"

    name: Literal["VerticalFlip"]

    @property
    def label_risk(self) -> str:
        return "digits, letters, and whatever has an upper side"

    @property
    def details(self) -> str:
        return self.frequency

    def inactive_reason(self, height: int, width: int) -> str:
        return super().inactive_reason(height, width) or alike_reason(self.p)

    def apply(self, images: "Tensor", parameters: Any, mean: tuple[float, ...]) -> "Tensor":
        del parameters, mean
        return images.flip(2)

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        import albumentations

        del mean
        return albumentations.VerticalFlip(p=self.p, strict=True)

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        return call("A.VerticalFlip", [f"p={number(self.p)}"], indent=indent, after=",")
