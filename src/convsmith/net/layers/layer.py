"""A layer of the notation, and what a kind of layer defines."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from convsmith.net.layers.operation import MisfitError, Operation
from convsmith.net.rows import Shape

# The largest number in the notation, so that a typing error cannot exhaust the memory.
MAX_NUMBER = 65_536


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a layer, written `:k5`."""

    letter: str
    name: str
    minimum: int
    maximum: int = MAX_NUMBER


OPTIONS: dict[str, Option] = {
    option.letter: option
    for option in (
        Option(letter="k", name="kernel size", minimum=1),
        Option(letter="s", name="stride", minimum=1),
        Option(letter="d", name="dilation", minimum=1),
        Option(letter="p", name="padding", minimum=0),
        Option(letter="g", name="groups", minimum=1),
        Option(letter="o", name="dropout", minimum=0),
        Option(letter="n", name="norm, 1 with and 0 without", minimum=0, maximum=1),
        Option(letter="a", name="activation", minimum=0),
    )
}


@dataclass(frozen=True)
class Kind:
    """One kind of layer.

    Subclasses set the class variables and expand a layer into operations; `registry.py` lists them.
    """

    letter: ClassVar[str]
    name: ClassVar[str]
    # The meaning of the number after the letter.
    number: ClassVar[Literal["width", "kernel", "factor", "none"]]
    options: ClassVar[str] = ""
    # The default kernel size.
    kernel: ClassVar[int] = 1
    weighted: ClassVar[bool] = False
    convolution: ClassVar[bool] = False
    # Whether the input must be a map `(C, H, W)`.
    needs_map: ClassVar[bool] = True

    def operations(self, layer: "Layer", shape: Shape) -> tuple[Operation, ...]:
        """Expand a layer, without the norm, activation and dropout that follow it.

        Raises:
            MisfitError: The layer does not fit an input of this shape.
        """
        raise NotImplementedError

    def layer(
        self, number: int | None, options: Mapping[str, float | str], *, position: int = 0, length: int = 1
    ) -> "Layer":
        """Create a layer from the number and the options in the notation."""
        values = {letter: value for letter, value in options.items() if not isinstance(value, str)}
        activation = options.get("a")
        pool = self.number == "kernel"
        kernel = number if pool and number else int(values.get("k", self.kernel))
        padding = values.get("p", 0 if pool else None)
        return Layer(
            kind=self,
            number=number,
            kernel=kernel,
            stride=int(values.get("s", kernel if pool else 1)),
            dilation=int(values.get("d", 1)),
            padding=None if padding is None else int(padding),
            groups=int(values.get("g", 1)),
            dropout=values.get("o"),
            norm=bool(values["n"]) if "n" in values else None,
            activation=activation if isinstance(activation, str) else None,
            position=position,
            length=length,
        )


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer.

    `padding` None keeps the size of the map ("same"). `dropout`, `norm` and `activation` None follow the
    settings of the net.
    """

    kind: Kind
    number: int | None = None
    kernel: int
    stride: int
    dilation: int = 1
    padding: int | None = None
    groups: int = 1
    dropout: float | None = None
    norm: bool | None = None
    activation: str | None = None
    position: int = field(default=0, compare=False)
    length: int = field(default=1, compare=False)

    def __str__(self) -> str:
        pool = self.kind.number == "kernel"
        values = [
            ("k", self.kernel, self.number if pool else self.kind.kernel),
            ("s", self.stride, self.kernel if pool else 1),
            ("d", self.dilation, 1),
            ("p", self.padding, 0 if pool else None),
            ("g", self.groups, 1),
            ("o", self.dropout, None),
            ("n", self.norm, None),
            ("a", self.activation, None),
        ]
        options = "".join(
            f":{letter}{value}" if isinstance(value, str) else f":{letter}{value:g}"
            for letter, value, default in values
            if letter in self.kind.options and value != default
        )
        return f"{self.kind.letter}{'' if self.number is None else self.number}{options}"

    @property
    def padding_pixels(self) -> int:
        """Padding on each side; "same" is `dilation * (kernel - 1) // 2`, exact for odd kernels."""
        return self.dilation * (self.kernel - 1) // 2 if self.padding is None else self.padding

    def map_size(self, shape: Shape) -> tuple[int, int]:
        """Return the height and width of the map after the window has moved over an input `(C, H, W)`.

        Raises:
            MisfitError: The window is larger than the padded input.
        """
        extent = self.dilation * (self.kernel - 1) + 1
        padding = self.padding_pixels
        height, width = ((size + 2 * padding - extent) // self.stride + 1 for size in shape[1:])
        room = min(shape[1:]) + 2 * padding
        if room < extent:
            size = "x".join(map(str, shape[1:]))
            raise MisfitError(
                f"a {extent}x{extent} window does not fit its {size} input, padding {padding}",
                fix=self._smaller(room, extent),
            )
        return height, width

    def _smaller(self, room: int, extent: int) -> str:
        """Return the smallest changes with which the window fits its input."""
        kernel = (room - 1) // self.dilation + 1
        padding = self.padding_pixels + -(-(extent - room) // 2)
        if self.kind.number == "kernel":
            smaller = replace(self, number=kernel, kernel=kernel, stride=min(self.stride, kernel))
            change = f"write {smaller}" if kernel > 1 else "leave it out"
            return f"{change}, or use fewer strides before it"
        smaller = replace(self, kernel=kernel)
        return f"write {smaller} or {replace(self, padding=padding)}, or use fewer strides before it"
