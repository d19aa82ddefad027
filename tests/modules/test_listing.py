"""The nets of a file without a name."""

from pathlib import Path

import pytest

from convsmith.errors import ModuleError
from convsmith.modules.listing import list_modules
from convsmith.modules.load import load_module
from helpers.notebooks import write_notebook

NETS = """
import torch
from torch import nn
from torch.nn import Module

class Block(Module):
    def __init__(self, width, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride)

class Net(Module):
    def __init__(self, classes=10):
        super().__init__()
        # Values, which a module without memory does not have.
        self.rates = [each.item() for each in torch.linspace(0, 1, 3)]
        self.fc = nn.Linear(3, classes)

class ResNet(Module):
    def __init__(self, block, depth):
        super().__init__()
        self.blocks = nn.Sequential(*(block(2) for _ in range(depth)))

def _resnet(block, depth):
    return ResNet(block, depth)

def resnet20():
    return _resnet(Block, 3)

def resnet32(pretrained=False):
    net = _resnet(Block, 5)
    return net

def show():
    print(resnet20())

def width():
    return len(list(Net().children()))

class Broken(Module):
    def __init__(self):
        raise ValueError("no")

class Plain:
    pass

head = nn.Linear(2, 2)
net = Net()
loss = nn.CrossEntropyLoss()
"""


ONE = """
from torch import nn
class Net(nn.Linear):
    def __init__(self, {}):
        super().__init__(a, 3)
"""


def test_nets_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    listed = list_modules(str(path))
    assert {each.reference.name: each.parameters for each in listed} == {
        "Block": None,
        "Net": 40,
        "ResNet": None,
        "Broken": None,
        "resnet20": 3 * 38,
        "resnet32": 5 * 38,
        "head": 6,
    }
    assert [str(each) for each in listed if each.parameters is None] == [
        "Block(width, stride=1): needs arguments",
        "ResNet(block, depth): needs arguments",
        "Broken(): the constructor of Broken fails: ValueError: no",
    ]
    with pytest.raises(ModuleError) as caught:
        load_module(str(path))
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == ("the name of a class is missing", str(path))
    assert problem.context.splitlines()[:4] == [
        "Net: 40 parameters",
        "resnet20: 114 parameters",
        "resnet32: 190 parameters",
        "head: 6 parameters",
    ]
    assert problem.fix == f"choose one, for example {path}:Net"


def test_the_only_net_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(ONE.format("a=2"))
    with pytest.raises(ModuleError) as caught:
        load_module(str(path))
    assert caught.value.problems[0].fix == f"write {path}:Net"
    path.write_text(ONE.format("a"))
    with pytest.raises(ModuleError) as caught:
        load_module(str(path))
    assert caught.value.problems[0].fix == f"choose one, for example {path}:Net(a)"


def test_nets_of_one_name_in_a_notebook(tmp_path: Path) -> None:
    cell = "class Net(nn.Module):\n    def __init__(self):\n        super(Net, self).__init__()\n"
    path = write_notebook(
        tmp_path / "S7.ipynb",
        "from torch import nn",
        f"{cell}        self.fc = nn.Linear(1, 1)",
        f"{cell}        self.fc = nn.Linear(2, 2)",
    )
    assert [str(each) for each in list_modules(str(path))] == ["Net#1: 2 parameters", "Net#2: 6 parameters"]


def test_nets_that_are_imported(tmp_path: Path) -> None:
    """A training script, or a notebook, whose net is in another file."""
    (tmp_path / "model.py").write_text(NETS)
    (tmp_path / "main.py").write_text("from model import Net, resnet20\nfrom torch.nn import Linear\n")
    listed = list_modules(str(tmp_path / "main.py"))
    assert [str(each) for each in listed] == ["Net: 40 parameters", "resnet20: 114 parameters"]


def test_a_file_without_nets(tmp_path: Path) -> None:
    path = tmp_path / "utils.py"
    path.write_text("import torch\ndef f():\n    return 1\n")
    with pytest.raises(ModuleError, match="no net in this file"):
        load_module(str(path))


def test_many_nets(tmp_path: Path) -> None:
    path = tmp_path / "nets.py"
    path.write_text(
        "from torch import nn\n"
        + "".join(f"class N{i}(nn.Linear): pass\n" for i in range(30))
        + "class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(1, 1)\n"
    )
    with pytest.raises(ModuleError) as caught:
        load_module(str(path))
    lines = caught.value.problems[0].context.splitlines()
    assert lines[0] == "Net: 2 parameters"
    assert lines[-1] == "and 16 more, which need arguments"
    assert len(lines) == 16


def test_nets_of_modules_that_are_imported(tmp_path: Path) -> None:
    """A notebook that imports the module of its nets."""
    (tmp_path / "model.py").write_text(NETS)
    path = write_notebook(tmp_path / "S7.ipynb", "import model as m, torch", "loss = torch.nn.NLLLoss()")
    listed = {str(each.reference): each.parameters for each in list_modules(str(path))}
    assert listed[f"{tmp_path}/model.py:resnet20"] == 114
    assert listed[f"{tmp_path}/model.py:ResNet"] is None
    path = write_notebook(tmp_path / "S7.ipynb", "import model as m", "net = m.ResNet(m.Block, 3)")
    assert [str(each) for each in list_modules(str(path))] == ["net: 114 parameters"]


def test_a_class_that_a_later_import_hides(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("class Net(nn.Linear):\n    pass\n")
    path = write_notebook(
        tmp_path / "S7.ipynb",
        ONE.format("a=1"),
        "from model import Net",
    )
    assert [str(each) for each in list_modules(str(path))] == ["Net: 6 parameters"]


def test_what_a_file_without_nets_would_need(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "S7.ipynb", "from mylib import nets, data", "images = data.load()\nmodel = nets.resnet()"
    )
    with pytest.raises(ModuleError) as caught:
        load_module(str(path))
    (problem,) = caught.value.problems
    assert problem.context.splitlines() == [
        f"{path}, cell 2, line 2: model = nets.resnet(): mylib is not installed",
        f"{path}, cell 2, line 1: images = data.load(): mylib is not installed",
    ]
    assert "pip install mylib" in problem.fix
