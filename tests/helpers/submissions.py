"""Submissions of a class: right, wrong and broken ones, each with the row that a teacher expects.

The task: digits of 8x8 pixels, fewer than 8,000 parameters, batch norm, dropout, global average pooling, and
an accuracy of 80 %. The expected rows follow from the task, not from the program.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.data.config import DataConfig
from convsmith.data.dataset import load

BRIEF: dict[str, Any] = {
    "max_parameters": 7_999,
    "require": ["batch-norm", "dropout", "global-average-pooling"],
    "min_accuracy": 0.8,
}
PARAMETERS = 7_328

IMPORTS = """import torch
import torch.nn as nn
import torch.nn.functional as F
"""
NET = """
class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.convblock1 = nn.Sequential(
            nn.Conv2d(1, 16, (3, 3), padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.05))
        self.convblock2 = nn.Sequential(
            nn.Conv2d(16, 24, (3, 3), padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.Dropout(0.05))
        self.pool1 = nn.MaxPool2d(2, 2)
        self.convblock3 = nn.Sequential(
            nn.Conv2d(24, 16, (3, 3), padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.05))
        self.gap = nn.AvgPool2d(4)
        self.convblock4 = nn.Conv2d(16, 10, (1, 1), bias=False)

    def forward(self, x):
        x = self.convblock1(x)
        x = self.convblock2(x)
        x = self.pool1(x)
        x = self.convblock3(x)
        x = self.gap(x)
        x = self.convblock4(x)
        x = x.view(-1, 10)
        return F.log_softmax(x, dim=-1)
"""
# A net of its own structure, for those who copy it.
OWN = """
class Mine(nn.Module):
    '''My own net.'''

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.second = nn.Conv2d(12, 20, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(20, 10)

    def forward(self, images):
        features = F.relu(self.norm(self.first(images)))
        features = self.drop(F.relu(self.second(features)))
        return self.out(features.mean((2, 3)))
"""
README = """# My net
Parameters: 7,328

| step | params | test accuracy |
| ---- | ------ | ------------- |
| 1    | 7,328  | {accuracy}    |
"""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The row of a submission.

    Attributes:
        result: "pass", "fail", "open" or "not judged".
        why: Texts that the row must have, whatever their case.
        net: The reference of the judged net; empty if none is judged.
        parameters: Of the net; None if they are not known.
        differs: The quantities of the claims that differ from what was measured.
        same_as: The submissions with which it shares a net.
        signs: What they share.
    """

    result: str
    why: tuple[str, ...] = ()
    net: str = "model.py:Net"
    parameters: int | None = PARAMETERS
    differs: tuple[str, ...] = ()
    same_as: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Case:
    """A submission: its texts by file, its weights by file, and its expected row."""

    name: str
    texts: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    expected: Expected
    fast: bool = False

    def write(self, parent: Path) -> Path:
        """Write the submission into a folder of its name."""
        folder = parent / self.name
        folder.mkdir(parents=True)
        for name, text in self.texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, make in self.weights.items():
            content = make(self.name)
            if name.endswith(".safetensors"):
                safetensors.torch.save_file(content, folder / name)
            else:
                torch.save(content, folder / name)
        return folder


# --- Weights


def build(text: str, name: str = "Net") -> nn.Module:
    """Return the net of a text."""
    names: dict[str, Any] = {}
    exec(IMPORTS + text, names)  # noqa: S102 - our own text
    net = names[name]()
    assert isinstance(net, nn.Module)
    return net


@cache
def _trained(text: str, name: str, shift: float, scale: float) -> dict[str, Tensor]:
    """Train a net on digits for some seconds; images are normalised with this mean and deviation."""
    data = load(DataConfig(source="digits", test_fraction=0.25))
    mean, std = (shift, scale) if scale else (data.mean[0], data.std[0])
    images = torch.tensor(data.train.images).permute(0, 3, 1, 2).float() / 255
    images, labels = (images - mean) / std, torch.tensor(data.train.labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(text, name)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(12):
            for part in torch.split(torch.randperm(len(labels)), 64):
                optimizer.zero_grad()
                loss = functional.cross_entropy(net(images[part]), labels[part])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return net.state_dict()


def trained(student: str, text: str = NET, name: str = "Net", *, scale: float = 0.0) -> dict[str, Tensor]:
    """Return trained weights that differ in their last digits between students."""
    generator = torch.Generator().manual_seed(zlib.crc32(student.encode()))
    return {
        key: each + 1e-6 * torch.randn(each.shape, generator=generator) if each.is_floating_point() else each
        for key, each in _trained(text, name, 0.5, scale).items()
    }


def untrained(student: str, text: str = NET, name: str = "Net") -> dict[str, Tensor]:
    """Return initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(zlib.crc32(student.encode()))
        return build(text, name).state_dict()


def renamed(student: str) -> dict[str, Tensor]:
    """Return the weights of `OWN`, the same for all, under the names of a copy of it."""
    del student
    names = {"first": "a", "norm": "b", "second": "c", "out": "e"}
    return {
        names[key.partition(".")[0]] + "." + key.partition(".")[2]: each
        for key, each in own("original").items()
    }


def own(student: str) -> dict[str, Tensor]:
    """Return the weights of `OWN`, the same for all."""
    del student
    return trained("original", OWN, "Mine")


# --- Notebooks


def notebook(*cells: str, outputs: Mapping[int, str] | None = None, text: str = "") -> str:
    """Return a notebook of code cells, some with a printed output, after a Markdown cell."""
    shown = outputs or {}
    code: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {},
            "source": cell,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": shown[number]}]
            if number in shown
            else [],
        }
        for number, cell in enumerate(cells, start=1)
    ]
    markdown = [{"cell_type": "markdown", "metadata": {}, "source": text}] if text else []
    return json.dumps({"cells": [*markdown, *code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def summary(parameters: int) -> str:
    """Return the totals that torchsummary prints."""
    return f"Total params: {parameters:,}\nTrainable params: {parameters:,}\nNon-trainable params: 0\n"


TRAINING = """
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = Net().to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
"""


def changed(*pairs: tuple[str, str], text: str = NET) -> str:
    """Return a text with replacements, each of which must apply."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text
