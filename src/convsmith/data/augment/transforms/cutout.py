"""Cutout: one square hole that may extend beyond the image."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from convsmith.codegen import call, number
from convsmith.data.augment.padding import Fill, fill_source, too_small
from convsmith.data.augment.transform import Transform

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from convsmith.data.augment.holes import Holes


# The same for an ejected project.
_DEFINITION = '''\
class Cutout(A.ImageOnlyTransform):
    """Cover a square about a random place; the edge may cut it (arXiv 1708.04552)."""

    def __init__(self, size: int, fill, p: float) -> None:
        super().__init__(p=p)
        self.size, self.fill = size, fill

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        height, width = params["shape"][:2]
        top = self.py_random.randrange(height) - self.size // 2
        left = self.py_random.randrange(width) - self.size // 2
        return {"top": top, "left": left}

    def apply(self, img: np.ndarray, top: int, left: int, **params) -> np.ndarray:
        covered = img.copy()
        rows = slice(max(top, 0), top + self.size)
        columns = slice(max(left, 0), left + self.size)
        covered[rows, columns] = self.fill
        return covered
'''


class Cutout(Transform):
    """Cover one square; its centre is uniform over the image, so the square may extend beyond the edge.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
    arXiv 1708.04552.
    """

    title: ClassVar = "Cutout"

    name: Literal["Cutout"]
    size: int = Field(default=8, ge=1, le=1024, description="height and width in pixels")
    fill: Fill = Field(default="mean", description="the data set's mean colour, or black")

    @property
    def definitions(self) -> str:
        return _DEFINITION

    @property
    def details(self) -> str:
        colour = "the mean colour" if self.fill == "mean" else "black"
        return f"a square of {self.size} x {self.size} pixels; {colour}; {self.frequency}"

    def inactive_reason(self, height: int, width: int) -> str:
        return super().inactive_reason(height, width) or too_small(self.size**2, height, width)

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> "Holes":
        import torch

        from convsmith.data.augment.holes import Holes

        top, left = (
            torch.randint(length, (count, 1), generator=generator) - self.size // 2 for length in size
        )
        return Holes(top=top, left=left, bottom=top + self.size, right=left + self.size)

    def apply(self, images: "Tensor", parameters: "Holes", mean: tuple[float, ...]) -> "Tensor":
        from convsmith.data.augment.holes import cover_images

        return cover_images(images, parameters, self.fill, mean)

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        """Return a subclass of CoarseDropout, which itself keeps its holes inside the image."""
        import albumentations
        import numpy as np

        side = self.size

        class CutoutSquare(albumentations.CoarseDropout):  # type: ignore[misc]
            def get_params_dependent_on_data(
                self, params: dict[str, Any], data: dict[str, Any]
            ) -> dict[str, Any]:
                del data
                height, width = params["shape"][:2]
                top = self.random_generator.integers(0, height) - side // 2
                left = self.random_generator.integers(0, width) - side // 2
                bottom, right = min(top + side, height), min(left + side, width)
                return {"holes": np.array([[max(left, 0), max(top, 0), right, bottom]]), "seed": 0}

        return CutoutSquare(fill=mean if self.fill == "mean" else 0, fill_mask=None, p=self.p)

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        arguments = [str(self.size), fill_source(self.fill), f"p={number(self.p)}"]
        return call("Cutout", arguments, indent=indent, after=",")
