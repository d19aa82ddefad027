"""Random brightness and contrast."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from convsmith.codegen import call, number
from convsmith.data.augment.transform import Limit, Transform

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Tone(NamedTuple):
    """Per image `(N,)`: the factor of each pixel, and the offset in levels from 0 to 255."""

    factor: "Tensor"
    offset: "Tensor"


class RandomBrightnessContrast(Transform):
    """Change brightness and contrast: multiply each pixel by 1 + contrast, then add 255 times brightness."""

    title: ClassVar = "Brightness, contrast"

    name: Literal["RandomBrightnessContrast"]
    brightness_limit: Limit = Field(default=0.2, description="share of the full range, in either direction")
    contrast_limit: Limit = Field(default=0.2, description="share, in either direction")

    @property
    def details(self) -> str:
        limits = f"{number(self.brightness_limit)}, {number(self.contrast_limit)}"
        return f"{limits} to either side; {self.frequency}"

    def inactive_reason(self, height: int, width: int) -> str:
        # Half a level of 255 is lost by rounding.
        small = 255 * (self.brightness_limit + self.contrast_limit) < 0.5
        return super().inactive_reason(height, width) or ("its limits are 0" if small else "")

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> Tone:
        import torch

        del size
        contrast, brightness = torch.rand(2, count, generator=generator) * 2 - 1
        return Tone(
            factor=1 + contrast * self.contrast_limit, offset=255 * brightness * self.brightness_limit
        )

    def apply(self, images: "Tensor", parameters: Tone, mean: tuple[float, ...]) -> "Tensor":
        import torch

        del mean
        factor, offset = (values.view(-1, 1, 1, 1) for values in parameters)
        return (images * factor + offset).clamp_(0, 255).to(torch.uint8)

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        import albumentations

        del mean
        brightness, contrast = self.brightness_limit, self.contrast_limit
        return albumentations.RandomBrightnessContrast(
            brightness_limit=(-brightness, brightness),
            contrast_limit=(-contrast, contrast),
            brightness_by_max=True,
            p=self.p,
            strict=True,
        )

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        arguments = [
            f"brightness_limit={number(self.brightness_limit)}",
            f"contrast_limit={number(self.contrast_limit)}",
            f"p={number(self.p)}",
        ]
        return call("A.RandomBrightnessContrast", arguments, indent=indent, after=",")
