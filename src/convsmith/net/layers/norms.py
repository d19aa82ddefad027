"""Norms: batch, group, layer and instance norm."""

from dataclasses import dataclass
from math import gcd, prod
from typing import ClassVar, Self

from convsmith.net.layers.operation import Arguments, MisfitError, Operation
from convsmith.net.rows import FULL_MAP, Shape, Window
from convsmith.net.settings import NetSettings

_FLOAT_BYTES, _COUNTER_BYTES = 4, 8


@dataclass(frozen=True, kw_only=True)
class Norm(Operation):
    """A norm with a scale and a shift for each channel."""

    stem = "norm"
    # The value of `norm` in the settings.
    keyword: ClassVar[str]

    @classmethod
    def after(cls, layer: str, shape: Shape, settings: NetSettings) -> Self:  # noqa: ARG003 - for group norm
        """Create the norm that follows a layer with outputs of a shape.

        Raises:
            MisfitError: The norm does not fit the shape.
        """
        return cls(in_shape=shape, out_shape=shape).checked(layer)

    @property
    def parameters(self) -> int:
        return 2 * self.out_shape[0]

    @property
    def values_per_mean(self) -> int:
        """How many values of one image share a mean; 0 if it is taken over the batch."""
        raise NotImplementedError

    def checked(self, layer: str) -> Self:
        if self.values_per_mean == 1:
            shape = "x".join(map(str, self.in_shape))
            raise MisfitError(
                f"the {self.keyword} norm has one value to normalise, its input is {shape}",
                fix=f"write {layer}:n0, or put the layer before the pool",
            )
        return self


class BatchNorm2d(Norm):
    keyword = "batch"
    elementwise = True

    @property
    def values_per_mean(self) -> int:
        return 0

    @property
    def buffers(self) -> tuple[int, int]:
        # Running mean, running variance, and the counter of batches.
        statistics = 2 * self.out_shape[0]
        return statistics + 1, statistics * _FLOAT_BYTES + _COUNTER_BYTES

    def arguments(self) -> Arguments:
        return (self.out_shape[0],), {}


@dataclass(frozen=True, kw_only=True)
class GroupNorm(Norm):
    keyword = "group"
    notes = (FULL_MAP,)

    groups: int = 1

    @classmethod
    def after(cls, layer: str, shape: Shape, settings: NetSettings) -> Self:
        groups = settings.norm_groups
        if shape[0] % groups:
            raise MisfitError(
                f"the norm's {groups} groups do not divide its {shape[0]} channels",
                fix=f"set norm_groups={gcd(groups, shape[0])}, or give it a multiple of {groups} channels",
            )
        return cls(in_shape=shape, out_shape=shape, groups=groups).checked(layer)

    @property
    def values_per_mean(self) -> int:
        return prod(self.in_shape) // self.groups

    @property
    def window(self) -> Window:
        return Window(groups=self.groups)

    def arguments(self) -> Arguments:
        return (self.groups, self.out_shape[0]), {}


class LayerNorm(GroupNorm):
    """Layer norm of a map: all channels and positions of an image share a mean, each channel has its scale.

    This is PyTorch's `GroupNorm` with one group. `nn.LayerNorm` has a scale for each value of the map
    instead, thousands of parameters a layer, and fits one size of images.
    """

    keyword = "layer"
    torch_class = "GroupNorm"

    @classmethod
    def after(cls, layer: str, shape: Shape, settings: NetSettings) -> Self:  # noqa: ARG003 - for group norm
        return cls(in_shape=shape, out_shape=shape).checked(layer)

    @property
    def operation(self) -> str:
        # As in a trace of the module.
        return "GroupNorm"


class InstanceNorm2d(Norm):
    keyword = "instance"
    notes = (FULL_MAP,)

    @property
    def values_per_mean(self) -> int:
        return prod(self.in_shape[1:])

    def arguments(self) -> Arguments:
        return (self.out_shape[0],), {"affine": True}
