"""Max pooling, average pooling and global average pooling."""

from dataclasses import dataclass
from typing import ClassVar

from convsmith.net.layers.layer import Kind, Layer
from convsmith.net.layers.operation import (
    Arguments,
    MisfitError,
    Operation,
    WindowOperation,
    without_defaults,
)
from convsmith.net.rows import FULL_AXIS, ReceptiveField, Shape


@dataclass(frozen=True, kw_only=True)
class _Pool2d(WindowOperation):
    def arguments(self) -> Arguments:
        return (self.kernel,), without_defaults(
            {
                "stride": (self.stride, self.kernel),
                "padding": (self.padding, 0),
                "dilation": (self.dilation, 1),
            }
        )

    def receptive_field(self, field: ReceptiveField) -> ReceptiveField:
        """Along an axis on which one window covers the complete map, the pool is global."""
        axes = tuple(
            FULL_AXIS if out == 1 and self._covers(size) else axis
            for axis, size, out in zip(
                super().receptive_field(field).axes, self.in_shape[1:], self.out_shape[1:], strict=False
            )
        )
        return ReceptiveField(axes=() if all(axis == FULL_AXIS for axis in axes) else axes)

    def _covers(self, size: int) -> bool:
        read = range(-self.padding, self.dilation * (self.kernel - 1) + 1 - self.padding, self.dilation)
        return set(range(size)) <= set(read)


class MaxPool2d(_Pool2d):
    stem = "maxpool"


class AvgPool2d(_Pool2d):
    stem = "avgpool"


class GlobalAvgPool2d(Operation):
    stem = "gap"
    torch_class = "AdaptiveAvgPool2d"

    def receptive_field(self, field: ReceptiveField) -> ReceptiveField:  # noqa: ARG002 - the full image
        return ReceptiveField()

    def arguments(self) -> Arguments:
        return (1,), {}


class _Pooling(Kind):
    """A pool whose number is the size of its window."""

    number = "kernel"
    pool: ClassVar[type[_Pool2d]]

    def operations(self, layer: Layer, shape: Shape) -> tuple[Operation, ...]:
        if layer.padding_pixels > layer.kernel // 2:
            raise MisfitError(
                f"pooling by {layer.kernel} takes at most {layer.kernel // 2} pixels of padding, "
                f"found {layer.padding_pixels}",
                fix=f"write :p{layer.kernel // 2}",
            )
        operation = self.pool(
            in_shape=shape,
            out_shape=(shape[0], *layer.map_size(shape)),
            kernel=layer.kernel,
            stride=layer.stride,
            dilation=layer.dilation,
            padding=layer.padding_pixels,
            description=f"{layer.kernel}x{layer.kernel} {self.name}, stride {layer.stride}",
        )
        return (operation,)


class MaxPooling(_Pooling):
    letter = "M"
    name = "max pooling"
    options = "sdp"
    pool = MaxPool2d


class AveragePooling(_Pooling):
    letter = "A"
    name = "average pooling"
    options = "sp"
    pool = AvgPool2d


class GlobalAveragePooling(Kind):
    letter = "G"
    name = "global average pooling"
    number = "none"

    def operations(self, layer: Layer, shape: Shape) -> tuple[Operation, ...]:  # noqa: ARG002 - no options
        return (GlobalAvgPool2d(in_shape=shape, out_shape=(shape[0], 1, 1), description=self.name),)
