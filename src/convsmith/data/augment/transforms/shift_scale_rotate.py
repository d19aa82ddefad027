"""Random shifts, scaling and rotation."""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from convsmith.codegen import call, number
from convsmith.data.augment.padding import Border, albumentations_border, border_source
from convsmith.data.augment.transform import Limit, Transform
from convsmith.text import short_percent

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from convsmith.data.augment.affine import Affine


class ShiftScaleRotate(Transform):
    """Shift, scale and rotate the image about its centre, each uniformly within its limits."""

    title: ClassVar = "Shift, scale, rotate"

    name: Literal["ShiftScaleRotate"]
    shift_limit: Limit = Field(default=0.0625, description="share of the width and of the height")
    scale_limit: Limit = Field(
        default=0.1, description="scale from 1 - limit to 1 + limit, the same for both axes"
    )
    rotate_limit: float = Field(default=45.0, ge=0, le=180, description="degrees in either direction")
    border: Border = Field(default="reflect", description="what fills the area outside the image")

    @property
    def label_risk(self) -> str:
        return "digits such as 6 and 9, which half a turn changes" if self.rotate_limit > 60 else ""

    @property
    def details(self) -> str:
        shift, scale = short_percent(self.shift_limit), short_percent(self.scale_limit)
        degrees = number(self.rotate_limit)
        return f"{shift}, {scale}, {degrees} degrees to either side; {self.frequency}"

    def inactive_reason(self, height: int, width: int) -> str:
        radius = math.hypot(height, width) / 2
        moves = radius * max(self.scale_limit, math.radians(self.rotate_limit)) >= 0.5
        shifts = self.shift_limit * max(height, width) >= 1  # whole pixels
        reason = "" if moves or shifts else "its limits move no pixel"
        return super().inactive_reason(height, width) or reason

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> "Affine":
        import torch

        from convsmith.data.augment.affine import Affine

        angle, scale, right, down = torch.rand(4, count, generator=generator) * 2 - 1
        return Affine(
            angle=angle * math.radians(self.rotate_limit),
            scale=1 + scale * self.scale_limit,
            right=(right * self.shift_limit * size[1]).trunc(),
            down=(down * self.shift_limit * size[0]).trunc(),
        )

    def apply(self, images: "Tensor", parameters: "Affine", mean: tuple[float, ...]) -> "Tensor":
        from convsmith.data.augment.affine import affine_images

        return affine_images(images, parameters, self.border, mean)

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        """Return an Affine: ShiftScaleRotate of albumentations scales each axis by itself."""
        import albumentations
        import cv2

        shift, scale = self.shift_limit, self.scale_limit
        return albumentations.Affine(
            translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
            scale=(1 - scale, 1 + scale),
            rotate=(-self.rotate_limit, self.rotate_limit),
            keep_ratio=True,
            interpolation=cv2.INTER_LINEAR,
            p=self.p,
            strict=True,
            **albumentations_border(self.border, mean),
        )

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        shift, degrees = number(self.shift_limit), number(self.rotate_limit)
        low, high = (number(round(1 + sign * self.scale_limit, 6)) for sign in (-1, 1))
        arguments = [
            f"translate_percent=(-{shift}, {shift})",
            f"scale=({low}, {high})",
            f"rotate=(-{degrees}, {degrees})",
            "keep_ratio=True",
            *border_source(self.border),
            f"p={number(self.p)}",
        ]
        margin = " " * indent
        comment = f"# Affine replaces ShiftScaleRotate, which scales each axis\n{margin}# by itself."
        return f"{comment}\n{margin}" + call("A.Affine", arguments, indent=indent, after=",")
