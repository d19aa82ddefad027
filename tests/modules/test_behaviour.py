"""Errors of a user's net in training name its line."""

from pathlib import Path

import pytest
import torch

import convsmith as cs
from convsmith.errors import DivergedError, ModuleError, OutOfMemoryError
from convsmith.modules.behaviour import guard_of, no_guard
from convsmith.system.memory import enough_memory

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))

class Training(Net):
    def forward(self, x):
        if self.training and len(x) > 20:
            raise ValueError("too many images")
        return super().forward(x)

class Evaluation(Net):
    def forward(self, x):
        if not self.training and len(x) > 20:
            raise KeyError("too many images")
        return super().forward(x)

class Halves(Net):
    def forward(self, x):
        return super().forward(x) if len(x) < 20 else super().forward(x)[:14]

class Backward(Net):
    def forward(self, x):
        outputs = super().forward(x)
        if len(x) > 20 and self.training:
            factor = outputs.exp()
            outputs = outputs * factor
            factor.zero_()
        return outputs
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(CODE)
    return "model.py"


@pytest.mark.parametrize(
    ("name", "what", "line"),
    [
        ("Training", "the forward pass in training fails: ValueError: too many images", 16),
        ("Evaluation", "the forward pass in evaluation fails: KeyError: 'too many images'", 22),
        ("Halves", "the forward pass in training fails: ValueError: Expected input batch_size (14)", 0),
        ("Backward", "the backward pass fails: RuntimeError: one of the variables", 0),
    ],
)
def test_a_failing_pass_names_the_line(name: str, what: str, line: int, model: str, tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", f"model.module={model}:{name}", "train.epochs=1")
    with pytest.raises(ModuleError) as caught:
        cs.train(recipe, runs=tmp_path / "runs")
    (problem,) = caught.value.problems
    assert problem.what.startswith(what)
    assert problem.where == (f"model.py, line {line}" if line else f"model.py:{name}")
    assert problem.fix


def test_the_range_test_names_the_line_too(model: str, tmp_path: Path) -> None:
    with pytest.raises(ModuleError, match=r"model.py, line 16"):
        cs.lr_find(cs.load_recipe("digits", f"model.module={model}:Training"), tmp_path)


def test_other_errors_pass_the_guard() -> None:
    guard = guard_of("net", lambda frame, line: "")
    with pytest.raises(OutOfMemoryError), enough_memory("training", torch.device("cpu")), guard("a pass"):
        raise MemoryError
    with pytest.raises(DivergedError), guard("a pass"):
        raise DivergedError("the loss is nan", where="epoch 1")
    with pytest.raises(KeyboardInterrupt), guard("a pass"):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="own"), no_guard("a pass"):
        raise ValueError("own")
    with pytest.raises(ModuleError, match="use_reentrant=False"), guard("a pass"):
        raise RuntimeError("use_reentrant=True is incompatible with .grad()")
