"""Ejected projects of fine-tuned runs: they ship the weights that the training began with."""

import ast
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

import convsmith as cs
from convsmith.errors import RunError
from convsmith.exporters.hand_in.code import shared_code
from convsmith.exporters.project.code import Storage
from convsmith.recipes.loader import load
from helpers.projects import code_and_data, lint

TINY = ["model.net=C4 / C8:s2 / G F10", "train.epochs=2", "augment.transforms=[]", "train.start_from=digits"]
# What each variant of the code must hold.
VARIANTS = {
    "frozen": (["train.freeze=body", "train.ema=0.9"], {"block3.linear1"}),
    "thawed": (
        ["train.freeze=body", "train.freeze_epochs=1", "train.layer_decay=0.5", "train.optimizer.lr=0.01"],
        None,
    ),
    "muon": (
        ["train.freeze=block1", "train.optimizer=muon", "train.layer_decay=0.5", "train.lookahead={}"],
        {"block2.conv1", "block2.norm1", "block3.linear1"},
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = load("digits", [*TINY, "train.start_from=false", "name=base"])
    return cs.train(recipe, runs=tmp_path_factory.mktemp("base")).folder


def ejected(base: Path, name: str, root: Path) -> tuple[Path, Path]:
    overrides = [*TINY, *VARIANTS[name][0], f"name={name}", f"train.start_from={base}", "train.head=new"]
    run = cs.train(load("digits", overrides), runs=root / "runs").folder
    cs.eject(run, root / "project", execute=False)
    return run, root / "project"


@pytest.mark.slow  # Each trains twice, in a process of its own the second time.
@pytest.mark.parametrize("name", VARIANTS)
def test_a_project_begins_with_the_weights_of_the_start(name: str, base: Path, tmp_path: Path) -> None:
    run, project = ejected(base, name, tmp_path)
    lint(project)
    start = safetensors.torch.load_file(project / "model/start.safetensors")
    assert start.keys() == safetensors.torch.load_file(run / "start.safetensors").keys()
    command = [sys.executable, "main.py", "train", "--workers", "0", "--epochs", "2"]
    done = subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = safetensors.torch.load_file(project / "again/model/model.safetensors")
    changed = {each.rpartition(".")[0] for each in start if not torch.equal(start[each], again[each])}
    learned = VARIANTS[name][1]
    assert changed == (learned or {each.rpartition(".")[0] for each in start})
    readme = (project / "README.md").read_text()
    assert "The training began with the weights of the run base-1" in readme
    assert "`model/start.safetensors`: the weights that the training began with" in readme
    assert "A new training begins with the same weights" in readme


def test_the_first_weights_must_be_there(base: Path, tmp_path: Path) -> None:
    recipe = load("digits", [*TINY, "train.epochs=1", f"train.start_from={base}", "name=lost"])
    run = cs.train(recipe, runs=tmp_path / "runs").folder
    (run / "start.safetensors").unlink()
    with pytest.raises(RunError, match=r"damaged: missing"):
        cs.eject(run, tmp_path / "project", execute=False)
    assert not (tmp_path / "project").exists()


def test_frozen_layers_and_standardised_ones_are_refused(base: Path, tmp_path: Path) -> None:
    overrides = ["train.weight_standardization=true", "train.freeze=block1", "train.epochs=1", "name=both"]
    run = cs.train(
        load("digits", [*TINY, f"train.start_from={base}", *overrides]), runs=tmp_path / "runs"
    ).folder
    with pytest.raises(RunError, match="standardises the weights of all layers"):
        cs.eject(run, tmp_path / "project", execute=False)


def test_steps_of_a_hand_in_have_their_own_frozen_layers_and_rates() -> None:
    """A fine-tuned step and others in one program: every name that is used exists."""
    settings: list[list[str]] = [["train.start_from=digits", *VARIANTS["frozen"][0]], [], VARIANTS["muon"][0]]
    recipes = [load("digits", ["model.net=C4 / C8:s2 / G F10", *each]) for each in settings]
    made = [code_and_data(recipe, list("0123456789"), own_test=False) for recipe in recipes]
    nets = [
        replace(
            net, text="", module="model", name=f"Model_{number}", call=f"Model_{number}()", main="model.py"
        )
        for number, (net, _) in enumerate(made, start=1)
    ]
    code = shared_code(recipes, nets, made[0][1], Storage(kind="digits"), "")
    main, utils = code.files["main.py"], code.files["utils.py"]
    ast.parse(main)
    assert main.count('load_file(HERE / f"weights/{args.name}_start.safetensors")') == 1
    assert "utils.freeze_1(model)" in main
    assert "utils.freeze_3(model)" in main
    defined = {node.name for node in ast.walk(ast.parse(utils)) if isinstance(node, ast.FunctionDef)}
    used = set(re.findall(r"utils\.(\w+)\(", main)) | set(re.findall(r"keep_statistics\w*", utils))
    assert used - {"Images", "Split"} <= defined
    assert 'FROZEN_3 = ("block1.conv1", "block1.norm1")' in utils
    assert 'RATES = {"block1.conv1": 0.25' in utils.replace("{\n    ", "{")
