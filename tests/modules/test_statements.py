"""Which statements of a file are run."""

import ast
import builtins
import linecache
from types import ModuleType
from typing import Any

import pytest

from convsmith.modules.harmless import Harmless
from convsmith.modules.source_text import parse_python
from convsmith.modules.stand_ins import StandInModule
from convsmith.modules.statements import Statements, bound_names, definitions

# What the statements under test may use; the functions and classes are those of a user's file.
PREAMBLE = """
import argparse, collections, functools, logging, math, os, pathlib, random, sys, warnings
import numpy as np
import torch, torch.nn as nn, torch.nn.functional as F
from collections import namedtuple, OrderedDict
from functools import partial
from torch.utils.data import DataLoader, Dataset
class Net(nn.Module): pass
class Config: width = 3
class Images(Dataset): pass
class Noisy(nn.Module):
    def train(self, mode=True): raise SystemExit
def function(): print('x')
def resnet(block, depth=3, **rest):
    layers = []
    for index in range(depth):
        layers.append(nn.Linear(index, index + 1) if index else nn.Flatten())
    width, rest['x'] = len(layers), 1
    model = nn.Sequential(*layers)
    if width > 3:
        raise ValueError(f'{width} layers')
    return model.to('cpu')
def resnet20(): return resnet(nn.Linear, depth=2)
def changes(): nn.Conv2d.forward = 3
def shared():
    global config
    config = 3
def endless(): return endless()
def trains(model=Net()):
    for batch in loader:
        model(batch).sum().backward()
cfg, layers, text, net, noisy, parser = {}, [], "a b", Net(), Noisy(), argparse.ArgumentParser()
config = Config()
make, start = partial(nn.Conv2d, bias=False), partial(function)
"""


def namespace() -> dict[str, Any]:
    names: dict[str, Any] = {
        "__name__": "convsmith_user_0_model",
        "tv": StandInModule("tv", "tv is not there"),
    }
    # So that the sources of the functions are found.
    lines = PREAMBLE.splitlines(keepends=True)
    linecache.cache["preamble.py"] = (len(PREAMBLE), None, lines, "preamble.py")
    exec(compile(PREAMBLE, "preamble.py", "exec"), names)  # noqa: S102 - a user's file
    return names


@pytest.mark.parametrize(
    "statement",
    [
        "import os.path as path",
        "from os import *",
        "def f(): return open('x')",
        "class A(nn.Module):\n    print('x')",
        "'a text'",
        "x = 3",
        "x: int = -3 ** 2",
        "x: int",
        "a, (b, *c) = 1, [2, 3, 4]",
        "x = y = {'a': [1, (2, None)], **cfg}",
        "x += 1",
        "cfg['width'] = 16",
        "cfg.update(width=16)",
        "config.width = 5",
        "Net.width = 5",
        "layers.append(nn.Conv2d(3, 8, 3))",
        "layers += [nn.ReLU()]",
        "x = lambda: open('x')",
        "x = [i ** 2 for i in range(3) if i]",
        "x = 'a' if torch.cuda.is_available() else 'b'",
        "device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "x = torch.zeros(3).view(-1).to('cpu')",
        "x = [value.item() for value in torch.linspace(0, 1, 3)]",
        "x = np.array([1, 2]).mean()",
        "x = math.sqrt(4) + max(1, 2) + len(cfg)",
        "x = make(3, 8, 3)",
        "Point = namedtuple('Point', 'x y')",
        "x = OrderedDict(a=1).items()",
        "x = ' '.join(['a']).upper() + text.split()[0].strip()",
        "x = f'{text:>10}'",
        "x = os.path.join('a', 'b')",
        "x = pathlib.Path('a').resolve() / 'b'",
        "x = os.environ.get('A')",
        "logger = logging.getLogger(__name__)",
        "torch.manual_seed(1)",
        "random.seed(1)",
        "model = Net().to('cpu').eval()",
        "model = nn.Sequential(nn.Flatten(), Net())",
        "net.eval()",
        "x = Config()",
        "x = super",
        "parser.add_argument('--width', default=3)",
        "args = parser.parse_args()",
        "setattr(Net, 'width', 3)",
        "pass",
        "x = tv.models",
        "x = resnet20()",
        "x = Net() if resnet20 else resnet20().eval()",
    ],
)
def test_harmless_statements(statement: str) -> None:
    (node,) = ast.parse(statement).body
    assert Harmless(namespace()).objection(node) == ""


@pytest.mark.parametrize(
    "statement",
    [
        "open('x', 'w')",
        "x = open('x')",
        "print('x')",
        "input()",
        "exec('x')",
        "x = eval('1')",
        "x = __import__('os')",
        "exit()",
        "sys.exit()",
        "os.system('ls')",
        "os.makedirs('x')",
        "os.environ['A'] = 'b'",
        "os.chdir('..')",
        "pathlib.Path('x').unlink()",
        "pathlib.Path('x').write_text('x')",
        "x = function()",
        "changes()",
        "shared()",
        "endless()",
        "trains()",
        "setattr(nn, 'Conv2d', 3)",
        "setattr(tv, 'models', 3)",
        "function()",
        "x = [function() for _ in range(3)]",
        "x = {'a': [function()]}",
        "x = start()",
        "x = net(torch.zeros(1))",
        "net.save('x')",
        "noisy.train()",
        "config.run()",
        "x = torch.load('x')",
        "x = torch.hub.load('a', 'b')",
        "torch.save(net, 'x')",
        "torch.set_default_dtype(torch.float64)",
        "torch.set_num_threads(1)",
        "torch.backends.cudnn.benchmark = True",
        "nn.Conv2d.forward = function",
        "torch.zeros(1).sum().backward()",
        "np.save('x', 1)",
        "x = np.load('x')",
        "x = np.zeros(3).tofile('x')",
        "x = DataLoader([])",
        "x = torch.utils.data.DataLoader([])",
        "x = Images()",
        "x = tv.models.resnet18()",
        "x = tv.datasets.CIFAR10('.', download=True)",
        "x = unknown(3)",
        "x = unknown.method(3)",
        "x = (yield)",
        "warnings.filterwarnings('ignore')",
        "for i in range(3): pass",
        "while True: pass",
        "with open('x') as f: pass",
        "raise ValueError",
    ],
)
def test_other_statements(statement: str) -> None:
    (node,) = ast.parse(statement).body
    expected = "tv is not there" if "tv." in statement else "not run"
    assert Harmless(namespace()).objection(node) == expected


@pytest.mark.parametrize(
    ("loop", "fits"),
    [
        (
            "for name in ['a', 'b']:\n    text = f'n_{name}'\n    setattr(mine, text, partial(resnet, 3))",
            True,
        ),
        ("for i in range(3):\n    if i:\n        cfg[i] = [nn.Conv2d(i, 3, 3)]\n    layers.append(i)", True),
        ("for p in net.parameters():\n    p.requires_grad = False", True),
        ("for name in ['a']:\n    function()", False),
        ("for name in open('x'):\n    x = 1", False),
        ("for x, y in loader:\n    x = net(x)", False),
        ("for name in ['Conv2d']:\n    setattr(nn, name, 3)", False),
        ("for name in ['a']:\n    torch.backends.cudnn.benchmark = True", False),
        ("for name in ['a']:\n    while True: pass", False),
    ],
)
def test_loops(loop: str, fits: bool) -> None:
    (node,) = ast.parse(loop).body
    assert isinstance(node, ast.For)
    mine = ModuleType("convsmith_user_0_model")
    assert Harmless({**namespace(), "mine": mine}).loop_fits(node) is fits


def run(text: str, name: str = "", occurrence: int | None = None) -> Statements:
    source = parse_python(text.encode(), "model.py")
    names = {"__name__": "convsmith_user_0_model", "__builtins__": vars(builtins)}
    folders: list[str] = []
    statements = Statements(source=source, namespace=names, file="model.py", add_folder=folders.append)
    statements.run(name, occurrence)
    names["folders"] = folders
    return statements


def test_conditions_are_followed() -> None:
    names = run(
        "if True:\n    a = 1\nelse:\n    a = 2\n"
        "if open('x'):\n    b = 1\n"
        "if 0:\n    c = 1\nelif 1:\n    c = open('x')\n    d = 4\n"
        'if __name__ == "__main__":\n    e = 1\nelse:\n    f = 6\n'
        'if "__main__" == __name__:\n    e = 1\n'
        'if __name__ != "__main__":\n    g = 7\n'
    ).namespace
    assert {name: names.get(name) for name in "abcdefg"} == {
        "a": 1,
        "b": None,
        "c": None,
        "d": 4,
        "e": None,
        "f": 6,
        "g": 7,
    }


def test_failures_are_handled_as_written() -> None:
    statements = run(
        "try:\n    import nowhere_at_all\nexcept ImportError as error:\n    a = str(error)\n"
        "try:\n    x = 1 / 0\n    b = 1\nexcept (KeyError, ZeroDivisionError):\n    b = 2\n"
        "try:\n    c = 3\nexcept:\n    c = 4\nelse:\n    c += 10\nfinally:\n    d = 5\n"
        "try:\n    x = {}['a']\nexcept TypeError:\n    e = 1\n"
        "try:\n    try:\n        x = 1 / 0\n    except KeyError:\n        f = 1\nexcept:\n    f = 2\n"
    )
    names = statements.namespace
    assert names["a"] == "No module named 'nowhere_at_all'"
    assert [names.get(name) for name in "bcdef"] == [2, 13, 5, None, 2]
    (failure,) = statements.failures
    assert (failure.line, type(failure.error)) == (19, KeyError)


def test_what_is_left_out_is_noted() -> None:
    statements = run(
        "import sys\nsys.path.append('src')\nsys.path.insert(0, 'lib')\n"
        "data, more = open('x'), 1\n"
        "for epoch in range(3):\n    loss = open('x')\n"
        "x = 1 / 0\n"
        "assert False\n"
        "del sys\n"
        "if __name__ == '__main__':\n    args = 3\n"
    )
    assert [
        (each.place, each.words, each.reason.split(",")[0], set(each.names)) for each in statements.omissions
    ] == [
        ("line 4", "data, more = open('x'), 1", "not run", {"data", "more"}),
        ("line 5", "for epoch in range(3):", "not run", {"epoch", "loss"}),
        ("line 7", "x = 1 / 0", "ZeroDivisionError: division by zero", {"x"}),
        ("line 10", "if __name__ == '__main__':", 'under `if __name__ == "__main__"`', {"args"}),
    ]
    assert statements.refused == 2
    assert [each.line for each in statements.failures] == [7]
    assert statements.namespace["folders"] == ["src", "lib"]


def test_the_first_of_two_definitions_keeps_what_it_was_defined_with() -> None:
    text = "rate = 1\nclass Block: size = 1\nclass Net: block = Block\n"
    text += "rate = 2\nclass Block: size = 2\nclass Net: block = Block\nhelper = 3\n"
    last = run(text, "Net").namespace
    assert (last["Net"].block.size, last["rate"], last["Block"].size) == (2, 2, 2)
    first = run(text, "Net", 1).namespace
    assert (first["Net"].block.size, first["rate"], first["Block"].size, first["helper"]) == (1, 1, 1, 3)
    second = run(text, "Net", 2).namespace
    assert (second["Net"].block.size, second["rate"]) == (2, 2)


def test_names_that_statements_define() -> None:
    (node,) = ast.parse("a, (b.c, *d[0]), e = [f for f in g]").body
    assert bound_names(node) == {"a", "e"}
    body = ast.parse(
        "class A: pass\nif x:\n    class A: pass\nelse:\n    def b(): c = 1\n"
        "try:\n    d = 1\nexcept E:\n    d = 2\n"
    ).body
    assert definitions(body) == {"A": 2, "b": 1, "d": 2}


def test_annotations_of_the_future() -> None:
    text = "from __future__ import annotations\ndef f(x: Unknown): pass\nclass A:\n    x: Unknown\n"
    names = run(text).namespace
    assert names["f"].__annotations__ == {"x": "Unknown"}
