"""The code of nets in projects: the user's files as they are, as far as Python runs them as they are."""

import ast
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from convsmith.errors import RunError
from convsmith.exporters.project.net_code import FOLDER, NetCode, module_code
from convsmith.exporters.project.verification import TrainedNet, check_nets
from convsmith.modules.architecture import ModuleArchitecture, architecture_in
from convsmith.modules.config import ModuleConfig, Outputs
from helpers.own_nets import CODE, LAYERS

SHAPE = (1, 8, 8)
NET = """\
from torch import nn
class Net(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU())
        self.head = nn.Linear(36 * width, 10)
    def forward(self, x):
        return self.head(self.body(x).flatten(1))
"""
SCRIPT = f"""\
'''A script.'''
import torch, torchsummary_of_nowhere
from torchvision_of_nowhere import datasets, transforms
assert False, "never"
{NET}
net = Net()  # a comment
print(net)
raise SystemExit("trains when it is imported")
{NET.replace("36 * width", "36 * (width + 1)").replace("Conv2d(1, width", "Conv2d(1, width + 1")}
if __name__ == "__main__":
    train(net)
"""
CELLS = ["!pip install torchsummary\n%matplotlib inline", SCRIPT, "train(net)  # never ends"]


def notebook(*cells: str) -> str:
    code = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": []} for cell in cells]
    return json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def code_of(
    folder: Path, files: dict[str, str], module: str, place: str, outputs: Outputs = "logits"
) -> tuple[NetCode, ModuleArchitecture]:
    """Write the files of a run, and return the code of its net in a project."""
    for name, text in files.items():
        path = folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    architecture = architecture_in(folder, ModuleConfig(module=f"source/{module}", outputs=outputs))
    assert isinstance(architecture, ModuleArchitecture)
    analysis = architecture.analyze(SHAPE)
    net = module_code(architecture, analysis, architecture.sources, folder / "source", place)
    net.check_names("run")
    return net, architecture


def check(folder: Path, net: NetCode, architecture: ModuleArchitecture) -> None:
    """Write the net into a project, and check that it computes the same there."""
    project = folder / "project"
    module = architecture.build(SHAPE).eval()
    for name, content in net.files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(content)
    safetensors.torch.save_file(module.state_dict(), project / "weights.safetensors")
    check_nets([TrainedNet(net, module, "weights.safetensors", "run")], project)


@pytest.mark.parametrize("place", ["", FOLDER])
def test_files_are_taken_over_as_they_are(place: str, tmp_path: Path) -> None:
    files = {"model.py": CODE, "layers.py": LAYERS}
    net, architecture = code_of(tmp_path, files, "model.py:Net(width=6)", place, "log_probabilities")
    for name, text in files.items():
        assert net.files[place + name] == text.encode()
    assert net.call == "Net(width=6)"
    assert (net.module, net.name) == (f"{place}model".replace("/", "."), "Net")
    assert net.helpers == "utils"
    assert not net.remarks
    assert net.packages == {"torch": torch.__version__}
    check(tmp_path, net, architecture)


def test_of_a_notebook_the_definitions_are_written(tmp_path: Path) -> None:
    for reference, width in (("S7.ipynb:Net", 3), ("S7.ipynb:Net#1", 2)):
        net, architecture = code_of(tmp_path / str(width), {"S7.ipynb": notebook(*CELLS)}, reference, FOLDER)
        assert (net.main, net.module, net.call) == ("model/model.py", "model.model", "Net()")
        text = net.files["model/model.py"].decode()
        names = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
        assert names == ["Net"] * (width - 1)
        assert text.startswith("# From S7.ipynb: what the net is made from.")
        assert "net = Net()  # a comment" in text
        for absent in ("torchsummary", "torchvision", "assert", "print", "SystemExit", "%", "\n\n\n\n"):
            assert absent not in text
        assert (
            "has the imports, definitions and constants of `S7.ipynb`, the file that was trained."
            in net.remarks[0]
        )
        check(tmp_path / str(width), net, architecture)


def test_of_a_script_that_trains_the_definitions_are_written(tmp_path: Path) -> None:
    net, architecture = code_of(tmp_path, {"my-net.py": SCRIPT}, "my-net.py:Net(width=4)", "")
    assert (net.main, net.call) == ("model.py", "Net(width=4)")
    assert 'if __name__ == "__main__":' in net.files["model.py"].decode()
    check(tmp_path, net, architecture)


def test_a_name_that_python_cannot_import_is_replaced(tmp_path: Path) -> None:
    files = {"class.py": f"from model import WIDTH\n{NET}", "model.py": "WIDTH = 3\n"}
    net, _ = code_of(tmp_path, files, "class.py:Net", "")
    assert net.main == "net.py"
    assert net.files["net.py"].decode() == files["class.py"]
    assert net.remarks == ("`net.py` is the file `class.py` under a name that Python can import.",)


PACKAGE = {
    "nets/__init__.py": "",
    "nets/model.py": "from ..common import WIDTH\nfrom .parts import scale\nimport beside\n" + NET,
    "nets/parts.py": "from nets import beside as _\ndef scale(x):\n    return x\n",
    "nets/beside.py": "",
    "common.py": "from utils import width\nWIDTH = width(2)\n",
    "utils.py": "def width(value):\n    return value\n",
}


def test_packages_with_imports_of_every_kind(tmp_path: Path) -> None:
    net, architecture = code_of(tmp_path, PACKAGE, "nets/model.py:Net(3)", FOLDER)
    assert net.module == "model.nets.model"
    assert net.files["model/nets/model.py"].decode() == PACKAGE["nets/model.py"]
    # The files have a module `utils` of their own.
    assert net.helpers == "project_utils"
    check(tmp_path, net, architecture)
    net, architecture = code_of(tmp_path / "alone", PACKAGE, "nets/model.py:Net(3)", "")
    with pytest.raises(RunError, match="relative import beyond top-level package") as caught:
        check(tmp_path / "alone", net, architecture)
    assert "write the net and what it imports into one file" in str(caught.value)


def test_a_package_of_the_users_own_stays_one(tmp_path: Path) -> None:
    files = {"__init__.py": "WIDTH = 2\n", "model.py": f"from . import WIDTH\n{NET}"}
    net, architecture = code_of(tmp_path, files, "model.py:Net", FOLDER)
    assert net.module == "model.net.model"
    check(tmp_path, net, architecture)


def test_files_that_hide_those_of_the_project_are_refused(tmp_path: Path) -> None:
    files = {"model.py": f"import datasets\n{NET}", "datasets.py": "x = 1\n"}
    with pytest.raises(
        RunError, match=r"the net has a file datasets\.py, and the project imports datasets"
    ) as caught:
        code_of(tmp_path, files, "model.py:Net", FOLDER)
    assert "rename the file and train again" in str(caught.value)


def test_modules_in_files_and_functions(tmp_path: Path) -> None:
    code = f"{NET}class Outer:\n    Inner = Net\ndef make(width):\n    return Net(width)\nnet = make(2)\n"
    for number, (reference, name, call) in enumerate(
        (
            ("model.py:make(width=3)", "make", "make(width=3)"),
            ("model.py:Outer.Inner(3)", "Outer", "Outer.Inner(3)"),
            ("model.py:net", "net", "copy.deepcopy(net)"),
        )
    ):
        net, _ = code_of(tmp_path / str(number), {"model.py": code}, reference, "")
        assert (net.name, net.call) == (name, call)


def test_a_net_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    code = NET.replace("def forward(self, x):", "def forward(self, x):\n        x = x + self.shift").replace(
        "super().__init__()", "super().__init__()\n        self.shift = torch.randn(1).item()"
    )
    net, architecture = code_of(tmp_path, {"model.py": f"import torch\n{code}"}, "model.py:Net", "")
    with pytest.raises(RunError, match="it computes other outputs than the net that was trained"):
        check(tmp_path, net, architecture)


def test_the_logarithm_of_probabilities_is_compared(tmp_path: Path) -> None:
    code = CODE.replace("from layers import width_of", LAYERS)
    net, architecture = code_of(tmp_path, {"model.py": code}, "model.py:Softmax", "", "probabilities")
    assert net.outputs == "probabilities"
    check(tmp_path, net, architecture)


@pytest.mark.parametrize("place", ["", FOLDER])
def test_a_net_of_half_precision_is_that_of_the_training(tmp_path: Path, place: str) -> None:
    text = NET.replace("        self.head =", "        self.half()\n        self.head =")
    net, architecture = code_of(tmp_path, {"model.py": text}, "model.py:Net", place)
    assert net.call == "Net().float()"
    check(tmp_path, net, architecture)
