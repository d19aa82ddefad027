"""Ejected projects: the same predictions without convsmith, and able to train."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from matplotlib.text import Text

import convsmith as cs
from convsmith.cli import run
from convsmith.exporters.project import execution
from convsmith.exporters.project.project import LOG_ORIGIN
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from helpers.projects import RECIPES, imported, lint

Capture = pytest.CaptureFixture[str]


# Runs without convsmith: tests the weights of each project, then trains it.
DRIVER = """
import contextlib, hashlib, io, json, os, runpy, sys
sys.modules["convsmith"] = None
import numpy as np

def command(*arguments):
    for name in [each for each in sys.modules if each.split(".")[0] in {"model", "utils"}]:
        del sys.modules[name]
    sys.argv = ["main.py", *arguments]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        runpy.run_path("main.py", run_name="__main__")
    return output.getvalue()

def predictions(data):
    import torch
    from safetensors.torch import load_file
    from model.model import Net
    from utils import utils
    split = utils.load_images(*data)["test"]
    model = Net()
    model.load_state_dict(load_file("model/model.safetensors"))
    model.to(memory_format=torch.channels_last)
    images = utils.Images(split, utils.plain_transform())
    logits, labels = utils.predict(model, utils.make_loader(images, 1000), torch.device("cpu"))
    ids = [hashlib.sha256(str(i.shape).encode() + i.tobytes()).hexdigest()[:16] for i in split[0]]
    np.savez("predictions.npz", logits=logits.numpy(), labels=labels.numpy(), ids=np.array(ids))

for folder, data, options in json.loads(sys.argv[1]):
    os.chdir(folder)
    sys.path[0] = folder
    place = ["--data", data] if data else []
    output = command("test", *place, "--workers", "0")
    predictions([data] if data else [])
    output += command("train", *place, *options, "--workers", "0")
    open("output.txt", "w").write(output)
"""


# Slow weights of standardised layers are saved as plain layers.
SLOW = ["name=slow-weights", "train.lookahead={}", "model.norm=none", "train.weight_standardization=true"]
# Those of the course have no setting that the others have not, and the largest nets.
PROJECTS = (*(name for name in RECIPES if not name.startswith("course-")), "slow-weights")


def tiny(name: str, data: str) -> Recipe:
    """Return a library recipe or a variant, shortened for a test; `data` is the data set."""
    if name in {"digits", "slow-weights"}:
        return load("digits", ["train.epochs=4", *(SLOW if name == "slow-weights" else [])])
    few = ["train.epochs=1", "train.batch_size=32", f"data.source={data}"]
    if load(name).train.microbatch_size:
        few.append("train.microbatch_size=16")
    # The teacher is trained on the classes of digits.
    return load(name, [*few, "train.teacher=false"])


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Runs and projects of the recipes, trained on few images, ejected, and executed."""
    root = tmp_path_factory.mktemp("eject")
    grey, colour = root / "grey", root / "colour"
    write_images(grey, 28, "L")
    write_images(colour, 32, "RGB")
    table = write_parquet(colour, root / "table")
    sources = {"mnist-classic": grey, "cifar10-rmsprop": colour, "cifar10-classic": table}
    ejected, jobs = {}, []
    for name in PROJECTS:
        recipe = tiny(name, str(sources.get(name, colour)))
        data = "" if recipe.data.source == "digits" else recipe.data.source
        folder = cs.train(recipe, runs=root / "runs").folder
        out = root / "projects" / name
        assert out / "main.py" in cs.eject(folder, out, execute=False)
        ejected[name] = (folder, out)
        jobs.append((str(out), data, ["--epochs", "1" if data else "6"]))
    environment = {**os.environ, "HF_HOME": str(root / "hub"), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-W", "error::SyntaxWarning", "-c", DRIVER, json.dumps(jobs)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
    return ejected


def write_images(root: Path, size: int, mode: str) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for split, first, count in (("train", 0, 16), ("test", 16, 6)):
        for label in range(10):
            folder = root / split / f"class {label}"
            folder.mkdir(parents=True)
            some = digits.images[digits.target == label][first : first + count]
            for number, pixels in enumerate(some):
                picture = Image.fromarray((pixels * 15.9375).astype(np.uint8)).resize((size, size))
                picture.convert(mode).save(folder / f"{number}.png")


def write_parquet(images: Path, root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    (root / "data").mkdir(parents=True)
    for split in ("train", "test"):
        files = sorted((images / split).rglob("*.png"))
        cells = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
        labels = [int(file.parent.name[-1]) for file in files]
        pyarrow.parquet.write_table(
            pa.table({"picture": cells, "digit": labels}), root / "data" / f"{split}-00000-of-00001.parquet"
        )
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTS)
def test_the_project_has_the_predictions_of_the_run(
    name: str, projects: dict[str, tuple[Path, Path]]
) -> None:
    folder, project = projects[name]
    run_output = np.load(folder / "predictions.npz")
    project_output = np.load(project / "predictions.npz")
    # Images are matched by their pixels, since the files have another order.
    order = [np.argsort(ids, kind="stable") for ids in (run_output["ids"].astype(str), project_output["ids"])]
    assert list(run_output["ids"].astype(str)[order[0]]) == list(project_output["ids"][order[1]])
    assert (run_output["labels"][order[0]] == project_output["labels"][order[1]]).all()
    run_logits, project_logits = run_output["logits"][order[0]], project_output["logits"][order[1]]
    np.testing.assert_allclose(
        project_logits, run_logits, rtol=0, atol=1e-4 * max(np.abs(run_logits).max(), 1)
    )
    assert (project_logits.argmax(1) == run_logits.argmax(1)).all()
    score = json.loads((folder / "results.json").read_text())["test"]
    lines = (project / "output.txt").read_text().splitlines()
    assert "layer " in lines[0]
    trained, tested = scores(lines)[:2]
    assert f"Accuracy: {score['correct']}/{score['total']} (" in tested
    assert trained.startswith("Train set: ")


def scores(lines: list[str]) -> list[str]:
    return [line for line in lines if " set: Average loss: " in line]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTS)
def test_the_project_trains(name: str, projects: dict[str, tuple[Path, Path]]) -> None:
    _, project = projects[name]
    again = project / "again"
    with (again / "logs" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    on_digits = name in {"digits", "slow-weights"}
    assert len(rows) == (6 if on_digits else 1)
    assert all(np.isfinite([float(cell) for cell in row.values()]).all() for row in rows)
    assert {path.stem for path in (again / "plots").iterdir()} == {
        "examples", "augmented", "curves", "predictions", "misclassified", "class_accuracy",
    }  # fmt: skip
    assert (again / "model" / "model.safetensors").stat().st_size == (
        project / "model" / "model.safetensors"
    ).stat().st_size
    assert "Epoch 1, learning rate" in (again / "logs" / "train.log").read_text()
    if on_digits:
        assert float(rows[-1]["test_accuracy"]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTS)
def test_readme_and_requirements(name: str, projects: dict[str, tuple[Path, Path]]) -> None:
    _, project = projects[name]
    lint(project)
    page = (project / "README.md").read_text(encoding="utf-8")
    # Named as the origin of the log only.
    assert page.count("convsmith") == page.count(LOG_ORIGIN) == 1
    for path in [line.split("](")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]:
        assert (project / path).is_file()
    for title in ("Problem statement", "Code structure", "Model architecture", "Training log", "Results"):
        assert f"\n# {title}\n" in page
    notebook = nbformat.read(project / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    requirements = (project / "requirements.txt").read_text().splitlines()[1:]
    assert "convsmith" not in " ".join(requirements)
    needed = {line.split("==")[0] for line in requirements}
    assert {"torch", "albumentations", "safetensors"} <= needed
    assert ("datasets" in needed) == (name == "cifar10-classic")


def mistake(capsys: Capture, *arguments: str) -> str:
    assert run(["eject", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    overrides = ["train.epochs=1", "model.net=C4 / G F10", "name=tiny", "train.optimizer.lr=1e-4"]
    return cs.train(load("digits", overrides), runs=tmp_path_factory.mktemp("runs")).folder


def test_ejection_errors(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    out = tmp_path / "out"
    assert "no such run folder" in mistake(capsys, str(tmp_path / "nowhere"), str(out))
    assert "the folder lies inside the run" in mistake(capsys, str(folder), str(folder / "out"))
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("kept")
    err = mistake(capsys, str(folder), str(full))
    assert "the folder is not empty" in err
    assert "fix: name a new or an empty folder" in err
    assert "expected a folder" in mistake(capsys, str(folder), str(full / "mine.txt"))
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    (folder / "plots" / "loss.svg").write_bytes(b"damaged")
    assert "plots/loss.svg: damaged" in mistake(capsys, str(folder), str(out))
    (folder / "manifest.json").unlink()
    err = mistake(capsys, str(folder), str(out))
    assert "error[E050]" in err
    assert "the run is not finished" in err
    assert f"convsmith resume {folder}" in err
    assert not out.exists()


def test_the_command_writes_every_file_it_lists(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    out = tmp_path / "new" / "project"
    assert run(["eject", str(finished), str(out), "--no-execute"]) == 0
    named = capsys.readouterr().out.splitlines()
    assert sorted(named) == sorted(str(path) for path in out.rglob("*") if path.is_file())
    for name in ("model/model.py", "utils/utils.py", "main.py", "README.md", "tiny.ipynb", "logs/train.log"):
        assert (out / name).is_file()
    assert (out / "model" / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before
    lint(out)


def test_names_of_notebooks_and_the_former_layout(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "new"
    err = mistake(capsys, str(finished), str(out), "--layout", "flat")
    assert f"fix: convsmith hand-in {finished} --out {out}" in err
    for name in ("a/b.ipynb", "a/", "../S5.ipynb", "/S5.ipynb"):
        err = mistake(capsys, str(finished), str(out), "--notebook", name)
        assert "not the name of a notebook" in err, name
    assert not out.exists()
    assert run(["eject", str(finished), str(out), "--notebook", "S5.ipynb", "--no-execute"]) == 0
    assert "`S5.ipynb`" in (out / "README.md").read_text(encoding="utf-8")


def without_convsmith(project: Path, *arguments: str) -> list[str]:
    """Run main.py where convsmith cannot be imported; return the lines that it prints."""
    code = "import runpy, sys; sys.modules['convsmith'] = None; sys.argv = sys.argv[1:]; sys.path[0] = '.'"
    program = f"{code}; runpy.run_path('main.py', run_name='__main__')"
    environment = {**os.environ, "MPLBACKEND": "agg"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", program, "main.py", *arguments],
        check=False, capture_output=True, text=True, env=environment, cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_notebook_has_the_outputs_of_the_project_itself(finished: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    project = tmp_path / "project"
    written = cs.eject(finished, project, log=notes.append)
    assert not notes
    assert set(written) == {path for path in project.rglob("*") if path.is_file()}
    notebook = nbformat.read(project / "tiny.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    text = execution.printed({"outputs": [output for cell in cells for output in cell.outputs]})
    shown = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(shown) == 6
    assert "Total params: " in text
    assert str(tmp_path) not in json.dumps(notebook)
    assert "TRAIN_AGAIN = False" in execution.tagged(notebook.cells, "parameters").source
    assert any(cell.source == LOG_ORIGIN for cell in notebook.cells)
    results = json.loads((finished / "results.json").read_text())
    found = scores(execution.printed(execution.tagged(notebook.cells, "scores")).splitlines())
    for line, part in zip(found, ("train", "test"), strict=True):
        assert f"Accuracy: {results[part]['correct']}/{results[part]['total']} (" in line
    # The same lines come from the command, which needs no convsmith.
    assert scores(without_convsmith(project, "test")) == found
    lines = without_convsmith(project, "train", "--epochs", "1", "--out", "again")
    assert [line.split(":")[0] for line in scores(lines)[-2:]] == ["Train set", "Test set"]
    assert (project / "again" / "logs" / "train.log").read_text().splitlines() == lines
    weights = "again/model/model.safetensors"
    assert scores(without_convsmith(project, "test", "--weights", weights)) == scores(lines)[-2:]


def test_a_notebook_without_outputs_says_why(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "nbclient", None)
    assert run(["eject", str(finished), str(tmp_path / "project")]) == 0
    err = capsys.readouterr().err
    assert "pip install 'convsmith[notebook]'" in err
    assert "jupyter execute --inplace tiny.ipynb" in err
    notebook = nbformat.read(tmp_path / "project" / "tiny.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    assert (
        "has no outputs: the packages nbclient and ipykernel are missing"
        in execution.tagged(notebook.cells, "outputs").source
    )
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
def test_a_score_that_differs_is_reported(finished: Path, tmp_path: Path) -> None:
    cs.eject(finished, tmp_path / "project", execute=False)
    notebook = tmp_path / "project" / "tiny.ipynb"
    note = execution.execute(notebook, "", [(1, 599)])
    assert note.endswith("of 599 of the test images correct; the run had 1 of 599.")
    assert note in notebook.read_text(encoding="utf-8")
    (tmp_path / "project" / "model" / "model.safetensors").unlink()
    failure = execution.execute(notebook, "", [(1, 599)])
    assert "This notebook has no outputs: FileNotFoundError: " in failure


def test_the_readme_describes_the_overrides(finished: Path, tmp_path: Path) -> None:
    """The recipe of the library was described by its own result and its own number of epochs."""
    cs.eject(finished, tmp_path / "project", execute=False)
    page = (tmp_path / "project" / "README.md").read_text(encoding="utf-8")
    base = load("digits")
    assert base.description not in page
    assert not base.result or base.result not in page
    assert "train.epochs = 1 (was 30)" in page
    assert "after 1 epoch;" in page
    assert not re.search(r"\d\.\d{8,}", page)


@pytest.fixture
def project_utils(tmp_path: Path, finished: Path) -> Iterator[Any]:
    """The module of a project with its functions."""
    cs.eject(finished, tmp_path / "project", execute=False)
    with imported(tmp_path / "project", "utils.utils") as (utils,):
        yield utils


@pytest.mark.parametrize(
    ("images", "batch", "expected"), [(9, 4, [4, 4]), (10, 4, [4, 4, 2]), (8, 4, [4, 4])]
)
def test_the_loader_of_a_project_yields_no_single_image(
    images: int, batch: int, expected: list[int], project_utils: Any
) -> None:
    split = np.zeros((images, 8, 8, 1), np.uint8), np.zeros(images, np.int64)
    data = project_utils.Images(split, project_utils.plain_transform())
    assert [len(labels) for _, labels in project_utils.make_loader(data, batch, shuffle=True)] == expected
    # Nothing is left out where nothing is trained.
    assert sum(len(labels) for _, labels in project_utils.make_loader(data, batch)) == images


def test_a_project_shows_class_names_without_control_characters(project_utils: Any) -> None:
    names = ["cat\ndog", "\x1b[31mred\x1b[0m", "\u202eevil", "Ω", *"456789"]
    project_utils.CLASSES = names
    split = np.zeros((10, 8, 8, 1), np.uint8), np.arange(10)
    logits = torch.eye(10).flip(0)
    figures = [
        project_utils.plot_examples(split),
        project_utils.plot_predictions(split, logits, wrong_only=True),
        project_utils.plot_class_accuracy(logits, torch.arange(10)),
    ]
    texts = [each.get_text() for figure in figures for each in figure.findobj(Text)]
    assert not [text for text in texts if not text.replace("\ntrue: ", "").isprintable()]
    assert {"cat?dog", "?[31mred?[0m", "?evil", "Ω"} <= set(texts)
