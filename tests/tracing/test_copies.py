"""A copy of a module runs: functions in its attributes and hooks use the layers of the copy."""

from functools import partial
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.tracing.copies import copy_module
from convsmith.tracing.trace import trace
from helpers import measured


class Closures(nn.Module):
    """Two layers, called by functions that refer to the module in several ways."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        layers = [self.first]

        def inner(x: Tensor) -> Any:
            return self.first(x)

        self.steps: Any = {
            "attribute": lambda x: self.first(x.clone()),
            "list": [lambda x: self.first(x.clone())],
            "nested": {"deep": [(lambda x: inner(x.clone()),)]},
            "default": lambda x, layer=self.first: layer(x),
            "keyword": self._keyword(self.first),
            "container": lambda x: layers[0](x.clone()),
            "partial": partial(lambda layer, x: layer(x), self.first),
        }[kind]

    @staticmethod
    def _keyword(first: nn.Module) -> Any:
        def call(x: Tensor, *, layer: nn.Module = first) -> Any:
            return layer(x)

        return call

    def forward(self, x: Tensor) -> Tensor:
        steps = self.steps
        while not callable(steps):
            steps = steps["deep"] if isinstance(steps, dict) else steps[0]
        result: Tensor = self.last(steps(x))
        return result


@pytest.mark.parametrize(
    "kind", ["attribute", "list", "nested", "default", "keyword", "container", "partial"]
)
def test_functions_in_attributes(kind: str) -> None:
    net = Closures(kind)
    analysis = trace(net, (3, 16, 16))
    assert analysis.parameters == measured.parameters(net)
    assert (analysis.unused, analysis.unregistered) == ((), ())
    assert [row.name for row in analysis.rows] == ["first", "last"]
    assert net(torch.zeros(1, 3, 16, 16)).shape == (1, 4, 12, 12)


@pytest.mark.parametrize("kind", ["function", "method", "partial"])
def test_a_forward_pass_of_the_instance(kind: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3))

    def forward(module: nn.Module, x: Tensor) -> Any:
        first, last = module.children()
        return last(functional.avg_pool2d(first(x), 3, 1, 1))

    forwards: dict[str, Any] = {
        "function": lambda x: net[1](functional.avg_pool2d(net[0](x), 3, 1, 1)),
        "method": MethodType(forward, net),
        "partial": partial(forward, net),
    }
    net.forward = forwards[kind]  # type: ignore[method-assign]
    analysis = trace(net, (3, 16, 16))
    assert (analysis.parameters, analysis.receptive_field) == (measured.parameters(net), 7)


class Features(nn.Module):
    """Takes the outputs of a layer from a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.features: dict[str, Tensor] = {}
        self.first.register_forward_hook(self.keep("first"))

    def keep(self, name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.features[name] = output

        return hook

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.first(x)) + self.features["first"]
        return result


@pytest.mark.parametrize("has_run", [True, False])
def test_features_from_hooks(has_run: bool) -> None:
    net = Features()
    if has_run:  # Results of operations, which PyTorch does not copy.
        net(torch.zeros(1, 3, 16, 16))
    before = dict(net.features)
    analysis = trace(net, (3, 16, 16))
    assert analysis.receptive_field == 5
    assert analysis.rows[-1].sources == (0, 1)
    assert net.features == before


class Functions(nn.Sequential):
    """Holds functions that refer to nothing."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3))
        self.functions = [len, lambda x: 2 * x]


def test_functions_without_references_stay_the_same() -> None:
    net = Functions()
    copied = copy_module(net)
    assert isinstance(copied, Functions)
    assert copied.functions == net.functions
    assert copied.functions is not net.functions


def test_lazy_norms() -> None:
    net = nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.LazyConvTranspose2d(4, 3),
        nn.LazyInstanceNorm2d(affine=True, track_running_stats=True), nn.Flatten(), nn.LazyLinear(10),
    )  # fmt: skip
    analysis = trace(net, (3, 16, 16))
    assert analysis.parameters == (3 * 4 * 9 + 4) + 8 + (4 * 4 * 9 + 4) + 8 + 10 * (4 * 256 + 1)
    assert analysis.buffers == 2 * (2 * 4 + 1)
    assert any(map(nn.parameter.is_lazy, net.buffers()))
