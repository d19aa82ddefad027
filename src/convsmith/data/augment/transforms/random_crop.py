"""Random crops of the padded image: shifts by whole pixels."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from convsmith.codegen import call, number
from convsmith.data.augment.padding import (
    Border,
    albumentations_border,
    border_source,
    clamp_coordinates,
    fill_pixel,
    is_inside,
    reflect_coordinates,
)
from convsmith.data.augment.transform import Probability, Transform

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Shift(NamedTuple):
    """Per image: how far its content moves to the right and down, in whole pixels `(N,)`."""

    right: "Tensor"
    down: "Tensor"


class RandomCrop(Transform):
    """Pad the image on all sides, and crop its original size at a uniformly random position."""

    title: ClassVar = "Random crop"

    name: Literal["RandomCrop"]
    p: Probability = Field(default=1.0, description="probability that an image is changed")
    padding: int = Field(default=4, ge=1, le=1024, description="pixels on each side")
    border: Border = Field(default="reflect", description="content of the padding")

    @property
    def details(self) -> str:
        return f"after a padding of {self.padding} pixels; {self.frequency}"

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> Shift:
        import torch

        del size
        return Shift(*torch.randint(-self.padding, self.padding + 1, (2, count), generator=generator))

    def apply(self, images: "Tensor", parameters: Shift, mean: tuple[float, ...]) -> "Tensor":
        import torch

        height, width = images.shape[2:]
        rows = torch.arange(height, device=images.device) - parameters.down.view(-1, 1)
        columns = torch.arange(width, device=images.device) - parameters.right.view(-1, 1)
        inside = is_inside(rows, height)[:, :, None] & is_inside(columns, width)[:, None, :]
        place = reflect_coordinates if self.border == "reflect" else clamp_coordinates
        rows, columns = place(rows, height), place(columns, width)
        index = torch.arange(len(images), device=images.device).view(-1, 1, 1)
        # Channels last, so that each pixel is copied in one piece.
        shifted = images.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
        shifted = shifted.permute(0, 3, 1, 2)
        if self.border in {"reflect", "replicate"}:
            return shifted
        return torch.where(inside[:, None], shifted, fill_pixel(images, self.border, mean).view(-1, 1, 1))

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        """Return an Affine: padding and cropping is a shift by whole pixels, whatever the image's size."""
        import albumentations
        import cv2

        padding = self.padding
        return albumentations.Affine(
            translate_px={"x": (-padding, padding), "y": (-padding, padding)},
            scale=1.0,
            rotate=0.0,
            interpolation=cv2.INTER_NEAREST,
            p=self.p,
            strict=True,
            **albumentations_border(self.border, mean),
        )

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        _, height, width = image_shape
        pad = [str(self.padding), *border_source(self.border), "p=1"]
        margin, inner, innermost = (" " * (indent + extra) for extra in (0, 4, 8))
        return "\n".join(
            [
                "A.Sequential(",
                f"{inner}[",
                innermost + call("A.Pad", pad, indent=indent + 8, after=","),
                f"{innermost}A.RandomCrop({height}, {width}),",
                f"{inner}],",
                f"{inner}p={number(self.p)},",
                f"{margin}),",
            ]
        )
