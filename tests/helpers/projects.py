"""The recipes that projects are ejected from, and the checks of their code."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from convsmith.data.dataset import CANONICAL
from convsmith.exporters.project.code import Storage, python_files, template_context
from convsmith.exporters.project.net_code import Layout, notation_code
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.loader import load, recipe_names
from convsmith.recipes.schema import Recipe
from convsmith.runs.schema import DataRecord

# The recipes of the sprint differ in numbers only.
RECIPES = tuple(name for name in recipe_names() if not name.startswith("cifar10-sprint-"))


def without_convsmith(project: Path, *arguments: str) -> str:
    """Run main.py where convsmith cannot be imported; return what it prints."""
    code = "import runpy, sys; sys.modules['convsmith'] = None; sys.argv = sys.argv[1:]; sys.path[0] = '.'"
    program = f"{code}; runpy.run_path('main.py', run_name='__main__')"
    environment = {**os.environ, "MPLBACKEND": "agg"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", program, "main.py", *arguments],
        check=False, capture_output=True, text=True, env=environment, cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def lint(folder: Path) -> None:
    """Check that the code is formatted, free of lint, and does not mention convsmith."""
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


def written(
    recipe: Recipe,
    storage: Storage,
    folder: Path,
    classes: list[str],
    *,
    own_test: bool,
    layout: Layout = "package",
) -> None:
    """Write the code of a recipe without its data."""
    shape = CANONICAL[load(recipe.name).data.source].info.image_shape
    if recipe.data.resize:
        shape = (shape[0], recipe.data.resize, recipe.data.resize)
    analysis = analyze_notation(recipe.notation.net, shape, recipe.notation)
    net = notation_code(analysis, analysis.plan, ["Images are so and so."], layout)
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
    values = template_context(recipe, net, data, storage, layout)
    values["data_help"] = "a folder"
    for path, text in python_files(values, net).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
