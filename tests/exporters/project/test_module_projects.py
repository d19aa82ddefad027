"""Ejected projects of nets that are PyTorch modules: the user's files, the run's score, no convsmith."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
import safetensors.torch

import convsmith as cs
from convsmith.cli import run as command
from convsmith.errors import RunError, UntrustedCodeError
from convsmith.exporters.project import execution
from helpers.own_nets import CODE, LAYERS
from helpers.projects import lint, without_convsmith


def lint_own(project: Path, net: set[str], folder: Path) -> None:
    """Check what convsmith wrote, with empty files for the user's."""
    shutil.copytree(project, folder)
    for path in folder.rglob("*.py"):
        if path.name in net:
            path.write_text("")
    lint(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["module_run", "softmax_run"])
def test_the_project_has_the_files_of_the_user_and_the_score_of_the_run(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = request.getfixturevalue(name)
    project = tmp_path / "project"
    options = ["--no-execute"]
    assert command(["eject", str(run), str(project), *options]) == 2
    assert "fix: read the code, then allow it: --trust-code" in capsys.readouterr().err
    assert command(["eject", str(run), str(project), *options, "--trust-code"]) == 0
    named = capsys.readouterr().out.splitlines()
    assert sorted(named) == sorted(str(path) for path in project.rglob("*") if path.is_file())
    assert (project / "model" / "model.py").read_text() == CODE
    assert (project / "model" / "layers.py").read_text() == LAYERS
    score = json.loads((run / "results.json").read_text())["test"]
    assert f"Accuracy: {score['correct']}/{score['total']} (" in without_convsmith(project, "test")
    page = (project / "README.md").read_text(encoding="utf-8")
    call = "Net(width=6)" if name == "module_run" else "Softmax()"
    outputs = (
        "log-probabilities." if name == "module_run" else "probabilities; `main.py` takes their logarithm."
    )
    assert f"The net is `{call}` in `model/model.py`. It returns {outputs}" in page
    assert "1. `conv1`: Conv2d; maps of 8x8 pixels, receptive field 3." in page
    assert "notation" not in page
    assert page.count("convsmith") == 1
    lint_own(project, {"model.py", "layers.py"}, tmp_path / "own")


@pytest.mark.slow
def test_the_project_of_a_module_trains_and_its_notebook_runs(softmax_run: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    project = tmp_path / "project"
    cs.eject(softmax_run, project, trust_code=True, log=notes.append)
    assert not notes
    notebook = nbformat.read(project / "softmax.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    score = json.loads((softmax_run / "results.json").read_text())["test"]
    printed = execution.printed(execution.tagged(notebook.cells, "scores"))
    assert f"Accuracy: {score['correct']}/{score['total']} (" in printed
    assert any(
        "class Softmax(Net):" in execution.printed({"outputs": cell.get("outputs", [])})
        for cell in notebook.cells
    )
    without_convsmith(project, "train", "--epochs", "1", "--workers", "0")
    assert (project / "again" / "model" / "model.safetensors").is_file()


def test_what_cannot_be_ejected_leaves_nothing_behind(
    module_run: Path, tmp_path: Path, without_report: None
) -> None:
    with pytest.raises(UntrustedCodeError):
        cs.eject(module_run, tmp_path / "project", execute=False)
    assert not (tmp_path / "project").exists()


def test_a_run_of_an_instance_without_code_is_refused(tmp_path: Path, tiny_run: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    text = (run / "recipe.toml").read_text()
    start, end = text.index("[model]"), text.index("[", text.index("[model]") + 1)
    model = '[model]\nmodule = "torch.nn.modules.container:Sequential()"\noutputs = "logits"\n\n'
    (run / "recipe.toml").write_text(text[:start] + model + text[end:])
    (run / "code.json").write_text(
        json.dumps({"module": "torch.nn.modules.container:Sequential()", "files": {}, "is_instance": True})
    )
    (run / "manifest.json").unlink()
    with pytest.raises(RunError, match="it was trained with an instance, whose class is in no file"):
        cs.eject(run, tmp_path / "project", execute=False, trust_code=True)


@pytest.mark.slow
def test_a_net_whose_view_needs_the_channels_first(tmp_path: Path) -> None:
    """The oracle: its score in the run. Muon changes the weights in place, also in this memory format."""
    code = (
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.body = nn.Conv2d(1, 4, 3)\n        self.more = nn.Conv2d(4, 4, 3, bias=False)\n"
        "        self.head = nn.Linear(64, 10)\n\n    def forward(self, x):\n"
        "        return self.head(self.more(self.body(x)).view(-1, 64))\n"
    )
    (tmp_path / "net.py").write_text(code)
    fields = (
        "train.epochs=1",
        "train.optimizer=muon",
        f"model.module={tmp_path / 'net.py'}:Net",
        "brief=false",
    )
    run = cs.train(cs.load_recipe("digits", *fields), runs=tmp_path / "runs").folder
    score = json.loads((run / "results.json").read_text())["test"]
    cs.eject(run, tmp_path / "ejected", execute=False, trust_code=True)
    cs.hand_in([run], tmp_path / "handed-in", execute=False, trust_code=True)
    for project, weights in (("ejected", "model/model"), ("handed-in", "weights/model_1")):
        folder = tmp_path / project
        assert f"Accuracy: {score['correct']}/{score['total']} (" in without_convsmith(folder, "test")
        without_convsmith(folder, "train", "--epochs", "1", "--workers", "0")
        trained = safetensors.torch.load_file(folder / "again" / f"{weights}.safetensors")
        # An initial bound of PyTorch: 1 / sqrt(fan_in); one step of Muon leaves it.
        assert trained["more.weight"].abs().max() > 1 / 6
