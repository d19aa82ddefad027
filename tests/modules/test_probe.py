"""A module is run on a few images before it is trained: what stands in the way is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.errors import ModuleError
from convsmith.modules.architecture import ModuleArchitecture, architecture_of
from convsmith.modules.config import ModuleConfig
from convsmith.modules.probe import Probe, probe_classifier
from convsmith.system.memory_format import to_device
from helpers import odd_nets

SHAPE, CLASSES = (1, 8, 8), 10


def probe(module: nn.Module, **options: Any) -> Probe:
    return probe_classifier(module, SHAPE, CLASSES, where="model.py:Net", **options)


class Net(nn.Module):
    """A sound classifier; the faulty ones of the tests derive from it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(4, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = self.dropout(functional.relu(self.norm(self.conv(images))))
        return maps

    def forward(self, images: Tensor) -> Any:
        return self.fc(self.features(images).mean((2, 3)))


class LogSoftmax(Net):
    def forward(self, images: Tensor) -> Any:
        return functional.log_softmax(super().forward(images), dim=1)


class Softmax(Net):
    def forward(self, images: Tensor) -> Any:
        return functional.softmax(super().forward(images), dim=1)


class Tuple(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images), images


class Dictionary(Net):
    def forward(self, images: Tensor) -> Any:
        return {"logits": super().forward(images)}


class Map(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images)[:, :, None, None]


class Integers(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).argsort(1)


class View(Net):
    """`view(-1, 10)` on a map that is larger than one position."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(4, CLASSES, 3)

    def forward(self, images: Tensor) -> Any:
        return self.last(self.features(images)).view(-1, CLASSES)


class EvalDropout(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(functional.dropout(images, 0.5))


class PlainList(Net):
    def __init__(self) -> None:
        super().__init__()
        self.extra = [nn.Linear(CLASSES, CLASSES)]

    def forward(self, images: Tensor) -> Any:
        return self.extra[0](super().forward(images))


class Growing(Net):
    def forward(self, images: Tensor) -> Any:
        outputs = super().forward(images)
        late = nn.Linear(CLASSES, CLASSES)
        self.add_module("late", late)
        return late(outputs)


class InPlace(Net):
    def forward(self, images: Tensor) -> Any:
        maps = self.conv(images).exp()
        squares = maps * maps
        maps.zero_()
        return self.fc(squares.mean((2, 3)))


class WithNumPy(Net):
    def forward(self, images: Tensor) -> Any:
        return torch.from_numpy(np.asarray(super().forward(images).numpy()))


class NotFinite(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images) / 0


class Flat(nn.Module):
    """Takes 28x28 images alone."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(784, CLASSES)

    def forward(self, images: Tensor) -> Any:
        return self.fc(images.flatten(1))


class Mixing(nn.Module):
    """Takes eight images of 8x8 for one, and two of 32x32 for four."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(512, CLASSES)

    def forward(self, images: Tensor) -> Any:
        return self.fc(images.view(-1, 512))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, images: Tensor, number: Tensor) -> Any:
        return self.net(images) + number


class Frozen(Net):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(requires_grad=False)


class NoParameters(nn.Module):
    def forward(self, images: Tensor) -> Any:
        return images.flatten(1)[:, :CLASSES]


FAULTS: list[tuple[type[nn.Module], str, str]] = [
    (Tuple, "forward returns a tuple of 2", "return one tensor, the logits"),
    (Dictionary, "forward returns a dictionary with 'logits'", "return one tensor"),
    (Map, "forward returns (4, 10, 1, 1) for 4 images, expected (4, 10)", "x.flatten(1)"),
    (Integers, "forward returns numbers of torch.int64", "the logits"),
    (View, "forward returns (64, 10) for 4 images", "data.resize"),
    (EvalDropout, "two forward passes of the same images differ", "training=self.training"),
    (PlainList, "neither trained nor saved: extra[0]", "nn.ModuleList"),
    (Growing, "the forward pass creates layers: late.bias, late.weight", "in __init__"),
    (InPlace, "the backward pass fails: RuntimeError", "x = x + y"),
    (WithNumPy, "the forward pass in training mode fails", "net(torch.zeros(2, 1, 8, 8))"),
    (NotFinite, "not finite", "torch.randn"),
    (Flat, "the forward pass fails on 4 images of 1x8x8", "it accepts images of 1x28x28: data.resize=28"),
    (Mixing, "the forward pass fails on 4 images of 1x8x8", "check it in Python"),
    (TwoInputs, "missing 1 required positional argument: 'number'", "give number a default in forward"),
    (Frozen, "all its parameters are frozen", "requires_grad"),
    (NoParameters, "it has no parameters", "layers that learn"),
]


@pytest.mark.parametrize(("kind", "what", "fix"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_stands_in_the_way_is_named(kind: type[nn.Module], what: str, fix: str) -> None:
    with pytest.raises(ModuleError) as caught:
        probe(kind())
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.where == "model.py:Net" or "test_probe.py, line " in problem.where
    assert fix in problem.fix


def test_the_number_of_outputs_must_be_that_of_the_classes() -> None:
    with pytest.raises(ModuleError, match="the net has 10 outputs, the data has 7 classes"):
        probe_classifier(Net(), SHAPE, 7, where="net")


def test_an_error_names_the_line_of_the_user() -> None:
    with pytest.raises(ModuleError) as caught:
        probe(Flat())
    assert "test_probe.py, line" in caught.value.problems[0].where


@pytest.mark.parametrize(
    ("kind", "outputs"), [(Net, "logits"), (LogSoftmax, "log_probabilities"), (Softmax, "probabilities")]
)
def test_the_meaning_of_the_outputs_is_recognized(kind: type[nn.Module], outputs: str) -> None:
    result = probe(kind())
    assert result.outputs == outputs
    assert any("probabilities" in note for note in result.notes) == (outputs != "logits")


def test_stated_outputs_are_kept_unless_the_values_contradict_them() -> None:
    assert probe(Softmax(), outputs="logits").outputs == "logits"
    with pytest.raises(ModuleError, match="by their values the outputs are logits"):
        probe(Net(), outputs="probabilities")


def test_the_module_and_the_random_state_are_unchanged() -> None:
    module = Net()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    probe(module)
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_dropout_layers_have_their_own_generator_and_functions_have_not() -> None:
    class Functional(Net):
        def forward(self, images: Tensor) -> Any:
            return super().forward(functional.dropout(images, 0.5, self.training))

    assert not probe(Net()).in_order
    assert probe(Functional()).in_order


def test_parameters_without_a_gradient_are_noted() -> None:
    class Unused(Net):
        def __init__(self) -> None:
            super().__init__()
            self.aside = nn.Linear(4, 4)

    (note,) = probe(Unused()).notes
    assert (
        note == "no gradient reaches 2 parameters, which only weight decay changes: aside.weight, aside.bias"
    )


def test_outputs_that_depend_on_the_batch_are_noted() -> None:
    class BatchStatistics(Net):
        def forward(self, images: Tensor) -> Any:
            return super().forward(images - images.mean(0))

    (note,) = probe(BatchStatistics()).notes
    assert "depend on the other images of the batch" in note


class FixedBatch(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images) + torch.zeros(64, 1)


class RarelyRandom(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images) * (2 if torch.rand(()) < 0.6 else 1)


class Auxiliary(Net):
    def forward(self, images: Tensor) -> Any:
        outputs = super().forward(images)
        return (outputs, outputs) if self.training else outputs


class Hiding(Net):
    def __init__(self) -> None:
        super().__init__()
        self.parameters = [1]  # type: ignore[assignment]


class ExtraState(Net):
    def get_extra_state(self) -> Any:
        return {"steps": 1}

    def set_extra_state(self, state: Any) -> None:
        del state


class Detached(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).detach()


class Endless(Net):
    def forward(self, images: Tensor) -> Any:
        while True:
            super().forward(images)


@pytest.mark.parametrize(
    ("kind", "what", "fix"),
    [
        (FixedBatch, "fails on 4 images of 1x8x8", "it takes 64 images at once"),
        (RarelyRandom, "two forward passes of the same images differ", "training=self.training"),
        (Auxiliary, "forward in training mode returns a tuple of 2", "aux_logits=False"),
        (Hiding, "attributes hide methods of torch.nn.Module: parameters", "other names"),
        (ExtraState, "get_extra_state is not saved: the net itself", "register_buffer"),
        (Detached, "the backward pass fails", ".detach()"),
        (Endless, "a pass of the net does not end: stopped after 0.3 seconds", "smaller images"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_more_of_what_stands_in_the_way(
    kind: type[nn.Module], what: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind is Endless:
        monkeypatch.setattr("convsmith.modules.limits.TIME_LIMIT", 0.3)
    with pytest.raises(ModuleError) as caught:
        probe(kind())
    (problem,) = caught.value.problems
    assert what in problem.what
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("kind", "in_order"),
    [
        (odd_nets.Base, False),
        (odd_nets.SharedDropout, False),
        (odd_nets.OwnStatistics, False),
        (odd_nets.FunctionalDropout, True),
        (odd_nets.DropPath, True),
        (odd_nets.PythonRandom, True),
        (odd_nets.MaxNorm, True),
    ],
)
def test_random_numbers_and_writes_need_an_order(kind: type[nn.Module], in_order: bool) -> None:
    assert probe(kind()).in_order == in_order


class Running(Net):
    """Statistics in an attribute, which evaluation needs."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.zeros(CLASSES)

    def forward(self, images: Tensor) -> Any:
        outputs = super().forward(images)
        if self.training:
            self.mean = 0.5 * self.mean + outputs.mean(0).detach()
        return outputs - self.mean


class Unsaved(Running):
    """The same in a buffer that `state_dict` does not hold."""

    def __init__(self) -> None:
        super().__init__()
        del self.mean
        self.register_buffer("mean", torch.zeros(CLASSES), persistent=False)


@pytest.mark.parametrize("kind", [Running, Unsaved])
def test_what_evaluation_needs_is_in_the_state_dict(kind: type[nn.Module]) -> None:
    with pytest.raises(ModuleError) as caught:
        probe(kind())
    (problem,) = caught.value.problems
    assert problem.what.startswith("another instance with its weights computes something else")
    assert problem.what.endswith(": mean")
    assert "without persistent=False" in problem.fix


class Resized(Net):
    """A saved buffer of another shape after the first pass."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(1))

    def forward(self, images: Tensor) -> Any:
        self.table = torch.zeros(images.shape[3])
        return super().forward(images)


def test_weights_must_fit_another_instance() -> None:
    with pytest.raises(ModuleError, match=r"its weights do not fit another instance: .* table"):
        probe(Resized())


class Counter(Net):
    def __init__(self) -> None:
        super().__init__()
        self.steps, self.rng, self.last = 0, np.random.default_rng(0), torch.zeros(())

    def forward(self, images: Tensor) -> Any:
        self.steps, self.last = self.steps + 1, images
        self.rng.integers(2)
        return super().forward(images)


class Warmup(Net):
    """Its passes in training depend on what no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.ones(())

    def forward(self, images: Tensor) -> Any:
        outputs = super().forward(images)
        if self.training:
            self.factor = self.factor + 1
            outputs = outputs * self.factor
        return outputs


class Kept(Warmup):
    """The same in a buffer, which checkpoints hold even if `state_dict` does not."""

    def __init__(self) -> None:
        super().__init__()
        del self.factor
        self.register_buffer("factor", torch.ones(()), persistent=False)


class Cached(Net):
    """What a pass leaves behind is no state."""

    def __init__(self) -> None:
        super().__init__()
        self.size: tuple[int, ...] = ()
        self.last = torch.zeros(())

    def forward(self, images: Tensor) -> Any:
        self.size, self.last = tuple(images.shape), images
        return super().forward(images)


@pytest.mark.parametrize(
    ("kind", "names"), [(Counter, "steps, rng"), (Warmup, "factor"), (Kept, ""), (Cached, "")]
)
def test_state_that_no_checkpoint_holds_is_noted(kind: type[nn.Module], names: str) -> None:
    notes = probe(kind()).notes
    expected = [f"training changes {names}, which no checkpoint holds: a resumed training may differ"]
    assert [note.partition(" from an")[0] for note in notes] == (expected if names else [])


def test_printing_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    class Printing(Net):
        def forward(self, images: Tensor) -> Any:
            print(images.shape)  # noqa: T201
            return super().forward(images)

    (note,) = probe(Printing()).notes
    assert note == "its forward pass prints text, in each step"
    assert capsys.readouterr().out == ""


CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, nClasses=100, in_chans=3):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 3)
        self.fc = nn.Linear(width, nClasses)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

def make(**options):
    return Net(nClasses=options.get("num_classes", 7), in_chans=1)

class Shuffled(Net):
    def __init__(self):
        super().__init__(nClasses=10, in_chans=1)
        self.order = torch.randperm(4)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3))[:, self.order])

class View(Net):
    def __init__(self):
        super().__init__(nClasses=10, in_chans=1)

    def forward(self, x):
        return self.fc(self.conv(x).view(len(x), -1)[:, :4])
"""


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("Net(in_chans=1)", "write model.py:Net(in_chans=1, nClasses=10)"),
        ("Net(8, 20, 1)", "write model.py:Net(8, 10, 1)"),
        ("make", "write model.py:make(num_classes=10)"),
        ("Net(nClasses=10)", "write model.py:Net(nClasses=10, in_chans=1)"),
    ],
)
def test_the_argument_of_the_classes_or_channels_is_named(
    name: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(CODE)
    with pytest.raises(ModuleError) as caught:
        architecture_of(ModuleConfig(module=f"model.py:{name}")).probe(SHAPE, CLASSES)
    assert caught.value.problems[0].fix == fix


def test_random_constants_differ_in_the_next_instance(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(CODE)
    with pytest.raises(ModuleError, match=r"computes something else, .* with: order"):
        architecture_of(ModuleConfig(module="model.py:Shuffled"), root=tmp_path).probe(SHAPE, CLASSES)


def test_a_net_that_needs_the_channels_first_gets_them(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(CODE)
    architecture = architecture_of(ModuleConfig(module="model.py:View"), root=tmp_path)
    assert isinstance(architecture, ModuleArchitecture)
    (note,) = architecture.probe((1, 9, 8), CLASSES).notes
    assert note.startswith("its `view` needs the channels first in memory")
    images = torch.randn(2, 9, 8, 1).permute(0, 3, 1, 2)
    torch.manual_seed(0)
    plain = architecture.create((1, 9, 8))
    torch.manual_seed(0)
    net = to_device(architecture.build((1, 9, 8)), torch.device("cpu"))
    assert torch.equal(
        net(images), plain(images.reshape(2, 1, 9, 8).clone(memory_format=torch.contiguous_format))
    )
