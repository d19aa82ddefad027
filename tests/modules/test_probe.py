"""A module is run on a few images before it is trained: what stands in the way is named."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.errors import ModuleError
from convsmith.modules.probe import Probe, probe_classifier

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
