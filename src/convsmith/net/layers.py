"""The closed table of layer kinds, options and activations that the notation knows."""

from dataclasses import dataclass
from typing import Literal

# The largest number in the notation, so that a slip of the finger cannot ask for all the memory there is.
MAX_NUMBER = 65_536


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of layer: what its number means and which options it takes."""

    letter: str
    name: str
    number: Literal["width", "kernel", "factor", "none"]
    options: str = ""
    kernel: int = 1
    weighted: bool = False
    convolution: bool = False


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a layer, written `:k5`."""

    letter: str
    name: str
    least: int
    most: int = MAX_NUMBER


KINDS: dict[str, Kind] = {
    kind.letter: kind
    for kind in (
        Kind(
            letter="C",
            name="convolution",
            number="width",
            options="ksdpgona",
            kernel=3,
            weighted=True,
            convolution=True,
        ),
        Kind(
            letter="S",
            name="depthwise-separable convolution",
            number="width",
            options="ksdpona",
            kernel=3,
            weighted=True,
            convolution=True,
        ),
        Kind(
            letter="D",
            name="depthwise convolution",
            number="none",
            options="ksdpona",
            kernel=3,
            weighted=True,
            convolution=True,
        ),
        Kind(
            letter="P",
            name="pointwise convolution",
            number="width",
            options="sgona",
            weighted=True,
            convolution=True,
        ),
        Kind(letter="M", name="max pooling", number="kernel", options="sdp"),
        Kind(letter="A", name="average pooling", number="kernel", options="sp"),
        Kind(letter="G", name="global average pooling", number="none"),
        Kind(letter="F", name="fully connected", number="width", options="oa", weighted=True),
        Kind(letter="U", name="space-to-depth", number="factor"),
    )
}

OPTIONS: dict[str, Option] = {
    option.letter: option
    for option in (
        Option(letter="k", name="kernel size", least=1),
        Option(letter="s", name="stride", least=1),
        Option(letter="d", name="dilation", least=1),
        Option(letter="p", name="padding", least=0),
        Option(letter="g", name="groups", least=1),
        Option(letter="o", name="dropout", least=0),
        Option(letter="n", name="norm, 1 with and 0 without", least=0, most=1),
        Option(letter="a", name="activation", least=0),
    )
}

# Name in a recipe -> class in torch.nn.
NORMS: dict[str, str] = {"batch": "BatchNorm2d", "group": "GroupNorm", "instance": "InstanceNorm2d"}

# Name in a recipe or after `:a` -> class in torch.nn. A table, so that no file can name an import path.
ACTIVATIONS: dict[str, str] = {
    "relu": "ReLU",
    "leaky-relu": "LeakyReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "hardswish": "Hardswish",
}
