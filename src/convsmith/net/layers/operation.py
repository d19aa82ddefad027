"""One operation of a net: its shapes, its numbers, its receptive field and its PyTorch layer."""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from convsmith.net import coverage
from convsmith.net.coverage import Masks
from convsmith.net.rows import AxisReceptiveField, ReceptiveField, Shape, Window

if TYPE_CHECKING:
    from torch import nn

# Positional and keyword arguments of a class in `torch.nn`.
Arguments = tuple[tuple[object, ...], dict[str, object]]


class MisfitError(Exception):
    """A layer does not fit its input. The planner adds the position in the notation."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation. Shapes are `(C, H, W)` or `(features,)`, without the batch.

    Attributes:
        layer: The layer in the notation, empty for dropout before the classifier.
        part: Which part of its layer it is, where a layer has several.
        description: One line on the layer, on the first operation of each layer that has one.
        name: The path of its module, for example `block1.conv2`.
    """

    # The path is made of the block, the stem and a number: "block1.conv2".
    stem: ClassVar[str]
    # The class in `torch.nn`, if it is not named like the operation.
    torch_class: ClassVar[str] = ""
    # Each output value depends only on the input value at the same position.
    elementwise: ClassVar[bool] = False
    notes: ClassVar[tuple[str, ...]] = ()

    in_shape: Shape
    out_shape: Shape
    layer: str = ""
    part: str = ""
    description: str = ""
    name: str = ""

    @property
    def operation(self) -> str:
        return type(self).__name__

    @property
    def parameters(self) -> int:
        return 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return 0

    @property
    def buffers(self) -> tuple[int, int]:
        """Values and bytes of the state that is saved with the parameters."""
        return 0, 0

    @property
    def window(self) -> Window:
        return Window()

    def receptive_field(self, field: ReceptiveField) -> ReceptiveField:
        """Return the receptive field of the outputs, given that of the inputs."""
        return field

    def coverage(self, masks: tuple[Masks, ...]) -> tuple[Masks, ...]:
        """Return the pixels in the receptive field of each output, along each axis of the image."""
        return masks

    def arguments(self) -> Arguments:
        """Return the arguments of the PyTorch layer; defaults are left out."""
        return (), {}

    def module(self) -> "nn.Module":
        """Create the PyTorch layer."""
        from torch import nn

        args, kwargs = self.arguments()
        layer: nn.Module = getattr(nn, self._torch_class)(*args, **kwargs)
        return layer

    def source(self) -> tuple[str, list[str]]:
        """Return the class and the arguments of the PyTorch layer as source text."""
        args, kwargs = self.arguments()
        texts = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
        return f"nn.{self._torch_class}", texts

    @property
    def _torch_class(self) -> str:
        return self.torch_class or self.operation


@dataclass(frozen=True, kw_only=True)
class WeightedOperation(Operation):
    """An operation with a weight and an optional bias.

    Attributes:
        normed: Whether a norm follows, so that the scale of the weight does not matter.
    """

    bias: bool = False
    normed: bool = False

    @property
    def weights(self) -> int:
        """Parameters without the bias."""
        raise NotImplementedError

    @property
    def parameters(self) -> int:
        return self.weights + self.out_shape[0] * self.bias

    @property
    def macs(self) -> int:
        return self.weights * prod(self.out_shape[1:])


@dataclass(frozen=True, kw_only=True)
class WindowOperation(Operation):
    """An operation that moves a square window over a map."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0

    @property
    def window(self) -> Window:
        return Window(
            kernel=(self.kernel,) * 2,
            stride=(self.stride,) * 2,
            dilation=(self.dilation,) * 2,
            padding=(self.padding,) * 2,
        )

    def receptive_field(self, field: ReceptiveField) -> ReceptiveField:
        reach = self.dilation * (self.kernel - 1)
        return ReceptiveField(
            axes=tuple(
                AxisReceptiveField(
                    size=int(axis.size + reach * axis.jump),
                    jump=axis.jump * self.stride,
                    start=axis.start - self.padding * axis.jump,
                    min_size=int(axis.min_size + reach * axis.jump),
                )
                for axis in field.axes
            )
        )

    def coverage(self, masks: tuple[Masks, ...]) -> tuple[Masks, ...]:
        return tuple(
            coverage.through(
                axis,
                coverage.window_inputs(
                    size,
                    kernel=self.kernel,
                    stride=self.stride,
                    dilation=self.dilation,
                    padding=self.padding,
                ),
            )
            for axis, size in zip(masks, self.out_shape[1:], strict=True)
        )


def without_defaults(values: dict[str, tuple[Any, Any]]) -> dict[str, object]:
    """Return the values that differ from their defaults: `{name: (value, default)}`."""
    return {name: value for name, (value, default) in values.items() if value != default}
