"""The ejected project: laid out and linted, the same predictions without convsmith, and able to learn."""

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

import convsmith as cs
from convsmith.cli import run
from convsmith.data.dataset import CANONICAL
from convsmith.exporters.project.code import Storage, python_files, template_context
from convsmith.exporters.project.descriptions import differences, strategy
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.recipes.loader import load, recipe_names
from convsmith.recipes.schema import Recipe
from convsmith.runs.schema import DataRecord

Capture = pytest.CaptureFixture[str]
# The budgets of the sprint differ from it in numbers alone.
RECIPES = tuple(name for name in recipe_names() if not name.startswith("cifar10-sprint-"))
TRANSFORMS = (
    '{name="HorizontalFlip"}',
    '{name="ShiftScaleRotate", border="mean", rotate_limit=180.0}',
    '{name="ShiftScaleRotate", border="replicate", shift_limit=0.123456789}',
    '{name="CoarseDropout", hole_height_range=[2, 4], hole_width_range=[1, 3], num_holes_range=[1, 2]}',
    '{name="CoarseDropout", hole_height_range=[2, 2], hole_width_range=[2, 2], fill="black"}',
    '{name="RandomCrop", padding=2}',
    '{name="RandomCrop", padding=1, border="mean", p=0.5}',
    '{name="Cutout", size=3}',
    '{name="RandomBrightnessContrast", brightness_limit=0.1}',
)
# Every branch of the templates is taken by a shelf recipe or by one of these.
VARIANTS: dict[str, tuple[str, ...]] = {
    "no augmentation": ("augment.transforms=[]",),
    "adam, constant": ("train.optimizer=adam", "train.schedule=constant"),
    "sgd, nesterov, group rates": (
        "train.optimizer=sgd",
        "train.optimizer.nesterov=true",
        "train.optimizer.norm_bias_lr_factor=4.0",
        "train.schedule=step",
    ),
    "muon, group rates, plateau": (
        "train.optimizer=muon",
        "train.optimizer.rest.name=sgd",
        "train.optimizer.rest.norm_bias_lr_factor=4.0",
        "train.schedule=plateau",
        "data.validation=0.2",
        "train.whitening=true",
        "model.net=C8:k2 C16 / G F10",
    ),
    "muon, step": ("train.optimizer=muon", "train.schedule=step", "train.microbatch_size=32"),
    "cosine to an end": (
        "train.schedule=cosine",
        "train.schedule.end_factor=0.1",
        "train.whitening=true",
        "model.net=C8:k2 C16 / G F10",
        "train.optimizer.beta1=0.8",
    ),
    "plateau by the test": ("train.schedule=plateau", "train.schedule.monitor=test", "train.ema=0.9"),
    "one cycle, stopped": ("train.stop_after=2", "data.resize=12", "train.ema=0.9", "train.precision=bf16"),
    "lookahead": ("train.lookahead={k=3, alpha=0.8}", "train.precision=bf16"),
    "lookahead, averaged": ("train.lookahead={}", "train.ema=0.9", "train.microbatch_size=32"),
    "orthogonal": ("model.init=orthogonal", "model.init_gain=2.0", "model.bias=true", "model.dropout=0.1"),
    "uniform": ("model.init=kaiming-uniform", "model.norm=none", "train.weight_standardization=true"),
    "gain alone": ("model.init_gain=3.0", "model.net=+(C8 C8) M2 A2 / U2 C8:g2 D P8 / G F10"),
    "mixup": ('augment.mix={name="mixup"}', "train.progressive={start_size=6}"),
    "cutmix": ('augment.mix={name="cutmix"}', "train.microbatch_size=16", "train.label_smoothing=0.1"),
    "all transforms": (f"augment.transforms=[{', '.join(TRANSFORMS)}]",),
    "alternate flips": ('augment.transforms=[{name="HorizontalFlip", alternate=true}]',),
}


def written(recipe: Recipe, storage: Storage, folder: Path, classes: list[str], *, own_test: bool) -> None:
    """Write the code of a recipe, whose data are not needed."""
    shape = CANONICAL[load(recipe.name).data.source].info.image_shape
    if recipe.data.resize:
        shape = (shape[0], recipe.data.resize, recipe.data.resize)
    planned = plan(parse(recipe.model.net), shape, recipe.model)
    data = DataRecord(
        title="",
        place="",
        identity="",
        fingerprint="",
        class_names=tuple(classes),
        mean=(0.49139967861519596, 0.4821584083946079, 0.4465309144454657)[: shape[0]],
        std=(0.24703223246328201, 0.24348512800005553, 0.2615878417279645)[: shape[0]],
        image_shape=shape,
        split_seed=0,
        dropped=(),
        splits={},
        test_split="the source's own" if own_test else "by convsmith, stratified",
    )
    values = template_context(recipe, planned, data, storage)
    values["data_help"] = "a folder"
    for path, text in python_files(values, planned, ["Images are so and so."]).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def lint(folder: Path) -> None:
    """The formatter changes nothing, the linter finds nothing, and nothing speaks of convsmith."""
    ruff = [sys.executable, "-m", "ruff"]
    formatted = [*ruff, "format", "--isolated", "--diff", "."]
    checked = [*ruff, "check", "--isolated", "--select", "E,F,I,W,B,UP,SIM,C4,RET", "--ignore", "E501", "."]
    for command in (formatted, checked):
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stdout
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        ast.parse(text)
        assert "convsmith" not in text


STORAGES = {
    "digits": Storage(kind="digits"),
    "hub": Storage(kind="hub", default="owner/name"),
    "parquet": Storage(kind="parquet", default="data", columns=('a"b', "label"), is_marked=False),
    "images": Storage(kind="images", default="data", train_folder="train", test_folder="val"),
    "flat images": Storage(kind="images", default="data"),
}


@pytest.mark.parametrize("name", [*RECIPES, *VARIANTS])
def test_the_code_is_laid_out_and_linted(name: str, tmp_path: Path) -> None:
    recipe = load(name) if name in RECIPES else load("digits", VARIANTS[name])
    storage = STORAGES["digits" if recipe.data.source == "digits" else "hub"]
    own_test = recipe.data.source != "digits"
    written(recipe, storage, tmp_path, list("abcdefghij"), own_test=own_test)
    lint(tmp_path)


@pytest.mark.parametrize("resize", ["", "data.resize=12"])
@pytest.mark.parametrize("storage", ["hub", "parquet", "images", "flat images"])
@pytest.mark.parametrize("name", ["digits", "cifar10-rmsprop"])
def test_every_way_of_reading_is_linted(name: str, storage: str, resize: str, tmp_path: Path) -> None:
    recipe = load(name, [resize] if resize else [])
    names = ["a", 'b"c\\', "line\nend", "naïve '\"both\"'", *(f"class {n}" for n in range(6))]
    written(recipe, STORAGES[storage], tmp_path, names, own_test=storage in {"hub", "images"})
    lint(tmp_path)
    scope: dict[str, Any] = {}
    text = (tmp_path / "utils" / "utils.py").read_text(encoding="utf-8")
    first = next(node for node in ast.parse(text).body if isinstance(node, ast.Assign))
    exec(ast.unparse(first), scope)  # noqa: S102 - the constant of class names
    assert list(scope["CLASSES"]) == names


def test_many_classes_have_a_file_of_their_own(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(60)]
    written(load("digits"), STORAGES["images"], tmp_path, names, own_test=True)
    lint(tmp_path)
    assert 'with_name("classes.json")' in (tmp_path / "utils" / "utils.py").read_text(encoding="utf-8")


def test_a_project_tells_that_its_net_had_a_teacher() -> None:
    taught = load("digits", ["train.teacher=mnist-5k", "train.distillation.temperature=2"])
    assert any(
        "from a trained teacher, in addition to the labels (weight 0.9, temperature 2)" in line
        for line in strategy(taught)
    )
    assert any("learns from the labels only" in line for line in differences(taught))
    assert not any("teacher" in line for line in (*strategy(load("digits")), *differences(load("digits"))))


# Run where convsmith cannot be imported: tests the weights of each project, then trains each anew.
DRIVER = """
import contextlib, hashlib, io, json, os, runpy, sys
sys.modules["convsmith"] = None
import numpy as np

def command(*arguments):
    for name in [each for each in sys.modules if each.split(".")[0] in {"model", "utils"}]:
        del sys.modules[name]
    sys.argv = ["main.py", *arguments]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        runpy.run_path("main.py", run_name="__main__")
    return said.getvalue()

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
    said = command("test", *place, "--workers", "0")
    predictions([data] if data else [])
    said += command("train", *place, *options, "--workers", "0")
    open("said.txt", "w").write(said)
"""


# Weights that are not the net's own, in layers that are not plain ones, end in a file of plain ones.
SLOW = ["name=slow-weights", "train.lookahead={}", "model.norm=none", "train.weight_standardization=true"]
PROJECTS = (*RECIPES, "slow-weights")


def tiny(name: str, data: str) -> Recipe:
    """A recipe of the shelf, or a variant, short enough for a test; `data` are the images."""
    if name in {"digits", "slow-weights"}:
        return load("digits", ["train.epochs=4", *(SLOW if name == "slow-weights" else [])])
    few = ["train.epochs=1", "train.batch_size=32", f"data.source={data}"]
    if load(name).train.microbatch_size:
        few.append("train.microbatch_size=16")
    # A teacher of digits knows other classes.
    return load(name, [*few, "train.teacher=false"])


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The recipes of the shelf and a variant trained on few images, ejected, and run: runs and projects."""
    root = tmp_path_factory.mktemp("eject")
    grey, colour = root / "grey", root / "colour"
    write_images(grey, 28, "L")
    write_images(colour, 32, "RGB")
    table = write_parquet(colour, root / "table")
    sources = {"mnist-classic": grey, "cifar10-rmsprop": colour, "cifar10-classic": table}
    found, jobs = {}, []
    for name in PROJECTS:
        recipe = tiny(name, str(sources.get(name, colour)))
        data = "" if recipe.data.source == "digits" else recipe.data.source
        folder = cs.train(recipe, runs=root / "runs").folder
        out = root / "projects" / name
        assert out / "main.py" in cs.eject(folder, out)
        found[name] = (folder, out)
        jobs.append((str(out), data, ["--epochs", "1" if data else "6"]))
    environment = {**os.environ, "HF_HOME": str(root / "hub"), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-W", "error::SyntaxWarning", "-c", DRIVER, json.dumps(jobs)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
    return found


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
def test_the_project_says_what_the_run_said(name: str, projects: dict[str, tuple[Path, Path]]) -> None:
    folder, project = projects[name]
    run_said = np.load(folder / "predictions.npz")
    project_said = np.load(project / "predictions.npz")
    # Both know images by their pixels; the order of the files is another.
    order = [np.argsort(ids, kind="stable") for ids in (run_said["ids"].astype(str), project_said["ids"])]
    assert list(run_said["ids"].astype(str)[order[0]]) == list(project_said["ids"][order[1]])
    assert (run_said["labels"][order[0]] == project_said["labels"][order[1]]).all()
    ours, theirs = run_said["logits"][order[0]], project_said["logits"][order[1]]
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4 * max(np.abs(ours).max(), 1))
    assert (theirs.argmax(1) == ours.argmax(1)).all()
    score = json.loads((folder / "results.json").read_text())["test"]
    line = f"Accuracy: {score['correct']}/{score['total']} ("
    assert line in (project / "said.txt").read_text().splitlines()[0]


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
def test_the_whole_project(name: str, projects: dict[str, tuple[Path, Path]]) -> None:
    _, project = projects[name]
    lint(project)
    page = (project / "README.md").read_text(encoding="utf-8")
    assert "convsmith" not in page
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


def test_what_cannot_be_ejected(finished: Path, tmp_path: Path, capsys: Capture) -> None:
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
    (folder / "plots" / "curves.png").write_bytes(b"damaged")
    assert "plots/curves.png: damaged" in mistake(capsys, str(folder), str(out))
    (folder / "manifest.json").unlink()
    err = mistake(capsys, str(folder), str(out))
    assert "error[E050]" in err
    assert "the run is not finished" in err
    assert f"convsmith resume {folder}" in err
    assert not out.exists()


def test_the_command(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    out = tmp_path / "new" / "project"
    assert run(["eject", str(finished), str(out)]) == 0
    named = capsys.readouterr().out.splitlines()
    assert sorted(named) == sorted(str(path) for path in out.rglob("*") if path.is_file())
    for name in ("model/model.py", "utils/utils.py", "main.py", "README.md", "tiny.ipynb", "logs/train.log"):
        assert (out / name).is_file()
    assert (out / "model" / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before
    lint(out)


@pytest.mark.slow
def test_the_notebook_of_a_project_runs(finished: Path, tmp_path: Path) -> None:
    """Its cells one after the other in a fresh interpreter without convsmith."""
    cs.eject(finished, tmp_path / "project")
    notebook = json.loads((tmp_path / "project" / "tiny.ipynb").read_text(encoding="utf-8"))
    cells = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    script = "\n".join(["import sys", "sys.modules['convsmith'] = None", *cells])
    (tmp_path / "cells.py").write_text(script, encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": str(tmp_path / "project")}
    command = [sys.executable, str(tmp_path / "cells.py")]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path / "project"
    )
    assert done.returncode == 0, done.stderr
    score = json.loads((finished / "results.json").read_text())["test"]
    assert f"Accuracy: {score['correct']}/{score['total']}" in done.stdout
