"""Fully connected layers, and the flattening of a map before them."""

from dataclasses import dataclass
from math import prod

from convsmith.net.layers.layer import Kind, Layer
from convsmith.net.layers.operation import Arguments, Operation, WeightedOperation, without_defaults
from convsmith.net.rows import ReceptiveField, Shape, Window


@dataclass(frozen=True, kw_only=True)
class Linear(WeightedOperation):
    stem = "linear"

    @property
    def weights(self) -> int:
        return self.in_shape[0] * self.out_shape[0]

    @property
    def window(self) -> Window:
        return Window(bias=self.bias, width=(self.in_shape[0], self.out_shape[0]))

    def arguments(self) -> Arguments:
        return (self.in_shape[0], self.out_shape[0]), without_defaults({"bias": (self.bias, True)})


class Flatten(Operation):
    stem = "flatten"
    elementwise = True

    def receptive_field(self, field: ReceptiveField) -> ReceptiveField:  # noqa: ARG002 - the full image
        return ReceptiveField()


class FullyConnected(Kind):
    letter = "F"
    name = "fully connected"
    number = "width"
    options = "oa"
    weighted = True
    needs_map = False

    def operations(self, layer: Layer, shape: Shape) -> tuple[Operation, ...]:
        assert layer.number is not None, "the parser requires the width of F"
        flat = (prod(shape),)
        linear = Linear(
            in_shape=flat,
            out_shape=(layer.number,),
            description=f"fully connected layer to {layer.number}",
        )
        return (Flatten(in_shape=shape, out_shape=flat), linear) if len(shape) == 3 else (linear,)
