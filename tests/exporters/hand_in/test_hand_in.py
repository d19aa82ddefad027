"""Hand-ins: the models of several runs in one repository, which computes what they do without convsmith."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.cli import run as command
from convsmith.evaluation.gradient_maps import gradient_maps
from convsmith.exporters.project import execution
from helpers.projects import imported, without_convsmith

Capture = pytest.CaptureFixture[str]
STEPS = {
    "first": ["model.net=C4 C6:s2 / G F10", "model.norm=none", "train.schedule=constant", "augment=false"],
    "second": ["model.net=C4 C6:s2 / G F10", "train.ema=0.9", "train.optimizer=muon", "train.l1=1e-5"],
    # The net of the second step.
    "third": ["model.net=C4 C6:s2 / G F10", "train.lookahead={}", 'augment.mix={name="mixup"}'],
}
NOTES = 'notes.target="A **small** net"', "notes.analysis=It underfits."
BRIEF = """\
description = "Digits with fewer than 500 parameters"
max_parameters = 499
epochs = 1
require = ["global-average-pooling"]
steps = 3
notes = ["target", "result", "analysis"]
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        cs.train(
            cs.load_recipe("digits", f"name={name}", "train.epochs=1", *NOTES, *fields), runs=folder
        ).folder
        for name, fields in STEPS.items()
    ]


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("briefs") / "brief.toml"
    path.write_text(BRIEF)
    return str(path)


@pytest.fixture(scope="module")
def handed_in(runs: list[Path], brief: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "S7"
    assert command(["hand-in", *map(str, runs), "--brief", brief, "--out", str(folder), "--no-execute"]) == 0
    return folder


def scores(text: str) -> list[str]:
    return [line for line in text.splitlines() if " set: Average loss: " in line]


def score(run: Path, split: str = "test") -> str:
    results = json.loads((run / "results.json").read_text())[split]
    return f"Accuracy: {results['correct']}/{results['total']} ("


def test_the_repository_has_what_the_assignment_asks_for(handed_in: Path, runs: list[Path]) -> None:
    assert {path.name for path in handed_in.iterdir()} == {
        "model.py", "utils.py", "main.py", "notebook.ipynb", "README.md", "requirements.txt", ".gitignore",
        "weights", "logs", "plots",
    }  # fmt: skip
    text = (handed_in / "model.py").read_text()
    assert re.findall(r"^class (Model_\d)\((.*)\):", text, flags=re.MULTILINE) == [
        ("Model_1", "nn.Module"), ("Model_2", "nn.Module"), ("Model_3", "Model_2"),
    ]  # fmt: skip
    page = (handed_in / "README.md").read_text()
    assert page.startswith("# Digits with fewer than 500 parameters\n")
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (handed_in / picture).is_file()
    for number, run in enumerate(runs, start=1):
        test = json.loads((run / "results.json").read_text())["test"]
        accuracy = f"{100 * test['correct'] / test['total']:.2f} %"
        parameters = cs.resolve(str(run)).analysis.parameters
        section = page.split(f"\n# Step {number}: Model_{number}\n")[1].split("\n# ")[0]
        assert "**Target.** A **small** net" in section
        assert f"**Result.** {parameters:,} parameters, 1 epoch." in section
        assert f"after the last epoch {accuracy}" in section
        assert "**Analysis.** It underfits." in section
        assert "| layer" in section
        assert (handed_in / f"weights/model_{number}.safetensors").read_bytes() == (
            run / "model.safetensors"
        ).read_bytes()
        assert (handed_in / f"logs/model_{number}.csv").read_bytes() == (run / "metrics.csv").read_bytes()
        drawing = (handed_in / f"plots/model_{number}_mistakes.svg").read_text()
        assert drawing.count("<image ") == 10
    for kind in ("loss", "accuracy"):
        assert all(
            f"Model_{number}:" in (handed_in / f"plots/{kind}.svg").read_text() for number in (1, 2, 3)
        )


def test_maps_of_the_repository_are_those_of_convsmith(handed_in: Path) -> None:
    torch.manual_seed(0)
    images, classes = torch.randn(4, 1, 8, 8), torch.tensor([3, 1, 4, 1])
    with imported(handed_in, "model", "utils") as (models, utils):
        net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(inplace=True), models.Model_2().block2).eval()
        maps, expected = (
            utils.class_activation_maps(net, images, classes),
            gradient_maps(net, images, classes),
        )
        assert expected is not None
        assert torch.equal(maps, expected)


@pytest.mark.slow
def test_the_repository_computes_and_trains_without_convsmith(
    handed_in: Path, runs: list[Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(handed_in, tmp_path / "copy")
    printed = without_convsmith(folder, "test")
    lines = scores(printed)
    for number, run in enumerate(runs):
        for line, split in zip(lines[2 * number : 2 * number + 2], ("train", "test"), strict=True):
            assert score(run, split) in line
    printed = without_convsmith(folder, "train", "--epochs", "1", "--workers", "0")
    assert [line for line in printed.splitlines() if line.startswith("Model_")] == [
        "Model_1",
        "Model_2",
        "Model_3",
    ]
    for number in (1, 2, 3):
        assert (folder / f"again/logs/model_{number}.csv").is_file()
        assert len(list((folder / f"again/plots/model_{number}").iterdir())) == 6
    trained = scores(printed)
    tested = scores(without_convsmith(folder, "test", "--weights", "again/weights", "--model", "3"))
    assert tested == trained[-2:]


@pytest.mark.slow
def test_the_notebook_shows_all_steps(runs: list[Path], brief: str, tmp_path: Path) -> None:
    notes: list[str] = []
    folder = tmp_path / "S7"
    written = cs.hand_in(runs, folder, brief=brief, notebook="S7.ipynb", log=notes.append)
    assert not notes
    assert written.verdicts.passed
    assert set(written.files) == {path for path in folder.rglob("*") if path.is_file()}
    notebook = nbformat.read(folder / "S7.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    # Examples; curves, mistakes and augmented images, which step 1 has not; loss and accuracy of all.
    assert len(shown) == 1 + 3 * 3 - 1 + 2
    texts = [execution.printed(cell) for cell in cells if "scores" in cell.metadata.get("tags", [])]
    for text, run in zip(texts, runs, strict=True):
        assert score(run) in text
    assert str(tmp_path) not in json.dumps(notebook)


def test_a_rule_that_is_broken_is_reported(
    runs: list[Path], brief: str, tmp_path: Path, capsys: Capture
) -> None:
    assert (
        command(
            ["hand-in", *map(str, runs[:2]), "--brief", brief, "--out", str(tmp_path / "a"), "--no-execute"]
        )
        == 1
    )
    out = capsys.readouterr().out
    assert re.search(r"FAIL +models of the hand-in +2 \(required: 3\)", out)
    assert "❌ fail" in (tmp_path / "a" / "README.md").read_text()


def test_missing_notes_are_named_with_what_to_write(runs: list[Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[0], tmp_path / "run")
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(recipe.replace("It underfits.", " "))
    notes: list[str] = []
    cs.hand_in([run], tmp_path / "out", execute=False, log=notes.append)
    assert len(notes) == 1
    assert notes[0].startswith(f"step 1 has no analysis: write into {run / 'recipe.toml'} under [notes]")
    assert "**Analysis.** *Not written yet.*" in (tmp_path / "out" / "README.md").read_text()


def mistake(capsys: Capture, *words: str) -> str:
    assert command(["hand-in", *words, "--no-execute"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_errors(runs: list[Path], tmp_path: Path, capsys: Capture) -> None:
    out, first = str(tmp_path / "out"), str(runs[0])
    assert "this run is named twice" in mistake(
        capsys, first, f"{runs[0].parent}/./{runs[0].name}", "--out", out
    )
    assert "no such run folder" in mistake(capsys, str(tmp_path / "none"), "--out", out)
    assert "unknown brief 'nope'" in mistake(capsys, first, "--brief", "nope", "--out", out)
    for name in ("Untitled.ipynb", "S7 (1).ipynb", "S7-Copy1.ipynb", "my net.ipynb", "a/S7.ipynb", ""):
        err = mistake(capsys, first, "--out", out, "--notebook", name)
        assert "name" in err
        assert "for example S" in err
    assert "the folder lies inside the run" in mistake(capsys, first, "--out", f"{first}/out")
    assert "the folder is not empty" in mistake(capsys, first, "--out", str(runs[0].parent))
    unfinished = shutil.copytree(runs[1], tmp_path / "unfinished")
    (unfinished / "manifest.json").unlink()
    assert "the run is not finished" in mistake(capsys, first, str(unfinished), "--out", out)
    other = cs.train(
        cs.load_recipe("digits", "name=other", "train.epochs=1", "data.test_fraction=0.2", "brief=false"),
        runs=tmp_path / "runs",
    ).folder
    err = mistake(capsys, first, str(other), "--out", out)
    assert "the steps of a hand-in are trained on the same images: found another" in err
    assert not Path(out).exists()
