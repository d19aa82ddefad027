"""Every error of a recipe or brief has a location, an expectation in words and a fix."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from convsmith.briefs.schema import Brief
from convsmith.errors import ConvsmithError
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.system.validation import field_paths, problems_of, suggest_field

# Values that hardly any field accepts.
WRONG: list[Any] = [-7, 1e300, "no such value", [1, "x", 2], {"no such field": 1}]


def wrong_values(model: type[BaseModel]) -> list[tuple[str, Any]]:
    return [(path, value) for path in field_paths(model) for value in WRONG]


@pytest.mark.parametrize(("model", "table"), [(Recipe, load("cifar10-classic").table()), (Brief, {})])
def test_every_wrong_value_has_a_fix(model: type[BaseModel], table: dict[str, Any]) -> None:
    count = 0
    for path, value in wrong_values(model):
        *tables, last = path.split(".")
        changed = inner = dict(table)
        for name in tables:
            inner[name] = dict(inner[name]) if isinstance(inner.get(name), dict) else {}
            inner = inner[name]
        inner[last] = value
        try:
            model.model_validate(changed)
        except ValidationError as error:
            for problem in problems_of(error, model):
                count += 1
                assert problem.fix or "expected" not in problem.what, (path, value, problem)
                assert "Input should" not in problem.what
                assert "[" not in problem.where, problem.where
                assert problem.what[0].islower() or problem.what[0].isupper()
    assert count > len(field_paths(model))


def test_a_field_of_another_table_is_found() -> None:
    for path in field_paths(Recipe):
        name = path.split(".")[-1]
        if "." in path and name not in Recipe.model_fields:
            fix = suggest_field(name, Recipe, sorted(Recipe.model_fields))
            assert fix.startswith("did you mean"), path
            # The suggestion exists, and ends in the same name.
            assert fix.split("'")[1] in field_paths(Recipe)
            assert fix.split("'")[1].split(".")[-1] == name


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("[data]\nsource = 'digits'\n[model]\nnet = 'C4 / G F10'\n", "missing table", "[train] with epochs"),
        ("[data]\nsource = 'digits'\n[train]\nepochs = 3\n", "missing table", "[model] with net"),
        ("[data\nsource = 3", "not valid TOML", "a table is [name]"),
        ("extends = 'a.toml'", "a.toml -> a.toml: the recipe extends itself", "remove `extends` from a.toml"),
        ("extends = 'b.toml'", "a.toml -> b.toml -> a.toml", "remove `extends` from b.toml"),
    ],
)
def test_mistakes_in_a_file(
    text: str, what: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    (tmp_path / "b.toml").write_text("extends = 'a.toml'", encoding="utf-8")
    with pytest.raises(ConvsmithError) as caught:
        load("a.toml")
    assert what in str(caught.value)
    assert fix in str(caught.value)
