"""Random erasing: one rectangle whose area is a share of the image, filled with noise or a colour."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from convsmith.codegen import call, number
from convsmith.data.augment.padding import fill_source, too_small
from convsmith.data.augment.transform import Transform
from convsmith.errors import Problem
from convsmith.text import short_percent

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Ratio = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class Erased(NamedTuple):
    """Per image `(N, 1)`: a rectangle in pixels, ends excluded, and the seed of the noise that fills it."""

    top: "Tensor"
    left: "Tensor"
    bottom: "Tensor"
    right: "Tensor"
    seed: "Tensor"


class RandomErasing(Transform):
    """Erase one rectangle inside the image; its area and its ratio of width to height are random.

    Unlike `CoarseDropout`, whose sides are in pixels and independent, it fits images of every size, and by
    default each erased pixel is random, as in the paper. The limits of area and ratio are those of
    albumentations' `Erasing`: the area is at most what fits with every ratio.

    Zhong et al., "Random Erasing Data Augmentation", arXiv 1708.04896.
    """

    title: ClassVar = "Random erasing"

    name: Literal["RandomErasing"]
    scale: Annotated[tuple[Share, Share], Field(strict=False)] = Field(
        default=(0.02, 0.33), description="area as a share of the image, from and to"
    )
    ratio: Annotated[tuple[Ratio, Ratio], Field(strict=False)] = Field(
        default=(0.3, 3.3), description="width divided by height, from and to"
    )
    fill: Literal["random", "mean", "black"] = Field(
        default="random", description="noise, the data set's mean colour, or black"
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for field in ("scale", "ratio"):
            low, high = getattr(self, field)
            if low > high:
                raise ValueError(f"{field}: found [{number(low)}, {number(high)}], expected low <= high")
        return self

    @property
    def details(self) -> str:
        area = " to ".join(dict.fromkeys(map(short_percent, self.scale)))
        ratio = " to ".join(dict.fromkeys(map(number, self.ratio)))
        content = {"random": "noise", "mean": "the mean colour", "black": "black"}[self.fill]
        return f"{area} of the area, ratio {ratio}; {content}; {self.frequency}"

    def inactive_reason(self, height: int, width: int) -> str:
        area = round(self.scale[1] * height * width)
        return super().inactive_reason(height, width) or too_small(area, height, width)

    def problem(self, height: int, width: int) -> Problem | None:
        least, most = self._areas(height, width)
        if least <= most:
            return None
        low, high = map(number, self.ratio)
        return Problem(
            what=f"rectangles of {short_percent(self.scale[0])} of the area with ratios from {low} to {high} "
            f"do not fit images of {height}x{width}",
            fix="make scale smaller, or ratio nearer to the width of the images divided by their height",
        )

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> Erased:
        import torch

        height, width = size
        least, most = self._areas(height, width)
        area, ratio, top, left = torch.rand(4, count, 1, generator=generator, dtype=torch.float64)
        area = least + (most - least) * area
        low, high = (area / height**2).clamp(min=self.ratio[0]), (width**2 / area).clamp(max=self.ratio[1])
        ratio = low + (high - low) * ratio
        rows = (area / ratio).sqrt().round().clamp(max=height)
        columns = (area * ratio).sqrt().round().clamp(max=width)
        # Uniform integers from 0 to side - rows or columns.
        top, left = (top * (height - rows + 1)).floor(), (left * (width - columns + 1)).floor()
        return Erased(
            top=top.long(),
            left=left.long(),
            bottom=(top + rows).long(),
            right=(left + columns).long(),
            seed=torch.randint(2**32, (count, 1), generator=generator),
        )

    def apply(self, images: "Tensor", parameters: Erased, mean: tuple[float, ...]) -> "Tensor":
        from convsmith.data.augment.holes import Holes, cover_images, fill_with_noise

        holes = Holes(*parameters[:4])
        if self.fill != "random":
            return cover_images(images, holes, self.fill, mean)
        return fill_with_noise(images, holes, parameters.seed.flatten())

    def _areas(self, height: int, width: int) -> tuple[float, float]:
        """Return the smallest area, and the largest that fits with every ratio, in pixels."""
        low, high = self.ratio
        largest = min(self.scale[1] * height * width, low * height**2, width**2 / high)
        return self.scale[0] * height * width, largest

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        import albumentations

        fill = {"random": "random", "mean": mean, "black": 0}[self.fill]
        return albumentations.Erasing(
            scale=self.scale, ratio=self.ratio, fill=fill, fill_mask=None, p=self.p, strict=True
        )

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        ranges = [f"{name}=({', '.join(map(number, getattr(self, name)))})" for name in ("scale", "ratio")]
        fill = 'fill="random"' if self.fill == "random" else fill_source(self.fill)
        return call("A.Erasing", [*ranges, fill, f"p={number(self.p)}"], indent=indent, after=",")
