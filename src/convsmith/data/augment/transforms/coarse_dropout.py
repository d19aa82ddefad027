"""Coarse dropout: rectangular holes inside the image."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from convsmith.codegen import call, number
from convsmith.data.augment.padding import Fill, fill_source, too_small
from convsmith.data.augment.transform import Transform
from convsmith.errors import Problem

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from convsmith.data.augment.holes import Holes

IntRange = Annotated[tuple[int, int], Field(strict=False)]


class CoarseDropout(Transform):
    """Cover rectangles of the image. Sizes are in pixels; ranges include both ends."""

    title: ClassVar = "Coarse dropout"

    name: Literal["CoarseDropout"]
    num_holes_range: IntRange = Field(default=(1, 1), description="number of holes")
    hole_height_range: IntRange = Field(default=(16, 16), description="height of a hole")
    hole_width_range: IntRange = Field(default=(16, 16), description="width of a hole")
    fill: Fill = Field(default="mean", description="the data set's mean colour, or black")

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for field in ("num_holes_range", "hole_height_range", "hole_width_range"):
            low, high = getattr(self, field)
            if not 1 <= low <= high:
                raise ValueError(f"{field}: found [{low}, {high}], expected 1 <= low <= high")
        return self

    @property
    def details(self) -> str:
        holes, height, width = map(
            _range, (self.num_holes_range, self.hole_height_range, self.hole_width_range)
        )
        colour = "the mean colour" if self.fill == "mean" else "black"
        return f"holes: {holes} of {height} x {width} pixels; {colour}; {self.frequency}"

    def inactive_reason(self, height: int, width: int) -> str:
        area = self.num_holes_range[1] * self.hole_height_range[1] * self.hole_width_range[1]
        return super().inactive_reason(height, width) or too_small(area, height, width)

    def problem(self, height: int, width: int) -> Problem | None:
        tallest, widest = self.hole_height_range[1], self.hole_width_range[1]
        if tallest <= height and widest <= width:
            return None
        return Problem(
            what=f"holes of up to {tallest}x{widest} pixels do not fit images of {height}x{width}",
            fix="make hole_height_range and hole_width_range smaller",
        )

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> "Holes":
        import torch

        from convsmith.data.augment.holes import Holes

        low, high = self.num_holes_range
        num_holes = torch.randint(low, high + 1, (count, 1), generator=generator)
        exists = torch.arange(high) < num_holes
        spans = []
        for (shortest, longest), length in zip(
            (self.hole_height_range, self.hole_width_range), size, strict=True
        ):
            span = torch.randint(shortest, min(longest, length) + 1, (count, high), generator=generator)
            # Uniform integers from 0 to length - span, a range that differs from hole to hole.
            start = (
                torch.rand(count, high, generator=generator, dtype=torch.float64) * (length - span + 1)
            ).long()
            spans.append((start, torch.where(exists, start + span, start)))
        (top, bottom), (left, right) = spans
        return Holes(top=top, left=left, bottom=bottom, right=right)

    def apply(self, images: "Tensor", parameters: "Holes", mean: tuple[float, ...]) -> "Tensor":
        from convsmith.data.augment.holes import cover_images

        return cover_images(images, parameters, self.fill, mean)

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        import albumentations

        return albumentations.CoarseDropout(
            num_holes_range=self.num_holes_range,
            hole_height_range=self.hole_height_range,
            hole_width_range=self.hole_width_range,
            fill=mean if self.fill == "mean" else 0,
            fill_mask=None,
            p=self.p,
            strict=True,
        )

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        ranges = [
            f"{name}={tuple(getattr(self, name))}"
            for name in ("num_holes_range", "hole_height_range", "hole_width_range")
        ]
        arguments = [*ranges, fill_source(self.fill), f"p={number(self.p)}"]
        return call("A.CoarseDropout", arguments, indent=indent, after=",")


def _range(limits: tuple[int, int]) -> str:
    low, high = limits
    return str(low) if low == high else f"{low} to {high}"
