"""Activations and dropout: what follows a layer and keeps its shape."""

from dataclasses import dataclass
from typing import ClassVar

from convsmith.net.layers.operation import Arguments, Operation


class Activation(Operation):
    stem = "activation"
    elementwise = True
    # The value of `activation` in the settings and after `:a`.
    keyword: ClassVar[str]
    inplace: ClassVar[bool] = False

    def arguments(self) -> Arguments:
        return (), {"inplace": True} if self.inplace else {}


class ReLU(Activation):
    keyword = "relu"
    inplace = True


class LeakyReLU(Activation):
    keyword = "leaky-relu"
    inplace = True


class GELU(Activation):
    keyword = "gelu"


class SiLU(Activation):
    keyword = "silu"


class Hardswish(Activation):
    keyword = "hardswish"


@dataclass(frozen=True, kw_only=True)
class Dropout(Operation):
    stem = "dropout"
    elementwise = True

    probability: float

    def arguments(self) -> Arguments:
        return (self.probability,), {}
