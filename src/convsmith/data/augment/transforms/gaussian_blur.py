"""Gaussian blur."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from convsmith.codegen import call, number
from convsmith.data.augment.transform import Transform

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Sigma = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class Blur(NamedTuple):
    """Per image: its kernel `(N, K)` float32, for rows and for columns."""

    kernel: "Tensor"


class GaussianBlur(Transform):
    """Convolve the image with a normal density whose standard deviation is uniform between two limits.

    The kernel has `2 * int(3.5 * sigma) + 1` pixels, and the border reflects the image.
    """

    title: ClassVar = "Gaussian blur"

    name: Literal["GaussianBlur"]
    sigma_limit: Annotated[tuple[Sigma, Sigma], Field(strict=False)] = Field(
        default=(0.5, 3.0), description="standard deviation in pixels, from and to"
    )

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        low, high = self.sigma_limit
        if low > high:
            raise ValueError(f"sigma_limit: found [{number(low)}, {number(high)}], expected low <= high")
        return self

    @property
    def details(self) -> str:
        low, high = map(number, self.sigma_limit)
        return f"sigma {low if low == high else f'{low} to {high}'} pixels; {self.frequency}"

    def inactive_reason(self, height: int, width: int) -> str:
        single = 3.5 * self.sigma_limit[1] < 1
        return super().inactive_reason(height, width) or ("its kernel has one pixel" if single else "")

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> Blur:
        import torch

        from convsmith.data.augment.filters import gaussian_kernels

        del size
        low, high = self.sigma_limit
        sigma = low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)
        return Blur(gaussian_kernels(sigma, radius=int(3.5 * high)))

    def apply(self, images: "Tensor", parameters: Blur, mean: tuple[float, ...]) -> "Tensor":
        from convsmith.data.augment.each_image import blur, each_image
        from convsmith.data.augment.filters import blur_images

        del mean
        if images.device.type == "cpu":
            return each_image(images, blur, parameters.kernel.numpy())
        return blur_images(images, parameters.kernel)

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        import albumentations

        del mean
        return albumentations.GaussianBlur(sigma_limit=self.sigma_limit, blur_limit=0, p=self.p, strict=True)

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        low, high = map(number, self.sigma_limit)
        arguments = ["blur_limit=0", f"sigma_limit=({low}, {high})", f"p={number(self.p)}"]
        return call("A.GaussianBlur", arguments, indent=indent, after=",")
