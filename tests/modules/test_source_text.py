"""Texts of files and notebooks."""

import ast
from pathlib import Path

import pytest
from torch import nn

from convsmith.errors import ModuleError
from convsmith.modules.load import load_module
from convsmith.modules.source_text import parse_notebook, parse_python, without_magics
from helpers.notebooks import write_notebook


def names(body: tuple[ast.stmt, ...]) -> list[str]:
    return [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]


@pytest.mark.parametrize("nbformat", [3, 4])
def test_a_notebook(tmp_path: Path, nbformat: int) -> None:
    path = write_notebook(
        tmp_path / "S7.ipynb",
        "%matplotlib inline\n!pip install timm \\\n    torchsummary\nimport torch",
        "%%bash\nls",
        "%%time\nclass A:\n    text = '''\n%d\n'''\n    pass",
        "def broken(:\n    pass\nvalue = 3",
        "class B:\n    pass\n?B\nfiles = !ls",
        "",
        nbformat=nbformat,
    )
    text = parse_notebook(path.read_bytes(), "S7.ipynb")
    assert names(text.body) == ["A", "B"]
    a, b = (node for node in text.body if isinstance(node, ast.ClassDef))
    assert [text.place(a.lineno), text.place(b.lineno)] == ["cell 3, line 2", "cell 5, line 1"]
    assert [text.words(a), text.words(b)] == ["class A:", "class B:"]
    assert isinstance(a.body[0], ast.Assign)
    assert ast.literal_eval(a.body[0].value) == "\n%d\n"
    assert [each.place for each in text.omissions] == ["cell 2", "cell 4"]
    assert text.omissions[1].names == {"broken", "value"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><p>Sign in</p>", "not a notebook: found a web page"),
        (b"{'cells': []}", "not a notebook: found no JSON"),
        (b"\xff\xfe", "not a notebook: found no JSON"),
        (b"[1]", "not a notebook: it has no cells"),
        (b"[" * 1000 + b"]" * 1000, "not a notebook: it has no cells"),
        (b'{"cells": []}', "the notebook has no code cell"),
        (b'{"cells": [{"cell_type": "markdown", "source": "x"}, 3]}', "the notebook has no code cell"),
        (
            b'{"cells": [], "metadata": {"kernelspec": {"language": "R"}}}',
            "found a notebook in r, expected Python",
        ),
    ],
)
def test_files_that_are_no_notebooks(content: bytes, what: str) -> None:
    with pytest.raises(ModuleError) as caught:
        parse_notebook(content, "S7.ipynb")
    assert what in caught.value.problems[0].what
    assert caught.value.problems[0].where == "S7.ipynb"


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b"x = 1\ndef f(:\n", "m.py, line 2", "SyntaxError"),
        (b"def f():\n  pass\nreturn 1\n", "m.py, line 3", "'return' outside function"),
        (b"x = '\xe9'\n", "m.py", "not UTF-8 text"),
        (b"x = 1\0", "m.py", "cannot be run"),
        (b"x = " + b"(" * 5000, "m.py", "cannot be run"),
    ],
)
def test_files_that_are_no_python(content: bytes, where: str, what: str) -> None:
    with pytest.raises(ModuleError) as caught:
        parse_python(content, "m.py")
    assert caught.value.problems[0].where.startswith(where)
    assert what in caught.value.problems[0].what


def test_python_2_is_named() -> None:
    with pytest.raises(ModuleError) as caught:
        parse_python(b"print 'x'\n", "m.py")
    assert "Python 2" in caught.value.problems[0].fix


def test_a_declared_encoding_counts() -> None:
    text = parse_python("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"), "m.py")
    assert text.words(text.body[0]) == "x = 'é'"


def test_future_imports_may_be_anywhere_in_a_cell(tmp_path: Path) -> None:
    cell = "import math\nfrom __future__ import print_function\nwidth = math.floor(4.5)"
    code = "from torch import nn\ndef Net():\n    return nn.Linear(width, 2)"
    path = write_notebook(tmp_path / "S7.ipynb", cell, "return 3", code)
    text = parse_notebook(path.read_bytes(), "S7.ipynb")
    assert [omission.place for omission in text.omissions] == ["cell 2"]
    net = load_module(f"{path}:Net").create()
    assert isinstance(net, nn.Linear)
    assert net.in_features == 4


def test_an_exported_notebook_may_keep_its_magics() -> None:
    text = parse_python(b"!pip install timm\nclass A:\n    pass\n", "m.py")
    assert names(text.body) == ["A"]
    assert text.place(text.body[1].lineno) == "line 2"
    assert text.omissions


def test_an_escape_that_python_warns_of_is_no_error() -> None:
    assert parse_python(b"x = '\\d'\n", "m.py").body


def test_magics_keep_the_lines() -> None:
    text = "if x:\n    !pip install a \\\n        b\n    y = %time f()\nz = 3 % 2"
    assert without_magics(text) == "if x:\n    pass\n\n    pass\nz = 3 % 2"


@pytest.mark.parametrize("content", ['{"cells": %s}', '{"worksheets": [{"cells": %s}]}'])
def test_cells_of_odd_types_are_empty(content: str) -> None:
    cells = '[{"cell_type": "code", "source": 5}, 3, {"cell_type": "code", "source": ["x = 1"]}]'
    source = parse_notebook((content % cells).encode(), "a.ipynb")
    assert source.text.split() == ["x", "=", "1"]
    with pytest.raises(ModuleError, match="no code cell"):
        parse_notebook((content % "7").encode(), "a.ipynb")
