"""From plan to `nn.Module`: plain PyTorch layers with readable names, and their initial weights.

Shapes: images `(N, C, H, W)`, logits `(N, num_classes)`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from convsmith.net.plan import Branch, Plan, Step


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
    """Build the module of a plan.

    Args:
        plan: A net for one input shape `(C, H, W)`.
        generator: Draws the initial weights; by default PyTorch's global generator.

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
    with seeded(generator):
        net = nn.Sequential(
            OrderedDict(
                (f"block{number}", _sequence(block)) for number, block in enumerate(plan.blocks, start=1)
            )
        )
        initialize(net, plan)
    return net


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Draw the initial weights of modules from a generator; None is PyTorch's global one.

    PyTorch's default initialisation takes no generator, so a fork of the global one is seeded.
    """
    with torch.random.fork_rng(devices=[], enabled=generator is not None):
        if generator is not None:
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield


def initialize(net: nn.Module, plan: Plan) -> None:
    """Set the initial weights by the plan's settings; biases become zero unless `init` is "default"."""
    fill = _INITS.get(plan.settings.init)
    weighted = plan.weighted_operations()
    for operation in weighted:
        module = net.get_submodule(operation.name)
        weight, bias = module.get_parameter("weight"), dict(module.named_parameters()).get("bias")
        if fill is not None:
            fill(weight)
            if bias is not None:
                nn.init.zeros_(bias)
        if plan.settings.init == "dirac" and operation is not weighted[-1]:
            _pass_inputs_on(weight)
        if operation.normed:
            with torch.no_grad():
                weight.mul_(plan.settings.init_gain)


def _pass_inputs_on(weight: Tensor) -> None:
    """Make the first outputs of an ordinary convolution an identity; the others are unchanged."""
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
    return step.module()
