"""Colour jitter: brightness, contrast, saturation and hue in a random order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from convsmith.codegen import call, number
from convsmith.data.augment.transform import Transform

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from convsmith.data.augment.each_image import Pixels

Distance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Jitter(NamedTuple):
    """Per image: three factors, the turn of the hue as a share of the circle, and the order of the four.

    The first four are `(N,)` float32; the order is `(N, 4)` int64, a permutation of 0 to 3.
    """

    brightness: "Tensor"
    contrast: "Tensor"
    saturation: "Tensor"
    hue: "Tensor"
    order: "Tensor"


class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue, in an order that is random for each image.

    Brightness multiplies the levels, contrast their distance from the image's mean grey, saturation that
    from the pixel's grey, each by a factor from 1 - limit to 1 + limit. Grey images have neither saturation
    nor hue.
    """

    title: ClassVar = "Colour jitter"

    name: Literal["ColorJitter"]
    brightness: Distance = Field(default=0.2, description="largest distance of the factor from 1")
    contrast: Distance = Field(default=0.2, description="largest distance of the factor from 1")
    saturation: Distance = Field(default=0.2, description="largest distance of the factor from 1")
    hue: float = Field(
        default=0.05, ge=0, le=0.5, description="largest turn in either direction, as a share of the circle"
    )

    @property
    def label_risk(self) -> str:
        return "classes that differ by colour" if self.hue > 0.1 else ""

    @property
    def details(self) -> str:
        limits = (self.brightness, self.contrast, self.saturation, self.hue)
        names = ("brightness", "contrast", "saturation", "hue")
        used = [f"{name} {number(limit)}" for name, limit in zip(names, limits, strict=True) if limit]
        return f"{', '.join(used) or 'nothing'} to either side; {self.frequency}"

    def inactive_reason(self, height: int, width: int) -> str:
        # Half a level of 255 is lost by rounding, and OpenCV stores hues in steps of 1/180.
        largest = max(self.brightness, self.contrast, self.saturation)
        small = 255 * largest < 0.5 and 180 * self.hue < 1
        return super().inactive_reason(height, width) or ("its limits are 0" if small else "")

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> Jitter:
        import torch

        del size
        brightness, contrast, saturation, hue = torch.rand(4, count, generator=generator) * 2 - 1
        return Jitter(
            brightness=1 + brightness * self.brightness,
            contrast=1 + contrast * self.contrast,
            saturation=1 + saturation * self.saturation,
            hue=hue * self.hue,
            order=torch.rand(count, 4, generator=generator).argsort(1),
        )

    def apply(self, images: "Tensor", parameters: Jitter, mean: tuple[float, ...]) -> "Tensor":
        import torch

        from convsmith.data.augment import colour, each_image, levels
        from convsmith.data.augment.selection import change_selected

        del mean
        if images.device.type == "cpu":
            values = torch.stack(parameters[:4], dim=1)
            return each_image.each_image(images, _jitter, values.tolist(), parameters.order.tolist())
        images = images.clone(memory_format=torch.channels_last)
        changes = (levels.brighten, levels.change_contrast, colour.saturate, colour.turn_hue)
        for position in parameters.order.unbind(1):
            for which, change in enumerate(changes):
                change_selected(
                    images,
                    position == which,
                    (parameters[which],),
                    lambda some, own, change=change: change(some, own[0]),  # type: ignore[misc]
                )
        return images

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        import albumentations

        del mean
        return albumentations.ColorJitter(
            **{
                name: (1 - getattr(self, name), 1 + getattr(self, name))
                for name in ("brightness", "contrast", "saturation")
            },
            hue=(-self.hue, self.hue),
            p=self.p,
            strict=True,
        )

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        limits = [
            f"{name}={number(getattr(self, name))}"
            for name in ("brightness", "contrast", "saturation", "hue")
        ]
        return call("A.ColorJitter", [*limits, f"p={number(self.p)}"], indent=indent, after=",")


def _jitter(image: "Pixels", values: Sequence[float], order: Sequence[int]) -> None:
    """Change an image in place: brightness, contrast, saturation and hue, in an order."""
    from convsmith.data.augment import each_image

    changes = (each_image.brighten, each_image.change_contrast, each_image.saturate, each_image.turn_hue)
    for which in order:
        changes[which](image, values[which])
