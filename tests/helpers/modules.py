"""Small nets of well-known families as plain modules, independent of convsmith.

Each takes images `(N, 3, H, W)` with `H` and `W` multiples of 8. `features` returns the last map
`(N, C, H', W')` before the head, to measure its receptive field; `forward` returns logits `(N, 10)`, `UNet`
`(N, 10, H, W)`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_CLASSES = 10


class ConvNormReLU(nn.Sequential):
    """Convolution without bias, batch norm, ReLU; "same" padding if the kernel is odd."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        super().__init__(
            nn.Conv2d(
                inputs,
                outputs,
                kernel,
                stride=stride,
                padding=(height // 2, width // 2),
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Classifier(nn.Module):
    """A net that ends in global average pooling and one fully connected layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, NUM_CLASSES)

    def features(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.features(images)).flatten(1))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection, with a 1x1 projection if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNormReLU(inputs, outputs, stride=stride)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.skip = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.norm2(self.conv2(self.conv1(maps))) + self.skip(maps))


class ResNet20(Classifier):
    """ResNet-20 for CIFAR (He et al. 2016, arXiv 1512.03385), with projections as shortcuts (option B)."""

    def __init__(self) -> None:
        super().__init__(64)
        self.stem = ConvNormReLU(3, 16)
        self.stage1 = self.stage(16, 16, stride=1)
        self.stage2 = self.stage(16, 32, stride=2)
        self.stage3 = self.stage(32, 64, stride=2)

    @staticmethod
    def stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
        return nn.Sequential(
            BasicBlock(inputs, outputs, stride),
            BasicBlock(outputs, outputs, 1),
            BasicBlock(outputs, outputs, 1),
        )

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = self.stage3(self.stage2(self.stage1(self.stem(images))))
        return maps


class DenseLayer(nn.Module):
    """Norm, ReLU and a 3x3 convolution, whose output is concatenated with its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.conv(functional.relu(self.norm(maps)))], dim=1)


class DenseBlockNet(Classifier):
    """Two dense blocks with a transition between them (Huang et al. 2017, arXiv 1608.06993)."""

    def __init__(self, growth: int = 12, layers: int = 4) -> None:
        start, grown = 24, 24 + layers * growth
        middle = grown // 2
        super().__init__(middle + layers * growth)
        self.stem = nn.Conv2d(3, start, 3, padding=1, bias=False)
        self.block1 = nn.Sequential(*(DenseLayer(start + i * growth, growth) for i in range(layers)))
        self.transition = nn.Sequential(
            nn.BatchNorm2d(grown),
            nn.ReLU(inplace=True),
            nn.Conv2d(grown, middle, 1, bias=False),
            nn.AvgPool2d(2),
        )
        self.block2 = nn.Sequential(*(DenseLayer(middle + i * growth, growth) for i in range(layers)))

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = self.block2(self.transition(self.block1(self.stem(images))))
        return maps


class InceptionBlock(nn.Module):
    """Four branches side by side: 1x1, 3x3, 1x7 and 7x1, and max pooling (arXiv 1512.00567)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.point = ConvNormReLU(inputs, 16, 1)
        self.square = nn.Sequential(ConvNormReLU(inputs, 16, 1), ConvNormReLU(16, 24, 3))
        self.crossed = nn.Sequential(
            ConvNormReLU(inputs, 8, 1), ConvNormReLU(8, 12, (1, 7)), ConvNormReLU(12, 16, (7, 1))
        )
        self.pooled = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), ConvNormReLU(inputs, 8, 1))

    def forward(self, maps: Tensor) -> Tensor:
        branches = (self.point, self.square, self.crossed, self.pooled)
        return torch.cat([branch(maps) for branch in branches], dim=1)


class InceptionNet(Classifier):
    """A stem, two Inception blocks with max pooling between them."""

    def __init__(self) -> None:
        super().__init__(64)
        self.stem = ConvNormReLU(3, 32)
        self.block1 = InceptionBlock(32)
        self.shrink = nn.MaxPool2d(3, stride=2, padding=1)
        self.block2 = InceptionBlock(64)

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = self.block2(self.shrink(self.block1(self.stem(images))))
        return maps


class InvertedResidual(nn.Module):
    """1x1 to more channels, 3x3 depthwise, 1x1 back; a skip connection if the shape is unchanged."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, stride=stride, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.keeps_shape = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        output: Tensor = self.project(self.depthwise(self.expand(maps)))
        return maps + output if self.keeps_shape else output


class MobileNetBlock(Classifier):
    """Inverted residuals with linear bottlenecks (Sandler et al. 2018, arXiv 1801.04381)."""

    def __init__(self) -> None:
        super().__init__(32)
        self.stem = ConvNormReLU(3, 16, stride=2)
        self.block1 = InvertedResidual(16, 16, stride=1, expansion=6)
        self.block2 = InvertedResidual(16, 32, stride=2, expansion=6)
        self.block3 = InvertedResidual(32, 32, stride=1, expansion=6)

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = self.block3(self.block2(self.block1(self.stem(images))))
        return maps


class Skip(nn.Module):
    """The input plus a function of it."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, maps: Tensor) -> Tensor:
        output: Tensor = self.function(maps)
        return output + maps


class ConvMixer(Classifier):
    """Patches, then depthwise convolutions with skips and pointwise ones (arXiv 2201.09792)."""

    def __init__(self, width: int = 32, depth: int = 4, kernel: int = 5, patch: int = 2) -> None:
        super().__init__(width)
        self.patches = nn.Sequential(
            nn.Conv2d(3, width, patch, stride=patch), nn.GELU(), nn.BatchNorm2d(width)
        )
        self.mixers = nn.Sequential(*(self.mixer(width, kernel) for _ in range(depth)))

    @staticmethod
    def mixer(width: int, kernel: int) -> nn.Sequential:
        spatial = nn.Sequential(
            nn.Conv2d(width, width, kernel, groups=width, padding="same"), nn.GELU(), nn.BatchNorm2d(width)
        )
        return nn.Sequential(Skip(spatial), nn.Conv2d(width, width, 1), nn.GELU(), nn.BatchNorm2d(width))

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = self.mixers(self.patches(images))
        return maps


class UNet(nn.Module):
    """Down twice, up twice by transposed convolutions, maps of equal size joined (arXiv 1505.04597)."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down1 = self.twice(3, width)
        self.down2 = self.twice(width, 2 * width)
        self.bottom = self.twice(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.merge2 = self.twice(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge1 = self.twice(2 * width, width)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, NUM_CLASSES, 1)

    @staticmethod
    def twice(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(ConvNormReLU(inputs, outputs), ConvNormReLU(outputs, outputs))

    def features(self, images: Tensor) -> Tensor:
        fine = self.down1(images)
        coarse = self.down2(self.pool(fine))
        bottom = self.bottom(self.pool(coarse))
        coarse = self.merge2(torch.cat([coarse, self.up2(bottom)], dim=1))
        maps: Tensor = self.merge1(torch.cat([fine, self.up1(coarse)], dim=1))
        return maps

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


class SharedWeights(Classifier):
    """One convolution that runs three times, and two pointwise ones that share a weight."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(width)
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.again = nn.Conv2d(width, width, 3, padding=1)
        self.narrow = nn.Conv2d(width, width, 1, bias=False)
        self.narrow_too = nn.Conv2d(width, width, 1, bias=False)
        self.narrow_too.weight = self.narrow.weight

    def features(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.stem(images))
        for _ in range(3):
            maps = functional.relu(self.again(maps))
        last: Tensor = self.narrow_too(functional.relu(self.narrow(maps)))
        return last


class DirectParameters(nn.Module):
    """Parameters and function calls, without layers."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.filters1 = nn.Parameter(torch.randn(width, 3, 3, 3) / 27**0.5)
        self.filters2 = nn.Parameter(torch.randn(width, width, 3, 3) / (9 * width) ** 0.5)
        self.scale = nn.Parameter(torch.ones(width, 1, 1))
        self.weight = nn.Parameter(torch.randn(NUM_CLASSES, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(NUM_CLASSES))

    def features(self, images: Tensor) -> Tensor:
        maps = functional.relu(functional.conv2d(images, self.filters1, stride=2, padding=1))
        return maps + self.scale * functional.relu(
            functional.conv2d(maps, self.filters2, padding=2, dilation=2)
        )

    def forward(self, images: Tensor) -> Tensor:
        return functional.linear(self.features(images).mean(dim=(2, 3)), self.weight, self.bias)


class Functional(nn.Module):
    """Convolutions as layers, and all else as functions, methods and operators."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 5, padding=2)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * width, width, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(width, NUM_CLASSES) / width**0.5)

    def features(self, images: Tensor) -> Tensor:
        maps = functional.max_pool2d(self.conv1(images).relu(), 2)
        maps = torch.cat((maps, functional.relu(self.conv2(maps))), 1)
        return functional.avg_pool2d(functional.silu(self.conv3(maps)), 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(self.features(images), 1).flatten(1) @ self.weight


ALL: tuple[type[nn.Module], ...] = (
    ResNet20,
    DenseBlockNet,
    InceptionNet,
    MobileNetBlock,
    ConvMixer,
    UNet,
    SharedWeights,
    DirectParameters,
    Functional,
)


class Apply(nn.Module):
    """A function of the images and of some layers as a module."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, images: Tensor) -> Any:
        return self.function(images, *self.layers)
