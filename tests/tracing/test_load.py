"""Modules from files."""

from pathlib import Path

import pytest

from convsmith.errors import FileError, ModuleError
from convsmith.tracing.load import load_module
from convsmith.tracing.trace import trace

IMAGE = (3, 32, 32)


MODEL = """
from torch import nn
from helper import WIDTH

class Net(nn.Sequential):
    def __init__(self, classes, width=WIDTH):
        super().__init__(nn.Conv2d(3, width, 3), nn.Flatten(), nn.LazyLinear(classes))

class Broken(nn.Module):
    def __init__(self):
        raise ValueError("no")

net = nn.Conv2d(3, 4, 1)
number = 3
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("WIDTH = 5\n")
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path / "model.py"


def test_modules_from_a_file(model: Path) -> None:
    assert trace(load_module(f"{model}:Net(7)"), IMAGE).num_outputs == 7
    assert trace(load_module(f"{model}:Net(classes=2, width=3)"), IMAGE).rows[0].width == (3, 3)
    assert trace(load_module(f"{model}:net"), IMAGE).parameters == 16


@pytest.mark.parametrize(
    ("name", "what", "fix"),
    [
        ("Nets", "no class 'Nets' in this file", "did you mean 'Net'?"),
        (
            "Net",
            "cannot be created with these arguments: missing a required argument: 'classes'",
            "model.py:Net(classes=10)'",
        ),
        ("Net(1, 2, 3)", "too many positional arguments", "Net(classes=10)"),
        ("Net(open('x'))", "found \"Net(open('x'))\", expected the name of a class", "model.py:Net"),
        ("Broken", "the constructor of Broken fails: ValueError: no", ""),
        ("number", "no class 'number' in this file", "choose from 'Broken', 'Net'"),
        ("", "the name of a class is missing", "model.py:Net"),
    ],
)
def test_modules_that_cannot_be_created(model: Path, name: str, what: str, fix: str) -> None:
    with pytest.raises(ModuleError) as caught:
        load_module(f"{model}:{name}")
    (problem,) = caught.value.problems
    assert what in problem.what
    assert fix in problem.fix


def test_files_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        load_module(f"{tmp_path}/nowhere.py:Net")
    broken = tmp_path / "broken.py"
    for text, line in (("x = 1\nimport nowhere_at_all\n", 2), ("def f(:\n", 1)):
        broken.write_text(text)
        with pytest.raises(ModuleError) as caught:
            load_module(f"{broken}:Net")
        assert caught.value.problems[0].where == f"{broken}, line {line}"


def test_a_file_without_a_class_lists_its_modules(tmp_path: Path) -> None:
    """They are read from the text: the file does not run."""
    path = tmp_path / "nets.py"
    path.write_text(
        "raise SystemExit\nclass Small(Module):\n    def forward(self, x): ...\n"
        "class Large(Module):\n    def forward(self, x): ...\nclass Helper:\n    pass\n"
    )
    with pytest.raises(ModuleError) as caught:
        load_module(str(path))
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == ("the name of a class is missing", str(path))
    assert problem.fix == "choose from 'Large', 'Small'"
    path.write_text("class Net(Module):\n    def forward(self, x): ...\n")
    with pytest.raises(ModuleError, match=f"write {path}:Net"):
        load_module(str(path))
