"""The validation split of a source, used as such."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.data.checks.verify import verify
from convsmith.data.dataset import load, load_training_data
from convsmith.data.hub.parquet import choose_files
from convsmith.errors import ConvsmithError, RecipeError
from data.arrays.test_idx import LABELS, PIXELS, write
from helpers.projects import imported, lint
from helpers.sources import classes, config, png, problems, tree

# The folder or file of each split, as found in the wild.
NAMES = ["val", "Valid", "validation", "dev"]
TINY = ("model.net=C4 / G F2", "train.epochs=1", "augment.transforms=[]", "train.batch_size=8")


def greys(split: object) -> list[tuple[int, int]]:
    """Return the first pixel and the label of each image, sorted."""
    pixels = np.asarray(split.images)[:, 0, 0, 0].tolist()  # type: ignore[attr-defined]
    return sorted(zip(pixels, split.labels.tolist(), strict=True))  # type: ignore[attr-defined]


def folder(root: Path, validation: str = "val", *, test: bool = True) -> Path:
    """Write 8 training, 4 validation and 6 test images, each of another grey."""
    parts = [*classes("train", images=4), *classes(validation, images=2)]
    return tree(root, *parts, *(classes("test", images=3) if test else []))


def parquet(root: Path) -> Path:
    """Write the same as `folder`."""
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    first = 0
    for name, count in (("train", 8), ("validation", 4), ("test", 6)):
        labels = [int(index >= count // 2) for index in range(count)]
        rows = {"image": [png(first + index, (4, 4)) for index in range(count)], "label": labels}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(str(root / f"{name}-00000-of-00001.parquet"))
        first += count
    return root


EXPECTED = {
    "train": [(grey, int(grey >= 4)) for grey in range(8)],
    "validation": [(grey, int(grey >= 10)) for grey in range(8, 12)],
    "test": [(grey, int(grey >= 15)) for grey in range(12, 18)],
}


@pytest.mark.parametrize("name", NAMES)
def test_folders(name: str, tmp_path: Path) -> None:
    root = folder(tmp_path, name)
    data = load(config(root, validation="split"))
    assert {split: greys(each) for split, each in data.splits.items()} == EXPECTED
    assert not data.validation_is_split_off
    assert f"validation from {name}/" in data.layout.notes[0]
    assert data.layout.left_out == {}
    assert greys(load_training_data(config(root, validation="split")).validation) == EXPECTED["validation"]
    # Without the setting it is not read, as before; a share is held out of the training set.
    other = load(config(root, validation=0.5))
    assert greys(other.train) + greys(other.validation) != EXPECTED["train"]
    assert sorted(greys(other.train) + greys(other.validation)) == EXPECTED["train"]
    assert f"in {name}/: a validation split beside a test split" in next(iter(other.layout.left_out))


def test_parquet_files_and_idx_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    data = load(config(parquet(tmp_path / "a"), validation="split"))
    assert {split: greys(each) for split, each in data.splits.items()} == EXPECTED
    for name, part in (
        ("train", slice(10)),
        ("val", slice(10, 14)),
        ("t10k", slice(14, 20)),
    ):
        write(tmp_path / "b", f"{name}-images-idx3-ubyte", PIXELS[part], LABELS[part])
    data = load(config(tmp_path / "b", validation="split"))
    assert {name: len(each) for name, each in data.splits.items()} == {
        "train": 10,
        "validation": 4,
        "test": 6,
    }
    expected = {image.tobytes() for image in PIXELS[10:14]}
    assert data.validation is not None
    assert {image.tobytes() for image in np.asarray(data.validation.images)} == expected


def test_without_a_test_set_one_is_split_off(tmp_path: Path) -> None:
    root = folder(tmp_path, test=False)
    data = load(config(root, validation="split", test_fraction=0.25))
    assert data.test_is_split_off
    assert greys(data.validation) == EXPECTED["validation"]
    assert sorted(greys(data.train) + greys(data.test)) == EXPECTED["train"]
    assert not data.layout.test_is_validation
    # By default it serves as test set.
    assert greys(load(config(root)).test) == EXPECTED["validation"]


def test_named_splits(tmp_path: Path) -> None:
    root = tree(tmp_path, *classes("a", images=4), *classes("b", images=2), *classes("c", images=3))
    names = {"train": "a", "validation": "b", "test": "c"}
    data = load(config(root, validation="split", splits=names))
    assert {split: greys(each) for split, each in data.splits.items()} == EXPECTED
    same = problems(root, validation="split", splits={**names, "validation": "a"})
    assert "the training set 'a' and the validation set 'a' share images" in same
    assert 'omit data.splits.validation, without data.validation="split"' in same
    assert "found no images in 'd'" in problems(root, validation="split", splits={**names, "validation": "d"})
    chosen = choose_files(
        ["x-0.parquet", "y-0.parquet"],
        config(root, validation="split", splits={"train": "x", "validation": "y"}).splits,
        "set",
    )
    assert chosen.files == {"train": ["x-0.parquet"], "validation": ["y-0.parquet"]}


def test_settings_that_contradict_each_other_are_refused() -> None:
    def message(*overrides: str) -> str:
        with pytest.raises(RecipeError) as caught:
            cs.load_recipe("digits", "data.source=pets", *overrides)
        return str(caught.value)

    named = ("data.splits.train=a", "data.splits.validation=b")
    assert 'write data.validation="split"' in message(*named)
    assert "data.validation=0.1 does not use it" in message(*named, "data.validation=0.1")
    assert 'write data.splits.validation="NAME"' in message("data.splits.train=a", "data.validation=split")
    wrong = message("data.validation=val")
    assert "found 'val', expected a number or 'split'" in wrong
    assert "0.7" in message("data.validation=0.7")


def test_a_source_without_a_validation_split_is_refused(tmp_path: Path) -> None:
    flat = tree(tmp_path / "a", *classes(""))
    text = problems(flat, validation="split")
    assert 'data.validation="split" needs a validation split, found class folders without splits' in text
    assert "data.validation=0.1" in text
    two = tree(tmp_path / "b", *classes("train"), *classes("test"))
    assert "needs a validation split, found test, train" in problems(two, validation="split")
    assert "found one set of images" in problems("digits", validation="split")
    several = tree(tmp_path / "c", *classes("train"), *classes("val"), *classes("dev"), *classes("test"))
    text = problems(several, validation="split")
    assert "found 2 validation splits" in text
    assert 'data.splits.validation="dev"' in text


def test_classes_that_differ_are_refused(tmp_path: Path) -> None:
    more = tree(tmp_path / "a", *classes("train"), *classes("val", ("cat", "dog", "eel")))
    assert "no training images of 'eel'" in problems(more, validation="split")
    case = tree(tmp_path / "b", *classes("train"), *classes("val", ("Cat", "dog")))
    assert "'Cat' in the validation set" in problems(case, validation="split")
    fewer = tree(tmp_path / "c", *classes("train"), *classes("val", ("cat",)), *classes("test"))
    issues = verify(config(fewer, validation="split")).issues
    assert [(issue.file, issue.reason) for issue in issues if "validation" in issue.reason] == [
        ("val/dog", "no usable validation images: cannot be scored")
    ]
    assert len(load(config(fewer, validation="split")).splits["validation"]) == 2


def test_equal_images_in_two_splits_are_counted_and_listed(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    for name, grey in (("train", 50), ("val", 50), ("test", 60), ("val", 60)):
        Image.new("L", (4, 4), grey).save(root / name / "cat" / f"copy{grey}.png")
    settings = config(root, validation="split")
    data = load(settings)
    assert (data.leaked_validation, data.leaked) == (1, 1)
    across = {issue.file for issue in verify(settings).issues if issue.kind == "across splits"}
    assert across == {"val/cat/copy50.png", "test/cat/copy60.png"}
    # Groups by name, of all three splits.
    grouped = config(root, validation="split", group=r"(copy\d+|\d)")
    data = load(grouped)
    assert (data.leaked_validation, data.leaked) == (5, 5 + 2)
    kinds = [issue.file for issue in verify(grouped).issues if issue.kind == "group across splits"]
    assert len(kinds) == 5 + 7


@pytest.mark.parametrize("kind", ["images", "parquet"])
def test_a_run_from_training_to_the_ejected_project(kind: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    root = folder(root) if kind == "images" else parquet(root)
    recipe = cs.load_recipe("digits", f"data.source={root}", "data.validation=split", *TINY)
    assert recipe.data.own_validation
    result = cs.train(recipe, runs=tmp_path / "runs")
    run = result.folder
    record = json.loads((run / "data.json").read_text())
    assert (record["validation_split"], record["leaked_validation"]) == ("the source's own", 0)
    assert {name: each["images"] for name, each in record["splits"].items()} == {
        "train": 8,
        "validation": 4,
        "test": 6,
    }
    assert "4 validation, 6 test images" in (run / "log.txt").read_text()
    assert 'validation = "split"' in (run / "recipe.toml").read_text()
    assert cs.resume(run, epochs=2).test.total == 6
    assert cs.evaluate(run).test.total == 6
    project = tmp_path / "project"
    cs.eject(run, project, execute=False)
    lint(project)
    assert "The validation set is that of the data set." in (project / "README.md").read_text()
    with imported(project, "utils.utils") as (utils,):
        splits = utils.load_images(str(root))
    found = {name: zip(x[:, 0, 0, 0].tolist(), y.tolist(), strict=True) for name, (x, y) in splits.items()}
    assert {name: sorted(pairs) for name, pairs in found.items()} == EXPECTED


def test_a_changed_validation_split_is_noticed(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    recipe = cs.load_recipe("digits", f"data.source={root}", "data.validation=split", *TINY)
    run = cs.train(recipe, runs=tmp_path / "runs").folder
    (root / "val" / "cat" / "0.png").unlink()
    with pytest.raises(ConvsmithError, match="the data set is not the one of this run"):
        cs.evaluate(run)
    with pytest.raises(ConvsmithError, match=r"data\.fingerprint\.validation: was"):
        cs.resume(run, epochs=2)


def test_splits_inside_class_folders(tmp_path: Path) -> None:
    inner = [
        path
        for name in ("cat", "dog")
        for split, count in (("train", 4), ("val", 2), ("test", 3))
        for path in classes(name, (split,), images=count)
    ]
    data = load(config(tree(tmp_path, *inner), validation="split"))
    assert {name: len(each) for name, each in data.splits.items()} == {"train": 8, "validation": 4, "test": 6}
    assert "validation from <class>/val/" in data.layout.notes[0]
