"""Nets for 1x8x8 images and ten classes with what users write: own layers, ties, buffers, random numbers."""

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations


class Base(nn.Module):
    """Two convolutions with batch norm, and a linear layer; the others derive from it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 10)

    def features(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv2(functional.relu(self.bn1(self.conv1(x)))))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x).mean((2, 3)))
        return logits


class View(Base):
    """`view` on a map: its channels must be first in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.features(x), 2)
        logits: Tensor = self.fc(x.view(-1, 96))
        return logits


class WeightView(Base):
    """A convolution that standardizes its weights by `view`, as of nets with group norm."""

    def features(self, x: Tensor) -> Tensor:
        weight = self.conv2.weight
        weight = weight - weight.view(6, -1).mean(1).view(6, 1, 1, 1)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(functional.conv2d(x, weight, self.conv2.bias, padding=1))


class ClassifierFirst(Base):
    """Its classifier is the first layer in `modules()`."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.fc = nn.Linear(6, 10)
        layers = Base()
        self.conv1, self.bn1, self.conv2 = layers.conv1, layers.bn1, layers.conv2


class Tied(Base):
    """Two names for one convolution's weights, and one layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.conv3.weight = self.conv2.weight
        self.again = self.conv3

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        result: Tensor = self.again(functional.relu(self.conv3(x)))
        return result


class SharedDropout(Base):
    """One dropout under two names and in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.drop1 = self.drop2 = nn.Dropout(0.2)
        self.drops = [self.drop1]

    def features(self, x: Tensor) -> Tensor:
        result: Tensor = self.drops[0](self.drop2(super().features(self.drop1(x))))
        return result


class FunctionalDropout(Base):
    def features(self, x: Tensor) -> Tensor:
        return functional.dropout2d(super().features(x), 0.2, self.training)


class DropPath(Base):
    """Stochastic depth by `torch.rand`."""

    def features(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        keep = (torch.rand(len(x), 1, 1, 1) > 0.3) / 0.7 if self.training else 1.0
        return functional.relu(x + keep * self.conv2(x))


class PythonRandom(Base):
    """Leaves a block out by Python's generator, and adds noise of NumPy's."""

    def features(self, x: Tensor) -> Tensor:
        if self.training and random.random() < 0.5:  # noqa: S311 - no secret
            return functional.relu(self.bn1(self.conv1(x)))
        noise = float(np.random.rand()) if self.training else 0.5  # noqa: NPY002
        return noise * super().features(x)


class OwnNorm(nn.Module):
    """Batch norm by hand: its statistics are replaced, not written into."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("var", torch.ones(1, channels, 1, 1))
        self.register_buffer("steps", torch.tensor(0))
        self.mean: Tensor
        self.var: Tensor
        self.steps: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return (x - self.mean) * torch.rsqrt(self.var + 1e-5)
        var, mean = torch.var_mean(x, (0, 2, 3), keepdim=True)
        self.mean = 0.8 * self.mean + 0.2 * mean.detach()
        self.var = 0.8 * self.var + 0.2 * var.detach()
        self.steps = self.steps + 1
        return (x - mean) * torch.rsqrt(var + 1e-5)


class OwnStatistics(Base):
    def __init__(self) -> None:
        super().__init__()
        self.bn1 = OwnNorm(6)  # type: ignore[assignment]


class Momenta(Base):
    """A cumulative average, an instance norm with statistics, and a norm that is frozen by `train`."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(6, momentum=None)
        self.bn2 = nn.BatchNorm2d(6)
        self.norm3 = nn.InstanceNorm2d(6, track_running_stats=True)
        nn.init.constant_(self.bn2.get_buffer("running_mean"), 0.1)

    def train(self, mode: bool = True) -> None:  # type: ignore[override] # a usual mistake
        super().train(mode)
        self.bn2.eval()

    def features(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm3(self.bn2(super().features(x)))
        return result


class Schedule(Base):
    """A dropout that grows with a counter, which is a buffer that `state_dict` does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(0.0), persistent=False)
        self.steps: Tensor

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        if not self.training:
            return x
        self.steps += 1
        return x * (1 + self.steps / 10)


class SpectralNorm(Base):
    """The old way, by hooks and plain attributes, and the new way, by parametrizations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.utils.spectral_norm(self.conv1)
        parametrizations.spectral_norm(self.conv2)


class WeightNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.utils.weight_norm(self.conv1)
        self.conv2 = parametrizations.weight_norm(self.conv2)


class MaxNorm(Base):
    """Writes into its weights before it uses them."""

    def features(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.conv2.weight.copy_(torch.renorm(self.conv2.weight, 2, 0, 0.5))
        return super().features(x)


class Mask(Base):
    """Attention over positions with an infinite mask, a table of complex numbers, and a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((64, 64), -torch.inf).triu(1))
        self.register_buffer("table", torch.polar(torch.ones(6), torch.arange(6.0)))
        self.register_buffer("cache", None, persistent=False)
        self.mask: Tensor
        self.table: Tensor
        self.cache: Tensor | None

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        if self.cache is None or len(self.cache) != x.shape[3]:
            self.cache = torch.linspace(0, 1, x.shape[3])
        flat = (x + self.cache).flatten(2).mT * self.table.real
        weights = (flat @ flat.mT + self.mask).softmax(-1)
        return (weights @ flat).mT.reshape(x.shape)


class FiveDimensions(Base):
    """A parameter of five dimensions, whose channels cannot be last in memory, and one of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 6, 1, 1, 1))
        self.order = nn.Parameter(torch.arange(5, -1, -1), requires_grad=False)

    def features(self, x: Tensor) -> Tensor:
        return (super().features(x)[..., None] + self.bias)[..., 0][:, self.order]


def rectify(layer: nn.Module, inputs: object, outputs: Tensor) -> Tensor:
    del layer, inputs
    return outputs.relu()


class Functions(Base):
    """Functions in attributes that refer to its layers, and hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.step: Callable[[Tensor], Tensor] = lambda x: functional.relu(self.bn1(self.conv1(x)))
        self.scale = torch.ones(1) * self.fc.weight.detach().mean()
        self.conv2.register_forward_hook(rectify)

    def features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.conv2(self.step(x))
        return maps


class Frozen(Base):
    """Frozen weights, and others without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1.requires_grad_(requires_grad=False)
        self.aside = nn.Linear(3, 3)


class Lazy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.LazyConv2d(6, 3, padding=1)
        self.fc = nn.LazyLinear(10)


class Double(Base):
    """Is created in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.drop(x))


class OddNames(Base):
    """Names with spaces, slashes and letters of other alphabets."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Conv2d(6, 6, 1)
        self.blocks = nn.ModuleDict({"1/a b": layer, "größe": nn.BatchNorm2d(6)})

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        for block in self.blocks.values():
            x = block(x)
        return x


ODD_NETS: tuple[type[nn.Module], ...] = (
    Base, View, WeightView, ClassifierFirst, Tied, SharedDropout, FunctionalDropout, DropPath, PythonRandom,
    OwnStatistics, Momenta, Schedule, SpectralNorm, WeightNorm, MaxNorm, Mask, FiveDimensions, Functions,
    Frozen, Lazy, Double, OddNames,
)  # fmt: skip
