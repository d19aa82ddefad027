"""The code of a project: formatted, linted, and free of convsmith."""

import ast
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from convsmith.exporters.project.code import Storage
from convsmith.recipes.loader import from_table, load
from helpers.projects import RECIPES, VARIANTS, imported, lint, written

STORAGES = {
    "digits": Storage(kind="digits"),
    "hub": Storage(kind="hub", default="owner/name"),
    "parquet": Storage(
        kind="parquet", default="data", columns=('a"b', "label"), train_files=("a.parquet", 'b".parquet')
    ),
    "images": Storage(kind="images", default="data"),
}


@pytest.mark.parametrize("name", [*RECIPES, *VARIANTS])
def test_the_code_is_formatted_and_linted(name: str, tmp_path: Path) -> None:
    recipe = load(name) if name in RECIPES else load("digits", VARIANTS[name])
    storage = STORAGES["digits" if recipe.data.source == "digits" else "hub"]
    own_test = recipe.data.source != "digits"
    written(recipe, storage, tmp_path, list("0123456789"), own_test=own_test)
    lint(tmp_path)


@pytest.mark.parametrize("resize", ["", "data.resize=12"])
@pytest.mark.parametrize("storage", ["hub", "parquet", "images"])
@pytest.mark.parametrize("name", ["digits", "cifar10-rmsprop"])
def test_the_code_of_every_storage_is_linted(name: str, storage: str, resize: str, tmp_path: Path) -> None:
    recipe = load(name, [resize] if resize else [])
    names = ["a", 'b"c\\', "line\nend", "naïve '\"both\"'", *(f"class {n}" for n in range(6))]
    written(recipe, STORAGES[storage], tmp_path, names, own_test=storage in {"hub", "images"})
    lint(tmp_path)
    scope: dict[str, Any] = {}
    text = (tmp_path / "utils" / "utils.py").read_text(encoding="utf-8")
    first = next(node for node in ast.parse(text).body if isinstance(node, ast.Assign))
    exec(ast.unparse(first), scope)  # noqa: S102 - the constant of class names
    assert list(scope["CLASSES"]) == names


@pytest.mark.parametrize("storage", STORAGES)
def test_the_code_of_weights_that_were_trained_elsewhere(storage: str, tmp_path: Path) -> None:
    table = load("digits", ["model.init=orthogonal", "data.validation=0.2"]).table()
    del table["augment"]
    recipe = from_table({**table, "train": {"epochs": 0}})
    own_test = storage in {"hub", "images"}
    written(recipe, STORAGES[storage], tmp_path, list("abcdefghij"), own_test=own_test)
    lint(tmp_path)
    assert not (tmp_path / "utils" / "optim.py").exists()
    assert not (tmp_path / "model" / "weights.py").exists()


def test_a_validation_split_of_the_hub_is_read_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load("digits", ["data.source=owner/name", "data.validation=split"])
    storage = Storage(
        kind="hub", default="owner/name", columns=("img", "label"), validation_name="valid", test_name="held"
    )
    written(recipe, storage, tmp_path, list("0123456789"), own_test=True)
    lint(tmp_path)
    counts, asked = {"train": 4, "valid": 3, "held": 2}, []
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})

    def load_dataset(name: str, split: str) -> datasets.Dataset:
        asked.append((name, split))
        pictures = [Image.new("L", (8, 8), counts[split])] * counts[split]
        columns = {"img": pictures, "label": list(range(counts[split]))}
        return datasets.Dataset.from_dict(columns, features=features)

    with imported(tmp_path, "utils.utils") as (utils,):
        monkeypatch.setattr(utils, "load_dataset", load_dataset)
        splits = utils.load_images("owner/name")
    assert asked == [("owner/name", name) for name in ("train", "held", "valid")]
    levels = {
        name: (len(images), int(images.max()), images.shape[1:]) for name, (images, _) in splits.items()
    }
    assert levels == {
        "train": (4, 4, (8, 8, 1)), "validation": (3, 3, (8, 8, 1)), "test": (2, 2, (8, 8, 1)),
    }  # fmt: skip


def test_many_class_names_are_stored_in_a_separate_file(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(60)]
    written(load("digits"), STORAGES["images"], tmp_path, names, own_test=True)
    lint(tmp_path)
    assert 'with_name("classes.json")' in (tmp_path / "utils" / "utils.py").read_text(encoding="utf-8")
