"""Unregistered layers, attributes that hide methods, and modules inside wrappers."""

import copy
import runpy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError
from convsmith.net.tables import totals
from convsmith.tracing.members import hidden_methods, named_parameters, unregistered, unwrap
from convsmith.tracing.trace import trace

IMAGE = (3, 8, 8)
LAYER_MACS = 4 * 3 * 9 * 6 * 6


class Holder(nn.Module):
    """Keeps a layer in an attribute of any name and kind."""

    def __init__(self, name: str, wrap: Any, pick: Any) -> None:
        super().__init__()
        self.name, self.pick = name, pick
        object.__setattr__(self, name, wrap(nn.Conv2d(3, 4, 3)))

    def forward(self, x: Tensor) -> Any:
        return self.pick(vars(self)[self.name])(x)


CONTAINERS: list[tuple[Any, Any, str]] = [
    (lambda each: [each], lambda held: held[0], "[0]"),
    (lambda each: (None, each), lambda held: held[1], "[1]"),
    (lambda each: {"a": each}, lambda held: held["a"], "['a']"),
    (lambda each: [[each]], lambda held: held[0][0], "[0][0]"),
    (lambda each: each, lambda held: held, ""),
]
METHODS = [
    "layers", "modules", "parameters", "named_modules", "named_parameters", "buffers", "named_buffers",
    "apply", "state_dict", "float", "type", "to", "cuda", "zero_grad",
]  # fmt: skip


@pytest.mark.parametrize(("wrap", "pick", "index"), CONTAINERS)
@pytest.mark.parametrize("name", METHODS)
def test_unregistered_layers_in_attributes_of_any_name(name: str, wrap: Any, pick: Any, index: str) -> None:
    analysis = trace(Holder(name, wrap, pick), IMAGE)
    assert (analysis.macs, analysis.parameters, analysis.trainable) == (LAYER_MACS, 112, 0)
    assert analysis.unregistered == ((f"{name}{index}.weight", 108), (f"{name}{index}.bias", 4))
    assert [row.name for row in analysis.rows] == [f"{name}{index}"]
    lines = "\n".join(totals(analysis))
    assert "112 unregistered" in lines
    assert "neither trained nor saved" in lines
    hidden = name != "layers"
    assert (f"hides the method {name} of torch.nn.Module" in lines) == hidden


@pytest.mark.parametrize("name", ["train", "eval", "children", "named_children"])
def test_methods_that_the_evaluation_mode_needs(name: str) -> None:
    with pytest.raises(ModuleError) as caught:
        trace(Holder(name, lambda each: [each], lambda held: held[0]), IMAGE)
    assert f"rename {name}" in caught.value.problems[0].fix


class Registered(nn.Module):
    """A registered layer whose name belongs to a method: `self.modules` is the method."""

    def __init__(self) -> None:
        super().__init__()
        self.modules = nn.ModuleList([nn.Conv2d(3, 4, 3)])  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Any:
        return self.modules[0](x)  # type: ignore[index]


class ForwardLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.forward = nn.Conv2d(3, 4, 3)


@pytest.mark.parametrize(("net", "name"), [(Registered(), "modules"), (ForwardLayer(), "forward")])
def test_registered_layers_with_the_name_of_a_method(net: nn.Module, name: str) -> None:
    with pytest.raises(ModuleError) as caught:
        trace(net, IMAGE)
    assert caught.value.problems[0].fix == f"rename {name}: the name belongs to a method of torch.nn.Module"


def test_a_function_as_forward_is_on_purpose() -> None:
    net = nn.Conv2d(3, 4, 3)
    net.forward = net.forward  # type: ignore[method-assign]
    assert hidden_methods(net) == []
    assert trace(net, IMAGE).macs == LAYER_MACS


class LooseWeights(nn.Module):
    """Weights as parameters in a list, and as a tensor with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [nn.Parameter(torch.rand(4, 3, 3, 3))]
        self.scale = torch.ones(4, 1, 1, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weights[0]) * self.scale


def test_unregistered_weights() -> None:
    analysis = trace(LooseWeights(), IMAGE)
    assert analysis.unregistered == (("weights[0]", 108), ("scale", 4))
    assert (analysis.macs, analysis.parameters, analysis.trainable) == (LAYER_MACS, 112, 0)


class CreatesALayer(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return nn.Conv2d(4, 4, 3)(nn.Conv2d(3, 4, 3)(x))


def test_layers_that_the_forward_pass_creates() -> None:
    analysis = trace(CreatesALayer(), IMAGE)
    assert analysis.macs == LAYER_MACS + 4 * 4 * 9 * 4 * 4
    assert sum(count for _, count in analysis.unregistered) == analysis.parameters == 112 + 148


def test_registered_layers_are_not_unregistered() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    net.also = [net[0]]  # type: ignore[assignment]
    net.itself = [net]  # type: ignore[assignment]
    assert unregistered(net) == {}
    assert trace(net, IMAGE).unregistered == ()


def body() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def spectral() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)))


def compiled(module: nn.Module) -> nn.Module:
    result: Any = torch.compile(module, backend="eager")
    assert isinstance(result, nn.Module)
    return result


def scripted() -> nn.Module:
    """PyTorch 2.13 deprecates it; old nets are still of this form."""
    with warnings.catch_warnings(action="ignore"):
        result: nn.Module = torch.jit.script(body())
    return result


def jit_traced() -> nn.Module:
    make: Any = torch.jit.trace
    with warnings.catch_warnings(action="ignore"):
        result: nn.Module = make(body(), torch.zeros(1, *IMAGE))
    return result


@pytest.mark.parametrize(
    ("net", "parameters"),
    [
        (scripted(), 120),
        (jit_traced(), 120),
        (nn.Sequential(scripted()), 120),
        (compiled(body()), 120),
        (nn.Sequential(compiled(body())), 120),
        (nn.DataParallel(body()), 120),
        (nn.DataParallel(compiled(body())), 120),
        (body().to("meta"), 120),
        (body().half(), 120),
        (body().bfloat16(), 120),
        (nn.Sequential(nn.LazyConv2d(4, 3)), 112),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))), 116),
        (spectral(), 112),
        (nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Conv2d(3, 4, 3))), 112),
    ],
    ids=["script", "trace", "script inside", "compile", "compile inside", "parallel", "both", "meta", "half",
         "bfloat16", "lazy", "weight norm", "spectral norm", "orthogonal"],
)  # fmt: skip
def test_modules_of_any_form(net: nn.Module, parameters: int) -> None:
    analysis = trace(net, IMAGE)
    assert (analysis.parameters, analysis.macs, analysis.receptive_field) == (parameters, LAYER_MACS, 3)
    assert (analysis.unused, analysis.unregistered) == ((), ())
    assert not analysis.unknown_macs
    if not any(map(nn.parameter.is_lazy, net.parameters())):
        assert sum(each.numel() for each in net.parameters()) == parameters
        assert analysis.trainable == parameters


def test_wrappers_are_removed() -> None:
    inner = body()
    assert unwrap(nn.DataParallel(compiled(inner))) is inner
    assert trace(compiled(inner), IMAGE).title == "Sequential"


def test_named_parameters_are_those_of_pytorch() -> None:
    net = nn.Sequential(body(), copy.deepcopy(body()))
    net[1] = nn.Sequential(net[0], nn.BatchNorm2d(4))
    assert list(named_parameters(net)) == [name for name, _ in net.named_parameters()]
    assert named_parameters(scripted()).keys() == dict(body().named_parameters()).keys()


SCRIPTED = """
import torch

class Scripted(torch.jit.ScriptModule):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    @torch.jit.script_method
    def forward(self, x):
        return self.conv(x)
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_layers_in_torchscript_are_registered(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(SCRIPTED)
    scripted = runpy.run_path(str(tmp_path / "model.py"))["Scripted"]()
    assert unregistered(nn.Sequential(scripted, nn.Flatten())) == {}
