"""The user's lines: those that call an operation, and those that make its layer."""

import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from convsmith.api.summary import summary
from convsmith.modules.load import load_module
from convsmith.net.analysis import Analysis
from convsmith.net.inputs import inputs_of
from convsmith.tracing.places import Places, own_location
from convsmith.tracing.trace import trace
from helpers import course_faults

BLOCKS = """\
from torch import nn


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3),
        nn.ReLU(),
    )
"""
MODEL = """\
import torchvision  # not there
import torch.nn.functional as F
from torch import nn
from blocks import block

train_set = download_everything()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.layers = nn.ModuleList()
        for _ in range(2):
            self.layers.append(nn.Conv2d(8, 8, 3))
        self.block = block(8, 8)
        self.tail = nn.Sequential(
            nn.Conv2d(8, 8, 1),
            nn.Dropout(0),
        )
        self.idle = nn.BatchNorm2d(8)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for layer in self.layers:
            x = layer(x)
        x = self.tail(
            self.block(x)
        )
        return x.mean((2, 3))
"""
# The line that calls and the line that makes, of each operation.
LINES = {
    "stem": (23, 11),
    "ReLU": (23, None),
    "layers.0": (25, 14),
    "layers.1": (25, 14),
    "block.0": (27, ("blocks.py", 6)),
    "block.1": (27, ("blocks.py", 7)),
    "tail.0": (26, 17),
    "tail.1": (26, 18),
    "mean": (29, None),
}


def check_lines(analysis: Analysis, file: str, folder: str = "") -> None:
    assert [row.name for row in analysis.rows] == list(LINES)
    for row in analysis.rows:
        call, made = LINES[row.name]
        assert str(row.location) == f"{file}:{call}"
        other, line = made if isinstance(made, tuple) else (None, made)
        expected = f"{folder}{other}:{line}" if other else f"{file}:{line}"
        assert (row.definition and str(row.definition)) == (expected if line else None)
    assert [str(each.definition) for each in analysis.idle] == [f"{file}:20"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "nets"
    folder.mkdir()
    (folder / "blocks.py").write_text(BLOCKS)
    (folder / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    return folder


def test_lines_of_a_file_with_what_is_left_out(project: Path) -> None:
    loaded = load_module("nets/model.py:Net")
    assert loaded.left_out
    check_lines(trace(loaded.create(), (3, 16, 16), places=loaded.places), "nets/model.py", "nets/")


def test_paths_are_relative_to_the_working_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_module(f"{project / 'model.py'}:Net")
    check_lines(trace(loaded.create(), (3, 16, 16), places=loaded.places), "nets/model.py", "nets/")
    monkeypatch.chdir(project)
    loaded = load_module("model.py:Net")
    check_lines(trace(loaded.create(), (3, 16, 16), places=loaded.places), "model.py")


def test_lines_of_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = ["%matplotlib inline\nfrom torch import nn", f"!pip install x\n{MODEL}", "net = Net()"]
    content = [{"cell_type": "code", "source": each} for each in cells]
    (tmp_path / "blocks.py").write_text(BLOCKS)
    (tmp_path / "S7.ipynb").write_text(json.dumps({"cells": content, "metadata": {}, "nbformat": 4}))
    for name in ("Net", "net"):
        loaded = load_module(f"S7.ipynb:{name}")
        analysis = trace(loaded.create(), (3, 16, 16), places=loaded.places)
        stem, *_ = analysis.rows
        assert str(stem.location) == "S7.ipynb, cell 2, line 24"
        assert str(stem.definition) == "S7.ipynb, cell 2, line 12"
        assert {row.name: str(row.definition) for row in analysis.rows}["block.0"] == "blocks.py:6"


def test_a_cell_of_a_running_notebook_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    file = "/tmp/ipykernel_4711/123.py"  # noqa: S108 - the name that IPython gives a cell
    shell = SimpleNamespace(compile=SimpleNamespace(_filename_map={file: 7}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert str(own_location(file, 3)) == "notebook, cell 7, line 3"
    assert own_location("<string>", 3) is None
    assert own_location(torch.__file__, 3) is None
    assert own_location(json.__file__, 3) is None


class Made(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.rest = nn.Sequential(
            nn.Conv2d(8, 8, 3),
            nn.Sequential(
                nn.Conv2d(8, 8, 3),
            ),
        )
        self.several = nn.Sequential(*(nn.Conv2d(8, 8, 1) for _ in range(2)))
        self.repeated = repeated(
            2,
            8,
        )
        self.named = nn.ModuleDict({"last": nn.Conv2d(8, 8, 1)})

    def forward(self, images: object) -> object:
        return self.named["last"](self.repeated(self.several(self.rest(self.first(images)))))


def repeated(number: int, width: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Conv2d(width, width, 1) for _ in range(number)))


def test_layers_of_an_instance_are_located_in_the_text_of_its_class() -> None:
    start = Made.__init__.__code__.co_firstlineno
    analysis = summary(Made(), (3, 16, 16))
    made = {row.name: row.definition.line - start for row in analysis.rows if row.definition}
    assert made == {"first": 2, "rest.0": 4, "rest.1.0": 6, "several.0": 9, "several.1": 9} | {
        "repeated.0": 10,
        "repeated.1": 10,
        "named.last": 14,
    }
    (call,) = {row.location.line for row in analysis.rows if row.location}
    assert call == Made.forward.__code__.co_firstlineno + 1


def test_a_net_of_a_package_and_a_plain_sequence_have_no_lines() -> None:
    for net in (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.TransformerEncoderLayer(16, 2)):
        shape = (3, 8, 8) if isinstance(net, nn.Sequential) else (4, 16)
        analysis = trace(net, inputs_of(shape))
        assert {row.location for row in analysis.rows} == {None}
    loaded = load_module("torch.nn.modules.linear:Linear(4, 2)")
    assert trace(loaded.create(), (4,), places=loaded.places).rows[0].definition is None


def test_recording_ends_and_is_the_threads_own() -> None:
    original = nn.Module.__init__
    mine, others = Places(), Places()

    def make() -> None:
        with others.recording():
            nn.Linear(1, 1)

    with mine.recording():
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        net = course_faults.Net()
    assert nn.Module.__init__ is original
    assert mine.definitions(net)["conv1"].file == "tests/helpers/course_faults.py"
    with pytest.raises(ZeroDivisionError), mine.recording():
        raise ZeroDivisionError
    assert nn.Module.__init__ is original
