"""The net of the recipe `cifar10-classic`, as it is written by hand in plain PyTorch: 174,352 parameters."""

from torch import Tensor, nn
from torch.nn import functional


def block(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1, dropout: float) -> nn.Sequential:
    """A 3x3 convolution with its activation, norm and dropout."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, dilation=dilation, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
        nn.Dropout(dropout),
    )


def separable(inputs: int, outputs: int, *, dropout: float) -> nn.Sequential:
    """A depthwise convolution and a pointwise one, with activation, norm and dropout after the second."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
        nn.Dropout(dropout),
    )


class Net(nn.Module):
    def __init__(self, dropout: float = 0.02) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            block(3, 16, dropout=dropout),
            block(16, 16, dropout=dropout),
            block(16, 16, dilation=2, dropout=dropout),
        )
        self.conv2 = nn.Sequential(
            block(16, 32, dropout=dropout),
            block(32, 32, dropout=dropout),
            block(32, 32, stride=2, dropout=dropout),
        )
        self.conv3 = nn.Sequential(
            separable(32, 48, dropout=dropout),
            block(48, 48, dropout=dropout),
            block(48, 48, stride=2, dropout=dropout),
        )
        self.conv4 = nn.Sequential(*(block(width, 64, dropout=dropout) for width in (48, 64, 64)))
        self.head = nn.Conv2d(64, 10, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv4(self.conv3(self.conv2(self.conv1(x))))
        x = self.head(functional.adaptive_avg_pool2d(x, 1))
        return x.view(x.size(0), -1)
