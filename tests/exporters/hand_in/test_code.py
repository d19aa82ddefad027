"""The code that steps share: formatted, linted, and complete for each of them."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from convsmith.exporters.hand_in.code import shared_code
from convsmith.exporters.project.code import Storage
from convsmith.exporters.project.scopes import defined_names
from convsmith.recipes.loader import load
from helpers.projects import VARIANTS, code_and_data, lint

# The steps of a hand-in have one data set.
FIELDS = {
    name: [*(each for each in fields if not each.startswith("data.")), "data.validation=0.2"]
    for name, fields in VARIANTS.items()
}
NAMES = list(FIELDS)
GROUPS = [NAMES[first : first + 4] for first in range(0, len(NAMES), 4)]


@pytest.mark.parametrize("names", [*GROUPS, NAMES[:1], NAMES[2:3] * 2], ids=str)
def test_the_code_of_steps_that_differ(names: list[str], tmp_path: Path) -> None:
    recipes = [load("digits", FIELDS[name]) for name in names]
    nets = []
    for number, recipe in enumerate(recipes, start=1):
        code, data = code_and_data(recipe, list("0123456789"), own_test=False)
        name = f"Model_{number}"
        nets.append(replace(code, text="", module="model", name=name, call=f"{name}()", main="model.py"))
    files = shared_code(recipes, nets, data, Storage(kind="digits"), "a folder").files
    for path, text in {**files, "model.py": ""}.items():
        (tmp_path / path).write_text(text)
    lint(tmp_path)
    defined = {name for node in ast.parse(files["utils.py"]).body for name in defined_names([node])}
    used = {
        node.attr
        for node in ast.walk(ast.parse(files["main.py"]))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "utils"
    }
    assert used <= defined
    steps = ast.parse(
        files["main.py"].split("class Step:")[1].split("\n\n\n")[0].replace("\n    ", "\n").strip()
    )
    fields = {node.target.id for node in steps.body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
    of_step = {
        node.attr
        for node in ast.walk(ast.parse(files["main.py"]))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "step"
    }
    assert of_step <= fields
