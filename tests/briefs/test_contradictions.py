"""A brief that contradicts itself is an error when it is loaded, and names both fields."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from convsmith.briefs.loader import brief_names, load_brief
from convsmith.briefs.schema import Brief
from convsmith.errors import RecipeError
from convsmith.recipes.loader import from_table

CONTRADICTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"min_parameters": 9, "max_parameters": 8}, "min_parameters = 9", "max_parameters = 8"),
    ({"require": ["max-pooling"], "forbid": ["max-pooling"]}, "require max-pooling", "forbid max-pooling"),
    (
        {"require": [["max-pooling", "strided"]], "forbid": ["strided", "max-pooling"]},
        "require max-pooling or strided",
        "forbid max-pooling, strided",
    ),
    (
        {"require": [{"kind": "dropout", "count": [3, 9]}, {"kind": "dropout", "count": 2}]},
        "require dropout, 3 to 9 layers,",
        "require dropout, 2 layers,",
    ),
    ({"norm": "group", "require": ["batch-norm"]}, 'norm = "group"', "require batch-norm"),
    ({"norm": "group", "forbid": ["group-norm"]}, 'norm = "group"', "forbid group-norm"),
    ({"dropout": 0.1, "forbid": ["dropout"]}, "dropout = 0.1", "forbid dropout"),
    ({"dropout": [0.05, 0.1], "forbid": ["dropout"]}, "dropout = 0.05 to 0.1", "forbid dropout"),
    ({"dropout": 0, "require": ["dropout"]}, "dropout = 0", "require dropout"),
    ({"skeleton": "C P G F", "forbid": ["max-pooling"]}, 'skeleton = "C P G F"', "forbid max-pooling"),
    ({"skeleton": "C c2 GAP F", "forbid": ["pointwise"]}, 'skeleton = "C c2 GAP F"', "forbid pointwise"),
    (
        {"skeleton": "C P P F", "require": [{"kind": "max-pooling", "count": 1}]},
        'skeleton = "C P P F"',
        "require max-pooling, 1 layer,",
    ),
    ({"each_of_last": 4}, "each_of_last = 4", "min_accuracy"),
    ({"each_of_last": 4, "min_accuracy": 0.9, "epochs": 3}, "each_of_last = 4", "epochs = 3"),
    ({"train_accuracy": {"epoch": 16, "min": 0.9}, "epochs": [1, 15]}, "epoch 16", "epochs = 1 to 15"),
    (
        {"steps": 2, "variants": {n: {"norm": n} for n in ("batch", "group", "layer")}},
        "steps = 2",
        "variants",
    ),
    ({"goal": "last", "variants": {"a": {"norm": "group"}}}, 'goal = "last"', "variants"),
    (
        {"max_parameters": 8, "variants": {"a": {"min_parameters": 9}}},
        "variant a: min_parameters = 9",
        "max_parameters = 8",
    ),
]


@pytest.mark.parametrize(
    ("table", "first", "second"), CONTRADICTIONS, ids=[f"{t}"[:60] for t, *_ in CONTRADICTIONS]
)
def test_both_fields_are_named(table: dict[str, Any], first: str, second: str, tmp_path: Path) -> None:
    path = tmp_path / "brief.toml"
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_brief(str(path))
    (problem,) = caught.value.problems
    assert first in problem.what
    assert second in problem.what
    assert "contradict each other" in problem.what
    # In a recipe too.
    recipe = {
        "name": "a",
        "data": {"source": "digits"},
        "model": {"net": "C4 / G F10"},
        "train": {"epochs": 9},
    }
    with pytest.raises(RecipeError, match="contradict each other"):
        from_table({**recipe, "brief": table})


@pytest.mark.parametrize(
    "table",
    [
        {"min_parameters": 8, "max_parameters": 8},
        {"require": [["max-pooling", "strided"]], "forbid": ["max-pooling"]},
        {"require": [{"kind": "dropout", "count": [0, 2]}], "forbid": ["dropout"]},
        {"require": [{"kind": "dropout", "count": [3, 9]}, {"kind": "dropout", "count": [9, 12]}]},
        {"norm": "group", "require": ["group-norm"], "forbid": ["batch-norm"]},
        {"dropout": [0, 0.1], "forbid": ["dropout"]},
        {"skeleton": "C P G F", "require": ["max-pooling", "fully-connected"]},
        {"each_of_last": 4, "min_accuracy": 0.9, "epochs": [1, 4]},
        {"train_accuracy": {"epoch": 15, "min": 0.9}, "epochs": [1, 15]},
        # A variant may lift a field of the brief.
        {"max_parameters": 8, "variants": {"a": {"min_parameters": 9, "max_parameters": False}}},
        {"each_of_last": 2, "variants": {"a": {"min_accuracy": 0.9}}},
    ],
    ids=str,
)
def test_briefs_that_can_be_met(table: dict[str, Any]) -> None:
    Brief.model_validate(table)


def test_no_brief_of_the_library_contradicts_itself() -> None:
    for name in brief_names():
        load_brief(name)
