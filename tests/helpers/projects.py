"""The recipes that projects are ejected from, and the checks of their code."""

import ast
import subprocess
import sys
from pathlib import Path

from convsmith.recipes.loader import recipe_names

# The recipes of the sprint differ in numbers only.
RECIPES = tuple(name for name in recipe_names() if not name.startswith("cifar10-sprint-"))


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
