"""The base class of RandAugment and TrivialAugment: random operations in turn."""

from abc import abstractmethod
from inspect import getsource
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from convsmith.codegen import call, number
from convsmith.data.augment.padding import Border, albumentations_border, border_source
from convsmith.data.augment.strengths import LEVELS, Strengths
from convsmith.data.augment.transform import Probability, Transform

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from convsmith.data.augment.operations import Operations


class RandomOperations(Transform):
    """Apply operations that are drawn uniformly from fourteen, to each image others.

    Albumentations has neither of them; image by image, Pillow applies them, the reference of both papers.
    """

    strengths: ClassVar[Strengths]

    p: Probability = Field(default=1.0, description="probability that an image is changed")
    border: Border = Field(default="mean", description="what fills the area outside a moved image")

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of operations in turn."""

    @property
    @abstractmethod
    def fixed_magnitude(self) -> int | None:
        """The magnitude of all operations, 0 to 30; None if each draws one."""

    @property
    def definitions(self) -> str:
        from convsmith.data.augment import pillow_operations

        return getsource(pillow_operations.RandomOperations).replace("  # type: ignore[misc]", "")

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> "Operations":
        from convsmith.data.augment.operations import draw_operations

        return draw_operations((count, self.count), self.strengths, self.fixed_magnitude, size, generator)

    def apply(self, images: "Tensor", parameters: "Operations", mean: tuple[float, ...]) -> "Tensor":
        from convsmith.data.augment.operations import apply_operations

        return apply_operations(images, parameters, self.border, mean)

    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        from convsmith.data.augment import pillow_operations

        fixed = self.fixed_magnitude
        return pillow_operations.RandomOperations(
            number=self.count,
            magnitudes=range(LEVELS) if fixed is None else (fixed,),
            **vars(self.strengths),
            **albumentations_border(self.border, mean),
            p=self.p,
        )

    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        del image_shape
        fixed, strengths = self.fixed_magnitude, vars(self.strengths)
        arguments = [
            f"number={self.count}",
            f"magnitudes={f'range({LEVELS})' if fixed is None else f'({fixed},)'}",
            *(f"{name}={number(round(value, 4))}" for name, value in strengths.items()),
            *border_source(self.border),
            f"p={number(self.p)}",
        ]
        return call("RandomOperations", arguments, indent=indent, after=",")
