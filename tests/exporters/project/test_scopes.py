"""The names of a module in the text of its statements."""

import ast
from typing import Any

import pytest

from convsmith.exporters.project.scopes import defined_names, module_names, renamed

MODULE = '''\
import torch
from torch import nn

WIDTH, DEPTH = 2, 3
LIMIT: int = WIDTH


@torch.no_grad()
def width(x: "Net", scale=WIDTH, *, LIMIT=LIMIT):  # Net stays in comments
    """Net stays in texts."""
    global COUNT
    COUNT = len(x.WIDTH[:3]) + WIDTH + sum(DEPTH for DEPTH in range(3)) + LIMIT
    inner = lambda WIDTH: WIDTH + DEPTH
    def Net():
        return DEPTH
    return Net(), inner, [WIDTH for _ in range(WIDTH) if WIDTH], {a: DEPTH for a in [1]}


class Net(nn.Module):
    WIDTH = WIDTH

    def __init__(self, Width=WIDTH):
        super(Net, self).__init__()
        self.WIDTH = f"{WIDTH} é" + Net.__name__
        try:
            pass
        except ValueError as DEPTH:
            print(DEPTH)

    def again(self) -> "Net":
        return Net(WIDTH)
'''


NAMES = {"WIDTH": "W", "DEPTH": "d", "Net": "Model_1", "width": "width_of", "LIMIT": "L", "COUNT": "C"}


def results(text: str, names: dict[str, str]) -> list[Any]:
    """Run a module, and return what its class and its function compute."""
    scope: dict[str, Any] = {}
    exec(compile(text, "module", "exec"), scope)  # noqa: S102 - the module above
    made, function = scope[names.get("Net", "Net")], scope[names.get("width", "width")]
    net = made()
    second, inner, *others = function(net)
    count = scope[names.get("COUNT", "COUNT")]
    text = net.WIDTH.replace(made.__name__, "Net")
    return [text, type(net.again()) is made, made.WIDTH, second, inner(7), others, count]


def test_a_module_with_other_names_does_the_same() -> None:
    text = renamed(MODULE, NAMES, {})
    assert results(text, NAMES) == results(MODULE, {})


def test_names_of_functions_and_classes_hide_those_of_the_module() -> None:
    body = ast.parse(MODULE).body
    assert defined_names(body) == ("torch", "nn", "WIDTH", "DEPTH", "LIMIT", "width", "Net")
    function = next(each for each in body if isinstance(each, ast.FunctionDef))
    assert {"WIDTH", "DEPTH", "COUNT", "torch", "LIMIT", "width"} <= module_names([function])
    assert not module_names([function]) & {"x", "scale", "inner", "a", "Net"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f():\n    f = 1\n    return f", "def g():\n    f = 1\n    return f"),
        (
            "class A:\n    f = f\n    h = f\n    def f(self): f",
            "class A:\n    f = g\n    h = f\n    def f(self): g",
        ),
        ('def f(x: "f"):  # f\n    "f"', 'def g(x: "f"):  # f\n    "f"'),
        ("x = [f for f in f]", "x = [f for f in g]"),
        ("class  f : pass", "class  g : pass"),
        ("async def f(): await f()", "async def g(): await g()"),
        ("é = 'é' ; f()", "é = 'é' ; g()"),
    ],
)
def test_places_of_names(text: str, expected: str) -> None:
    assert renamed(text, {"f": "g"}, {}) == expected
