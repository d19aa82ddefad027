"""Nets of the user's own in one model.py: each is that of its run."""

import json
import re
from pathlib import Path

import pytest

import convsmith as cs
from convsmith.cli import run as command
from convsmith.errors import RunError, UntrustedCodeError
from helpers.projects import without_convsmith

# Two files with one name for two nets and for two functions, and a constant that they share.
NET = """\
\"\"\"A net.\"\"\"
import torch.nn.functional as F
from torch import nn

CLASSES = 10
WIDTH = {width}


def block(channels):
    # The norm.
    return nn.Sequential(nn.Conv2d(1, channels, 3), {norm}, nn.ReLU())


class Net(nn.Module):
    def __init__(self{arguments}):
        super(Net, self).__init__()
        self.block = block(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return {outputs}(self.head(self.block(x).mean((2, 3))), dim=1)


if __name__ == "__main__":
    print(Net())
"""
LOG, PROBABILITIES = "F.log_softmax", "F.softmax"


def trained(folder: Path, name: str, reference: str, files: dict[str, str]) -> Path:
    """Train a net of a file on digits for one epoch; return the run folder."""
    (folder / name).mkdir(parents=True)
    for file, text in files.items():
        (folder / name / file).write_text(text)
    module = f"model.module={folder / name / reference}"
    recipe = cs.load_recipe("digits", "train.epochs=1", f"name={name}", "brief=false", module)
    return cs.train(recipe, runs=folder / "runs").folder


def net(
    width: int = 4, norm: str = "nn.BatchNorm2d(channels)", arguments: str = "", outputs: str = LOG
) -> str:
    return NET.format(width=width, norm=norm, arguments=arguments, outputs=outputs)


def score(run: Path) -> str:
    test = json.loads((run / "results.json").read_text())["test"]
    return f"Accuracy: {test['correct']}/{test['total']} ("


@pytest.mark.slow
def test_nets_of_one_name_become_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    norms = "NORMS = {'batch': nn.BatchNorm2d, 'group': lambda each: nn.GroupNorm(2, each)}"
    chosen = net(norm="NORMS[norm](channels)", arguments=", norm").replace("WIDTH = 4", f"WIDTH = 4\n{norms}")
    chosen = chosen.replace("block(WIDTH)", "block(WIDTH, norm)").replace(
        "block(channels)", "block(channels, norm)"
    )
    files = {"one": net(), "two": net(6, outputs=PROBABILITIES), "batch": chosen, "group": chosen}
    references = dict.fromkeys(files, "net.py:Net") | {
        name: f'net.py:Net(norm="{name}")' for name in ("batch", "group")
    }
    runs = [trained(tmp_path, name, references[name], {"net.py": text}) for name, text in files.items()]
    with pytest.raises(UntrustedCodeError):
        cs.hand_in(runs, tmp_path / "out", execute=False)
    assert not (tmp_path / "out").exists()
    cs.hand_in(runs, tmp_path / "out", execute=False, trust_code=True)
    text = (tmp_path / "out" / "model.py").read_text()
    classes = re.findall(r"^class (\w+)\((.*)\):", text, flags=re.MULTILINE)
    assert classes == [
        ("Model_1", "nn.Module"), ("Model_2", "nn.Module"), ("Net", "nn.Module"), ("Model_3", "Net"),
        ("Model_4", "Net"),
    ]  # fmt: skip
    assert text.count("CLASSES = 10") == 1
    assert "super(Model_1, self)" in text
    assert "super().__init__(norm='group')" in text
    assert "# The norm." in text
    assert "__main__" not in text
    printed = without_convsmith(tmp_path / "out", "test", "--workers", "0")
    for run in runs:
        assert score(run) in printed
    # The check of a hand-in, or anyone, names a class.
    capsys.readouterr()
    assert command(["summary", f"{tmp_path / 'out' / 'model.py'}:Model_4", "--input", "1x8x8"]) == 0
    parameters = cs.resolve(str(runs[3]), trust_code=True).analysis.parameters
    assert f"{parameters:,}" in capsys.readouterr().out


@pytest.mark.slow
def test_nets_of_several_files_keep_them(module_run: Path, softmax_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cs.hand_in([module_run, softmax_run], out, execute=False, trust_code=True)
    assert {path.name for path in (out / "model_1").iterdir()} == {"__init__.py", "model.py", "layers.py"}
    code = (out / "model.py").read_text()
    assert "from model_1.model import Net" in code
    assert "class Model_2(Softmax):" in code
    printed = without_convsmith(out, "test", "--workers", "0")
    assert score(module_run) in printed
    assert score(softmax_run) in printed
    text = "from layers import WIDTH\n" + net().replace("WIDTH = 4\n", "")
    files = {"model.py": text, "layers.py": "WIDTH = 3\n"}
    other = trained(tmp_path, "other", "model.py:Net", files)
    with pytest.raises(RunError, match=r"have different files layers\.py"):
        cs.hand_in([module_run, other], tmp_path / "both", execute=False, trust_code=True)
    assert not (tmp_path / "both").exists()


@pytest.mark.slow
def test_one_run_of_another_name_alone(tmp_path: Path) -> None:
    """A class that is called as another model, and a module that is an instance."""
    text = net().replace("Net", "Model_2") + "\nnet = Model_2()\n"
    runs = [
        trained(tmp_path, "class", "net.py:Model_2", {"net.py": text}),
        trained(tmp_path, "instance", "net.py:net", {"net.py": text}),
    ]
    cs.hand_in(runs, tmp_path / "out", execute=False, trust_code=True)
    printed = without_convsmith(tmp_path / "out", "test", "--workers", "0")
    assert [line for line in printed.splitlines() if line.startswith("Model_")] == ["Model_1", "Model_2"]
    for run in runs:
        assert score(run) in printed


@pytest.mark.slow
def test_a_class_that_only_a_table_names_is_an_error_of_its_run(tmp_path: Path) -> None:
    register = "LAYERS = {}\n\n\ndef register(each):\n    LAYERS[each.__name__] = each\n    return each\n"
    body = f"{register}\n\n@register\nclass Body(nn.Conv2d):\n    pass\n"
    text = net(norm='LAYERS["Body"](channels, channels, 1)').replace("def block", f"{body}\n\ndef block")
    run = trained(tmp_path, "table", "net.py:Net", {"net.py": text})
    with pytest.raises(RunError, match=r"the code of the net does not run in the project: KeyError: 'Body'"):
        cs.hand_in([run], tmp_path / "out", execute=False, trust_code=True)
    assert not (tmp_path / "out").exists()
