"""The rows of an analysis: one operation each, with its shapes, its numbers and its receptive fields.

Nothing here needs torch. A multiply-accumulate (MAC) is one multiplication and one addition, two
floating-point operations; only convolutions, fully connected layers and matrix products are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

Shape = tuple[int, ...]
Axes = tuple[int, ...]

# The row number of the input.
IMAGE = -1
# The note on joins of local and global paths.
GATED = "a path with a global receptive field joins here; the figures are those of the other paths"
# The notes on operations that combine all positions of the map and keep the map.
FULL_MAP = "its statistics are computed over the full map"
# The note on operations that no output of the net depends on.
UNUSED = "the result is unused"
# Why a product with the number 0 has no effect.
ZERO = "it multiplies by 0"
# The note on operations that evaluation leaves out.
TRAINING_ONLY = "it runs in training only"
# The note on a dropout whose `training` is not that of the net.
ALWAYS_ACTIVE = "it drops values in evaluation too: pass training=self.training"


@dataclass(frozen=True, kw_only=True)
class AxisReceptiveField:
    """The receptive field of the outputs of an operation, along one axis of the image.

    Attributes:
        size: Pixels, including padding; the maximum over all positions. 0: the full image, see `FULL_AXIS`.
        jump: Distance in pixels between the receptive fields of neighbouring outputs.
        start: First pixel of output 0; negative if it lies in the padding.
        min_size: The smallest size over all paths from the image.
    """

    size: int = 1
    jump: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    min_size: int = 1

    @property
    def centre(self) -> Fraction:
        """The centre of output 0, in pixels from the centre of the first pixel of the image."""
        return self.start + Fraction(self.size - 1, 2)


# Along this axis every output depends on the full image.
FULL_AXIS = AxisReceptiveField(size=0, jump=Fraction(0))


@dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    """The receptive field of the outputs of an operation, along every axis of the image.

    Without axes it is the full image, as after global pooling, unless `unknown` has a reason why it could not
    be determined, or it is `constant`: the outputs do not depend on the image.
    """

    axes: tuple[AxisReceptiveField, ...] = ()
    unknown: str = ""
    constant: bool = False

    @classmethod
    def of_image(cls, num_axes: int) -> "ReceptiveField":
        return cls(axes=(AxisReceptiveField(),) * num_axes)

    @property
    def sizes(self) -> Axes:
        return tuple(axis.size for axis in self.axes)

    @property
    def is_global(self) -> bool:
        """Whether every output depends on the full image, along all axes."""
        return not (self.axes or self.unknown or self.constant)


def misalignments(jumps: Sequence[Fraction], centres: Sequence[Fraction]) -> tuple[str, ...]:
    """Return a note on branches whose receptive fields are misaligned; empty if they are aligned.

    Example:
        >>> misalignments((Fraction(2), Fraction(2)), (Fraction(0), Fraction(1, 2)))
        ('its branches are misaligned: their centres are 0.5 pixels apart',)
    """
    if len(set(jumps)) > 1:
        distances = " and ".join(f"{float(jump):g}" for jump in jumps)
        return (f"its branches are misaligned: their outputs are {distances} pixels apart",)
    shift = max(centres) - min(centres)
    return (f"its branches are misaligned: their centres are {float(shift):g} pixels apart",) if shift else ()


@dataclass(frozen=True, kw_only=True)
class Window:
    """The window and the channels of an operation.

    Attributes:
        kernel: Kernel, stride, dilation and padding along each axis; empty without a window.
        groups: The groups of a convolution or of a group norm.
        bias: Whether a convolution or fully connected layer has a bias.
        width: `(input channels, output channels)` of a convolution or fully connected layer.
    """

    kernel: Axes = ()
    stride: Axes = ()
    dilation: Axes = ()
    padding: Axes = ()
    groups: int = 1
    bias: bool = False
    width: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Location:
    """A line in a file of the user's.

    Attributes:
        file: The path as a reader of messages knows it, relative to the working directory where possible.
        line: Counts from 1; in a notebook within its cell.
        cell: The code cell of a notebook, from 1; 0 in a Python file.

    Example:
        >>> print(Location(file="model.py", line=12), Location(file="S7.ipynb", line=5, cell=3), sep="; ")
        model.py:12; S7.ipynb, cell 3, line 5
    """

    file: str
    line: int
    cell: int = 0

    def __str__(self) -> str:
        return f"{self.file}, cell {self.cell}, line {self.line}" if self.cell else f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class IdleLayer:
    """A layer that a module has and that its forward pass never calls.

    Attributes:
        name: Its path in the net.
        operation: The name of its class.
        parameters: Those that no operation uses otherwise.
        width: Its output channels; 0 if it has none.
        definition: The line that makes it, if it is known.
        after: The path of the layer before it that is called; empty if there is none.
    """

    name: str
    operation: str
    parameters: int = 0
    width: int = 0
    definition: Location | None = None
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class HiddenTensor:
    """A tensor that the forward pass computes with, and that is no parameter and no buffer.

    Attributes:
        name: The attribute, global or variable of a closure that holds it, or what makes it.
        size: The number of its values.
        location: The first line that uses it, if it is known.
    """

    name: str
    size: int
    location: Location | None = None


@dataclass(frozen=True, kw_only=True)
class Row(Window):
    """One operation and its numbers. Shapes are `(C, H, W)` or `(features,)`, without the batch.

    Attributes:
        operation: The name of its class in `torch.nn`, or of the called function.
        name: Its path in the net, for example `block1.conv2`.
        block: The block of the net.
        layer: The layer in the notation, or the path of the module.
        sources: The numbers of the rows whose outputs are its inputs; `IMAGE` is the input of the net.
        parameters: Without those that an earlier row counts.
        macs: Multiply-accumulates for one image; None if they are unknown.
        elementwise: Each output value depends only on the input value at its position, so the operation can
            run in place.
        in_field: The receptive field of its inputs; `out_field`: of its outputs.
        notes: Remarks, such as why a number is unknown or that two branches are misaligned.
        probability: The share of the values that a dropout sets to zero; None for other operations, and if it
            is unknown.
        inactive: Why the operation has no effect on the result, such as `p is 0` of a dropout; empty if it
            has one.
        location: The line that calls it; None for a net in the notation.
        definition: The line that makes its layer; None for a function, and in the notation.
    """

    operation: str
    name: str
    block: str = ""
    layer: str = ""
    sources: tuple[int, ...]
    in_shape: Shape
    out_shape: Shape
    parameters: int = 0
    macs: int | None = 0
    elementwise: bool = False
    in_field: ReceptiveField
    out_field: ReceptiveField
    notes: tuple[str, ...] = ()
    probability: float | None = None
    inactive: str = ""
    location: Location | None = None
    definition: Location | None = None

    @property
    def activations(self) -> int:
        """Output values for one image."""
        return prod(self.out_shape)
