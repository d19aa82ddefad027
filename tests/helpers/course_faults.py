"""Nets that hand-written checks of assignments judge wrongly, each with the check and the right verdict.

The checks are those of public repositories of the course: they look at the layers that a net has, not at
what its forward pass does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Net(nn.Module):
    """Two convolutions, a pool over the map, and a classifier for images of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv(1, 8)
        self.conv2 = conv(8, 10)

    def features(self, images: Tensor) -> Any:
        return self.conv2(functional.relu(self.conv1(images)))

    def head(self, maps: Tensor) -> Any:
        return functional.adaptive_avg_pool2d(maps, 1).flatten(1)

    def forward(self, images: Tensor) -> Any:
        return functional.log_softmax(self.head(self.features(images)), dim=1)


class Frozen(Net):
    """Layers that are not trained, and a wide one among them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv(1, 8)
        self.wide = conv(8, 200).requires_grad_(requires_grad=False)
        self.narrow = nn.Conv2d(200, 8, 1).requires_grad_(requires_grad=False)

    def features(self, images: Tensor) -> Any:
        return self.conv2(self.narrow(self.wide(functional.relu(self.conv1(images)))))


class PlainAttribute(Net):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = torch.randn(8, 8, 7, 7)

    def features(self, images: Tensor) -> Any:
        return self.conv2(functional.conv2d(functional.relu(self.conv1(images)), self.kernel, padding=3))


class PlainList(Net):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [conv(8, 60), conv(60, 8)]

    def features(self, images: Tensor) -> Any:
        maps = self.conv1(images)
        for layer in self.layers:
            maps = functional.relu(layer(maps))
        return self.conv2(maps)


GLOBAL_TABLE = {"kernels": [torch.randn(8, 8, 5, 5)]}


class Global(Net):
    def features(self, images: Tensor) -> Any:
        return self.conv2(functional.conv2d(self.conv1(images), GLOBAL_TABLE["kernels"][0], padding=2))


class FixedSeed(Net):
    def features(self, images: Tensor) -> Any:
        kernel = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(7))
        return self.conv2(functional.conv2d(self.conv1(images), kernel, padding=1))


class OneByOnePool(Net):
    """Its average pool has a window of 1x1: the classifier sees the first position only."""

    def __init__(self) -> None:
        super().__init__()
        self.gap = nn.AvgPool2d(kernel_size=1)

    def head(self, maps: Tensor) -> Any:
        return self.gap(maps)[:, :, 0, 0]


class Mean(Net):
    def head(self, maps: Tensor) -> Any:
        return maps.mean((2, 3))


class FlatMean(Net):
    def head(self, maps: Tensor) -> Any:
        return maps.flatten(2).mean(-1)


class WindowOfTheMap(Net):
    def head(self, maps: Tensor) -> Any:
        return functional.avg_pool2d(maps, list(maps.shape[2:])).view(-1, 10)


class ZeroDropout(Net):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(p=0)

    def features(self, images: Tensor) -> Any:
        return self.conv2(self.drop(functional.relu(self.conv1(images))))


class UncalledDropout(Net):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.1)


class SleepingDropout(ZeroDropout):
    """Its dropout stays in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.1)

    def train(self, mode: bool = True) -> "SleepingDropout":
        super().train(mode)
        self.drop.eval()
        return self


class UnusedDropout(ZeroDropout):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.1)

    def features(self, images: Tensor) -> Any:
        maps = functional.relu(self.conv1(images))
        self.drop(maps)
        return self.conv2(maps)


class OffDropout(Net):
    def features(self, images: Tensor) -> Any:
        return self.conv2(functional.dropout(self.conv1(images), 0.1, training=False))


class FunctionalDropout(Net):
    def features(self, images: Tensor) -> Any:
        return self.conv2(functional.dropout(self.conv1(images), 0.1, training=self.training))


class TrainingDropout(Net):
    """Its dropout runs in training alone."""

    def features(self, images: Tensor) -> Any:
        maps = self.conv1(images)
        if self.training:
            maps = functional.dropout(maps, 0.1)
        return self.conv2(maps)


class ChannelDropout(Net):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(0.1)

    def features(self, images: Tensor) -> Any:
        return self.conv2(self.drop(self.conv1(images)))


class UncalledNorm(Net):
    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(8)


class UnusedNorm(UncalledNorm):
    def features(self, images: Tensor) -> Any:
        maps = self.conv1(images)
        self.bn1(maps)
        return self.conv2(functional.relu(maps))


class FunctionalNorm(Net):
    mean: Tensor
    var: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("var", torch.ones(8))

    def features(self, images: Tensor) -> Any:
        maps = self.conv1(images)
        maps = functional.batch_norm(maps, self.mean, self.var, self.scale, self.shift, self.training)
        return self.conv2(functional.relu(maps))


class PlainNorm(Net):
    """Batch norm without scale and shift normalises all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(8, affine=False)

    def features(self, images: Tensor) -> Any:
        return self.conv2(functional.relu(self.bn1(self.conv1(images))))


class Doubled(Net):
    def features(self, images: Tensor) -> Any:
        maps = functional.relu(self.conv1(images))
        return self.conv2(maps + maps)


class PlusConstant(Net):
    def features(self, images: Tensor) -> Any:
        maps = functional.relu(self.conv1(images))
        return self.conv2(maps + torch.ones_like(maps))


class PlusNothing(Net):
    def __init__(self) -> None:
        super().__init__()
        self.branch = conv(8, 8)

    def features(self, images: Tensor) -> Any:
        maps = functional.relu(self.conv1(images))
        return self.conv2(maps + 0 * self.branch(maps))


class Residual(PlusNothing):
    def features(self, images: Tensor) -> Any:
        maps = functional.relu(self.conv1(images))
        maps += self.branch(maps)
        return self.conv2(maps)


Check = Callable[[nn.Module], bool]


def has(*kinds: type[nn.Module]) -> Check:
    """The check of the repositories: a layer of a class is there."""
    return lambda net: any(isinstance(each, kinds) for each in net.modules())


def fewer_than(most: int) -> Check:
    """Their check of the number of parameters."""
    return lambda net: sum(each.numel() for each in net.parameters() if each.requires_grad) < most


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A net that a hand-written check judges wrongly.

    Attributes:
        net: Its class.
        brief: The rule.
        check: The hand-written check of it, which is wrong on this net.
        title: That of our check.
        passes: The right verdict.
        where: The name of the layer or tensor that breaks the rule.
        words: What our check says of it.
    """

    net: type[nn.Module]
    brief: dict[str, Any]
    check: Check
    title: str
    passes: bool
    where: str = ""
    words: str = ""


def _wrong(net: type[nn.Module], rule: str, check: Check, where: str, words: str) -> Fault:
    brief = {"require": [rule]}
    return Fault(net=net, brief=brief, check=check, title=rule, passes=False, where=where, words=words)


def _right(net: type[nn.Module], rule: str, check: Check) -> Fault:
    return Fault(net=net, brief={"require": [rule]}, check=check, title=rule, passes=True)


def _hidden(net: type[nn.Module], where: str) -> Fault:
    return Fault(
        net=net, brief={"max_parameters": 2000}, check=fewer_than(2000), title="hidden tensors", passes=False,
        where=where, words="hides",
    )  # fmt: skip


_GAP, _DROPOUT, _NORM = has(nn.AvgPool2d), has(nn.Dropout), has(nn.BatchNorm2d)
FAULTS = [
    Fault(
        net=Frozen, brief={"max_parameters": 2000}, check=fewer_than(2000), title="parameters", passes=False,
        words="16,208 frozen",
    ),
    _hidden(PlainAttribute, "kernel"),
    _hidden(PlainList, "layers[0].weight"),
    _hidden(Global, "GLOBAL_TABLE['kernels'][0]"),
    _hidden(FixedSeed, "a constant of 8x8x3x3"),
    _wrong(OneByOnePool, "global-average-pooling", _GAP, "gap", "has a window of 1x1 on a map of 28x28"),
    _right(Mean, "global-average-pooling", _GAP),
    _right(FlatMean, "global-average-pooling", _GAP),
    _right(WindowOfTheMap, "global-average-pooling", _GAP),
    _right(Net, "global-average-pooling", _GAP),
    _wrong(ZeroDropout, "dropout", _DROPOUT, "drop", "has p = 0"),
    _wrong(UncalledDropout, "dropout", _DROPOUT, "drop", "is built and never called"),
    _wrong(SleepingDropout, "dropout", _DROPOUT, "drop", "is off in training too"),
    _wrong(UnusedDropout, "dropout", _DROPOUT, "drop", "its result is unused"),
    _right(FunctionalDropout, "dropout", _DROPOUT),
    _right(TrainingDropout, "dropout", _DROPOUT),
    _right(ChannelDropout, "dropout", _DROPOUT),
    _wrong(UncalledNorm, "batch-norm", _NORM, "bn1", "is built and never called"),
    _wrong(UnusedNorm, "batch-norm", _NORM, "bn1", "its result is unused"),
    _right(FunctionalNorm, "batch-norm", _NORM),
]  # fmt: skip
# Nets without a hand-written check in the repositories, by the same rules.
OTHERS = [
    (OffDropout, "dropout", False),
    (PlainNorm, "batch-norm", True),
    (Doubled, "residual", False),
    (PlusConstant, "residual", False),
    (PlusNothing, "residual", False),
    (Residual, "residual", True),
]
