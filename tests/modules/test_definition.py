"""The line that defines a net."""

from pathlib import Path

import pytest
from torch import nn

from convsmith.modules.definition import definition_of, definition_of_instance, place_in
from convsmith.net.rows import Location

CODE = "from torch import nn\n\n\nclass Net(nn.Module):\n    pass\n\n\ndef make(width):\n    return Net()\n"


class Own(nn.Module):
    """A class of this file."""


def test_the_line_of_a_class_or_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(CODE)
    Path("S7.ipynb").write_text("{}")
    Path("wrong.py").write_text("class (")
    assert definition_of("model.py:Net") == Location(file="model.py", line=4)
    assert definition_of("model.py:make(width=3)") == Location(file="model.py", line=8)
    # What has no line of its own has the first.
    for text in (
        "model.py:other",
        "model.py",
        "S7.ipynb:Net",
        "wrong.py:Net",
        "no.py:Net",
        "model.py:Net(x)",
    ):
        assert definition_of(text) == Location(file=text.partition(":")[0], line=1)
    for text in ("C16 / G F10", "digits", "timm.models.resnet:resnet18()"):
        assert definition_of(text) is None


def test_the_class_of_an_instance() -> None:
    location = definition_of_instance(Own())
    assert location is not None
    assert Path(location.file).name == "test_definition.py"
    assert Path(__file__).read_text().splitlines()[location.line - 1] == "class Own(nn.Module):"
    assert definition_of_instance(nn.Linear(2, 2)) is None


def test_places_in_errors() -> None:
    assert place_in("nets/my model.py, line 12: no name") == Location(file="nets/my model.py", line=12)
    assert place_in("error[E022]: S7.ipynb:3: no name") == Location(file="S7.ipynb", line=3)
    assert place_in("S7.ipynb, cell 1, line 10: left out") == Location(file="S7.ipynb", line=10, cell=1)
    assert place_in("line 12 of the model.py file") is None
