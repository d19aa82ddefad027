"""Box blur: the mean of a square around each pixel."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from convsmith.codegen import call, number
from convsmith.data.augment.transform import Transform

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Square(NamedTuple):
    """Per image: the side of its square in pixels, `(N,)` int64."""

    side: "Tensor"


class Blur(Transform):
    """Replace each pixel by the mean of the square around it; the border reflects the image."""

    title: ClassVar = "Blur"

    name: Literal["Blur"]
    blur_limit: Annotated[tuple[int, int], Field(strict=False)] = Field(
        default=(3, 7), description="side of the square in pixels, odd, from and to"
    )

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        low, high = self.blur_limit
        if not 3 <= low <= high <= 255 or low % 2 == 0 or high % 2 == 0:
            raise ValueError(
                f"blur_limit: found [{low}, {high}], expected odd numbers from 3 to 255, low <= high"
            )
        return self

    @property
    def details(self) -> str:
        low, high = self.blur_limit
        sides = str(low) if low == high else f"{low} to {high}"
        return f"squares of {sides} pixels; {self.frequency}"

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> Square:
        import torch

        del size
        low, high = self.blur_limit
        return Square(2 * torch.randint(low // 2, high // 2 + 1, (count,), generator=generator) + 1)

    def apply(self, images: "Tensor", parameters: Square, mean: tuple[float, ...]) -> "Tensor":
        from convsmith.data.augment.each_image import box_blur, each_image
        from convsmith.data.augment.filters import blur_images, box_kernels

        del mean
        if images.device.type == "cpu":
            return each_image(images, box_blur, parameters.side.tolist())
        return blur_images(images, box_kernels(parameters.side, self.blur_limit[1]))

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        import albumentations

        del mean
        return albumentations.Blur(blur_limit=self.blur_limit, p=self.p, strict=True)

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        arguments = [f"blur_limit={tuple(self.blur_limit)}", f"p={number(self.p)}"]
        return call("A.Blur", arguments, indent=indent, after=",")
