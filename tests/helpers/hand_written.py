"""Nets as people write them by hand: their names, and their ways to pool, to flatten and to end.

Each takes images `(N, 3, 16, 16)` and returns one value for each of ten classes. `features` returns the last
map before the head.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

_Net = TypeVar("_Net", bound=nn.Module)


def seeded(create: Callable[[], _Net]) -> _Net:
    """Create a net with random weights and statistics, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = create()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.get_buffer("running_mean"))
                nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2)
    return net.eval()


def convblock(inputs: int, outputs: int, kernel: int = 3, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
        nn.Dropout(0.05),
    )


class ConvBlocks(nn.Module):
    """Blocks and transitions, a pooling window, a 1x1 convolution, view and log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.convblock1 = convblock(3, 8)
        self.convblock2 = convblock(8, 16)
        self.transition1 = nn.Sequential(nn.MaxPool2d(2, 2), nn.Conv2d(16, 8, 1))
        self.convblock3 = convblock(8, 16, padding=0)
        self.gap = nn.Sequential(nn.AvgPool2d(kernel_size=6))
        self.convblock4 = nn.Sequential(nn.Conv2d(16, 10, 1, bias=False))

    def features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.convblock3(self.transition1(self.convblock2(self.convblock1(x))))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        x = self.convblock4(self.gap(self.features(x)))
        return functional.log_softmax(x.view(-1, 10), dim=-1)


class SmallWindow(ConvBlocks):
    """A window that leaves out the last row and column of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.gap = nn.Sequential(nn.AvgPool2d(kernel_size=5))


class FunctionsOnly(nn.Module):
    """Activations and pooling as functions; the size of the batch is read at the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 10)

    def features(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        return functional.relu(self.bn2(self.conv2(x)))

    def forward(self, x: Tensor) -> Tensor:
        batch = x.size(0)
        x = functional.adaptive_avg_pool2d(self.features(x), 1).view(batch, -1)
        logits: Tensor = self.fc(functional.dropout(x, training=self.training))
        return logits


class Pooled(FunctionsOnly):
    """The same net with another way to pool."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(self.features(x)).flatten(1))
        return logits


class Ended(FunctionsOnly):
    """The same net with another end."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(super().forward(x))


class OneSequential(nn.Module):
    """All layers in one `nn.Sequential`, then adaptive pooling and a 1x1 convolution in another one."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Conv2d(16, 10, 1), nn.Flatten())

    def features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.model(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        result: Tensor = self.relu(out)
        return result


class ResNet(nn.Module):
    """`layer1` to `layer4`, a shared `relu`, `avgpool` and `fc`, as torchvision writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1), BasicBlock(8, 8, 1))
        self.layer2 = nn.Sequential(BasicBlock(8, 12, 2), BasicBlock(12, 12, 1))
        self.layer3 = nn.Sequential(BasicBlock(12, 16, 2), BasicBlock(16, 16, 1))
        self.layer4 = nn.Sequential(BasicBlock(16, 20, 1), BasicBlock(20, 20, 1))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(20, 10)

    def features(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


class SqueezeAndExcitation(FunctionsOnly):
    """A gate from the pooled map before the last pooling; `squeeze` drops a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 16)

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        gate: Tensor = self.gate(x.mean((2, 3))).sigmoid()
        return x * gate[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.avg_pool2d(self.features(x), 8).squeeze()
        logits: Tensor = self.fc(pooled)
        return logits


class MobileNet(nn.Module):
    """More blocks than a page shows, in one `nn.Sequential`, between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        strides = [1, 1, 2, 1, 1, 1, 2, *[1] * 8]
        self.layers = nn.Sequential(*(BasicBlock(8, 8, stride) for stride in strides))
        self.conv2 = nn.Conv2d(8, 10, 1)

    def features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.conv2(self.layers(self.conv1(x)))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean(-1).mean(-1)


AFFINE: tuple[type[nn.Module], ...] = (
    ConvBlocks,
    FunctionsOnly,
    OneSequential,
    ResNet,
    SqueezeAndExcitation,
    MobileNet,
)
