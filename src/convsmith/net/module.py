"""From plan to `nn.Module`: plain PyTorch layers with readable names, and their initial weights.

Shapes: images `(N, C, H, W)`, logits `(N, num_classes)`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from convsmith.net.plan import Branch, Op, Plan, Step


class Residual(nn.Module):
    """`projection(x) + body(x)`."""

    def __init__(self, body: nn.Sequential, projection: nn.Sequential) -> None:
        super().__init__()
        self.body = body
        self.projection = projection

    def forward(self, maps_NCHW: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        skip: Tensor = self.projection(maps_NCHW)
        body: Tensor = self.body(maps_NCHW)
        return skip + body


def build(plan: Plan, *, generator: torch.Generator | None = None) -> nn.Sequential:
    """Make the net of a plan.

    Args:
        plan: A net for one input shape `(C, H, W)`.
        generator: Draws the initial weights; without one they come from PyTorch's global generator.

    Returns:
        A module from images `(N, C, H, W)` to logits `(N, num_classes)`.

    Example:
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> net = build(plan(parse("C8 C16:s2 / G F10"), (3, 32, 32)))
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> list(net.state_dict())[0]
        'block1.conv1.weight'
    """
    # PyTorch's own initialisation takes no generator; it is given one by seeding a fork of the global.
    with torch.random.fork_rng(devices=[], enabled=generator is not None):
        if generator is not None:
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        net = nn.Sequential(
            OrderedDict(
                (f"block{number}", _sequence(block)) for number, block in enumerate(plan.blocks, start=1)
            )
        )
        initialize(net, plan)
    return net


def initialize(net: nn.Module, plan: Plan) -> None:
    """Set the initial weights as the plan's settings say; other than by default, biases become zero."""
    fill = _INITS.get(plan.settings.init)
    weighted = [op for op in plan.operations() if op.operation in {"Conv2d", "Linear"}]
    for op in weighted:
        module = net.get_submodule(op.name)
        weight, bias = module.get_parameter("weight"), dict(module.named_parameters()).get("bias")
        if fill is not None:
            fill(weight)
            if bias is not None:
                nn.init.zeros_(bias)
        if plan.settings.init == "dirac" and op is not weighted[-1]:
            _pass_inputs_on(weight)
        if op.normed:
            with torch.no_grad():
                weight.mul_(plan.settings.init_gain)


def _pass_inputs_on(weight: Tensor) -> None:
    """Make the first outputs of an ordinary convolution an identity; the others stay as they are."""
    outputs, inputs = weight.shape[:2]
    if weight.dim() == 4 and inputs > 1:
        with torch.no_grad():
            nn.init.dirac_(weight[: min(outputs, inputs)])


_INITS: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming-normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "kaiming-uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain=2**0.5),
}


def _sequence(steps: Iterable[Step]) -> nn.Sequential:
    return nn.Sequential(OrderedDict((step.name.rsplit(".", 1)[1], _module(step)) for step in steps))


def _module(step: Step) -> nn.Module:
    if isinstance(step, Branch):
        return Residual(_sequence(step.body), _sequence(step.projection))
    return _MODULES[step.operation](step)


_MODULES: dict[str, Callable[[Op], nn.Module]] = {
    "Conv2d": lambda op: nn.Conv2d(
        op.in_shape[0],
        op.out_shape[0],
        op.kernel,
        stride=op.stride,
        padding=op.padding,
        dilation=op.dilation,
        groups=op.groups,
        bias=op.bias,
    ),
    "Linear": lambda op: nn.Linear(op.in_shape[0], op.out_shape[0], bias=op.bias),
    "BatchNorm2d": lambda op: nn.BatchNorm2d(op.out_shape[0]),
    "GroupNorm": lambda op: nn.GroupNorm(op.groups, op.out_shape[0]),
    "InstanceNorm2d": lambda op: nn.InstanceNorm2d(op.out_shape[0], affine=True),
    "Dropout": lambda op: nn.Dropout(op.probability),
    "MaxPool2d": lambda op: nn.MaxPool2d(op.kernel, op.stride, op.padding, op.dilation),
    "AvgPool2d": lambda op: nn.AvgPool2d(op.kernel, op.stride, op.padding),
    "GlobalAvgPool2d": lambda _: nn.AdaptiveAvgPool2d(1),
    "Flatten": lambda _: nn.Flatten(),
    "PixelUnshuffle": lambda op: nn.PixelUnshuffle(op.kernel),
    "ReLU": lambda _: nn.ReLU(inplace=True),
    "LeakyReLU": lambda _: nn.LeakyReLU(inplace=True),
    "GELU": lambda _: nn.GELU(),
    "SiLU": lambda _: nn.SiLU(),
    "Hardswish": lambda _: nn.Hardswish(),
}
