"""The base classes of augmentations.

Recipes are read without PyTorch, so modules of transforms import it inside their methods.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from convsmith.codegen import number
from convsmith.errors import Problem

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Limit = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]

# An augmentation that changes fewer images than this share has no effect on a training.
MIN_PROBABILITY = 0.01


def alike_reason(p: float) -> str:
    """Return why a flip with probability `p` has no effect as it flips every image; empty if it has one.

    >>> alike_reason(1.0), alike_reason(0.5)
    ('p is 1: every image is flipped alike', '')
    """
    return f"p is {number(p)}: every image is flipped alike" if p > 1 - MIN_PROBABILITY else ""


class Augmentation(BaseModel, ABC):
    """A named table of a recipe that changes images with probability `p`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    p: Probability = Field(default=0.5, description="probability that an image is changed")
    name: str

    @property
    def frequency(self) -> str:
        """How often images are changed, for example `p = 0.5`."""
        return f"p = {number(self.p)}"

    @property
    def label_risk(self) -> str:
        """Which images may belong to another class afterwards; empty if there are none to expect.

        For example "digits and letters, which a mirror changes": not what small changes of a photograph do.
        """
        return ""

    @property
    @abstractmethod
    def details(self) -> str:
        """The settings in words, for reports and for the README of an ejected project."""

    def inactive_reason(self, height: int, width: int) -> str:
        """Return why the settings have no effect on images of a size; empty if they have one."""
        del height, width
        return f"p is {number(self.p)}" if self.p < MIN_PROBABILITY else ""


class Transform(Augmentation):
    """A random change of single images.

    A transform is applied in two steps, so that tests can compare each with albumentations: `draw` draws the
    parameters of every image of a batch, `apply` transforms images with given parameters.
    """

    title: ClassVar[str]

    @property
    def definitions(self) -> str:
        """Definitions that an ejected project needs for the call that `source` returns."""
        return ""

    @property
    def alternates(self) -> bool:
        """Whether every image is changed in every other epoch, instead of at random."""
        return False

    def problem(self, height: int, width: int) -> Problem | None:
        """Return why the transform cannot be applied to images of a size, or None."""
        del height, width
        return None

    def select(self, indices: "Tensor", epoch: int, generator: "torch.Generator") -> "Tensor":
        """Return which images are changed, `(N,)` bool.

        Args:
            indices: `(N,)` int64, positions in the training set.
            epoch: Counts from 1.
            generator: A generator on the CPU.
        """
        import torch

        del epoch
        return torch.rand(len(indices), generator=generator) < self.p

    def draw(self, count: int, size: tuple[int, int], generator: "torch.Generator") -> "tuple[Tensor, ...]":
        """Draw the parameters of `count` images of a size `(H, W)`, on the CPU; each tensor is `(N, ...)`."""
        del count, size, generator
        return ()

    @abstractmethod
    def apply(self, images: "Tensor", parameters: Any, mean: tuple[float, ...]) -> "Tensor":
        """Transform images.

        Args:
            images: `(N, C, H, W)` uint8.
            parameters: As `draw` returns them, on the device of the images.
            mean: The mean colour, `C` levels from 0 to 255.
        """

    @abstractmethod
    def to_albumentations(self, mean: tuple[float, ...]) -> Any:
        """Return the equivalent transform of albumentations.

        Pass `strict=True` to its constructor: without it, albumentations ignores unknown arguments.
        """

    @abstractmethod
    def source(self, image_shape: tuple[int, int, int], indent: int) -> str:
        """Return the source text of the equivalent albumentations call, with a comma after it.

        Args:
            image_shape: `(C, H, W)`.
            indent: Number of spaces before each line.
        """
