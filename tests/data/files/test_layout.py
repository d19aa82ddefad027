"""Layouts of image folders: splits under any name and depth; what is no class is never one."""

from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from convsmith.data.config import SplitNames
from convsmith.data.raw import RawData
from convsmith.errors import DataError
from helpers.sources import classes, read_image_folder, tree

PAIRS = [
    ("train", "test"), ("Training", "Testing"), ("TRAIN", "TEST"), ("training_set", "test_set"),
    ("seg_train", "seg_test"), ("trainset", "testset"), ("train2017", "test2017"), ("Train Set", "Test Set"),
    ("asl_alphabet_train", "asl_alphabet_test"), ("train-images", "eval"), ("2020_train", "2020_testing"),
]  # fmt: skip
VALIDATION = ["val", "valid", "validation", "dev", "Val", "validation_set", "val2017"]
WRAPPERS = ["", "data", "archive/data", "flowers/v1/images", "train_and_test", "Training data", "dataset (1)"]
ASIDE = ["seg_pred", "unlabelled", "unlabeled", "unsupervised", "extra", "train_augmented", "holdout", "pred"]
ASIDE += ["submission", "misc", "trainval"]
JUNK = [
    "__MACOSX/cat/._0.png",
    ".DS_Store/x.png",
    ".ipynb_checkpoints/0-checkpoint.png",
    "__MACOSX/train/cat/0.png",
]


def counts(raw: RawData) -> dict[str, int]:
    return {name: len(split.labels) for name, split in raw.splits.items()}


def check(raw: RawData, train: int, test: int | None) -> None:
    assert raw.class_names == ("cat", "dog")
    assert counts(raw) == {"train": train, **({} if test is None else {"test": test})}
    for split in raw.splits.values():
        assert [
            raw.class_names[label] in Path(place).parts
            for label, place in zip(split.labels, split.locations, strict=True)
        ]


def refused(root: Path, named: SplitNames | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_image_folder(root, named)
    assert "fix: " in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("pair", "wrapper"), list(product(PAIRS, WRAPPERS)))
def test_splits_under_any_name_and_depth(pair: tuple[str, str], wrapper: str, tmp_path: Path) -> None:
    train, test = (f"{wrapper}/{name}".strip("/") for name in pair)
    raw = read_image_folder(tree(tmp_path, *classes(train, images=3), *classes(test), *JUNK, "README.txt"))
    check(raw, 6, 4)
    usual = pair == ("train", "test") and not wrapper
    assert (raw.notes == ()) == usual
    assert usual or f"train from {train}/" in raw.notes[0]
    assert set(raw.layout().left_out) == {"hidden", "metadata of the system", "not an image: suffix .txt"}


@pytest.mark.parametrize("name", VALIDATION)
def test_a_validation_split_is_the_test_set_only_without_another(name: str, tmp_path: Path) -> None:
    raw = read_image_folder(tree(tmp_path / "two", *classes("train"), *classes(name)))
    check(raw, 4, 4)
    assert raw.test_is_validation
    assert any("no test split" in note and name in note for note in raw.notes)
    raw = read_image_folder(
        tree(tmp_path / "three", *classes("train"), *classes("test", images=1), *classes(name))
    )
    check(raw, 4, 2)
    assert not raw.test_is_validation
    unused = 'a validation split beside a test split is not used (data.validation="split" uses it)'
    assert raw.layout().left_out == {f"in {name}/: {unused}": 4}


@pytest.mark.parametrize(("name", "is_flat"), list(product(ASIDE, [False, True])))
def test_a_folder_beside_the_splits_is_left_out_and_counted(name: str, is_flat: bool, tmp_path: Path) -> None:
    inside = [f"{name}/{number}.png" for number in range(5)] if is_flat else classes(name, images=3)
    raw = read_image_folder(tree(tmp_path, *classes("train"), *classes("test"), *inside))
    check(raw, 4, 4)
    ((reason, count),) = raw.layout().left_out.items()
    assert f"in {name}/" in reason
    assert count == len(inside)


@pytest.mark.parametrize("name", [*ASIDE[:-2], "train", "valid", "val", "images", "Images", "train_set"])
def test_what_looks_like_a_split_is_no_class(name: str, tmp_path: Path) -> None:
    root = tree(tmp_path, *classes(""), f"{name}/0.png")
    message = refused(root)
    assert name in message
    assert 'data.splits.train="."' in message
    raw = read_image_folder(root, SplitNames(train="."))
    assert set(raw.class_names) == {"cat", "dog", name}


@pytest.mark.parametrize("name", ["2019", "misc", "steam train", "cats"])
def test_what_holds_only_folders_is_no_class(name: str, tmp_path: Path) -> None:
    message = refused(tree(tmp_path, *classes(""), f"{name}/a/0.png", f"{name}/b/0.png"))
    assert f"{name} hold only folders (a, b), so no class" in message
    assert f'data.splits.train="{name}"; or, if all are classes: data.splits.train="."' in message


@pytest.mark.parametrize("wrapper", ["", "data/photos"])
@pytest.mark.parametrize("pair", [("train", "test"), ("Training", "Testing"), ("TRAIN", "dev")])
def test_splits_inside_the_class_folders(pair: tuple[str, str], wrapper: str, tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        *(
            path
            for name in ("cat", "dog")
            for part, images in zip(pair, (3, 2), strict=True)
            for path in classes(f"{wrapper}/{name}".strip("/"), (part,), images)
        ),
        f"{wrapper}/cat/extra/0.png".strip("/"),
    )
    raw = read_image_folder(root)
    check(raw, 6, 4)
    assert raw.test_is_validation == (pair[1] == "dev")
    assert f"train from <class>/{pair[0]}/, test from <class>/{pair[1]}/" in raw.notes[0]
    assert raw.description.endswith(f"each with the splits {pair[0]}/ and {pair[1]}/")
    assert raw.layout().left_out == {"in <class>/extra/: aside": 1}
    assert raw.splits["test"].class_folder("cat") == f"{wrapper}/cat/{pair[1]}".lstrip("/")


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        ("dog/test/0.png", None),
        ("cat/0.png", "hold only folders"),
        ("cat/Train/9.png", "found 2 train splits in the class folders: Train (1 images), train (6 images)"),
        ("cat/tabby/0.png", "put the same splits into every class"),
    ],
)
def test_splits_of_some_classes_only(extra: str, what: str | None, tmp_path: Path) -> None:
    root = tree(
        tmp_path, *classes("cat", ("train", "test")), *classes("dog", ("train",)), *classes("emu", ("train",))
    )
    (root / extra).parent.mkdir(exist_ok=True)
    Image.new("L", (4, 4), 200).save(root / extra)
    if what:
        assert what in refused(root)
    else:
        raw = read_image_folder(root)
        assert counts(raw) == {"train": 6, "test": 3}
        assert raw.class_names == ("cat", "dog", "emu")


def test_splits_in_folds(tmp_path: Path) -> None:
    inside = tree(tmp_path / "c", *classes("data/train"), *classes("data/test"), "sample/0.png")
    assert 'data.splits.train="data/train" data.splits.test="data/test"' in refused(inside)
    folds = tree(
        tmp_path / "b",
        *(path for fold in "12" for part in ("train", "test") for path in classes(f"fold{fold}/{part}")),
    )
    assert 'data.splits.train="fold1/train"' in refused(folds)
    check(read_image_folder(folds, SplitNames(train="fold1/train", test="fold2/test")), 4, 4)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "Train"),
        ("train", "training"),
        ("val", "validation"),
        ("test", "Testing"),
        ("train", "train copy"),
    ],
)
def test_two_splits_of_one_role_are_ambiguous(names: tuple[str, str], tmp_path: Path) -> None:
    others = classes("train") if "train" not in names else classes("test")
    root = tree(tmp_path, *others, *classes(names[0]), *classes(names[1], images=3))
    message = refused(root)
    assert all(name in message for name in names)
    assert "4 images" in message
    assert "6 images" in message
    raw = read_image_folder(root, SplitNames(train=names[1]))
    check(raw, 6, None)
    assert raw.layout().left_out == {"not named in data.splits": 8}


def test_a_flat_test_folder_is_left_out(tmp_path: Path) -> None:
    raw = read_image_folder(tree(tmp_path, *classes("train"), "test/0.png", "test/1.png"))
    check(raw, 4, None)
    assert raw.layout().left_out == {"in test/: its images are in no class folders": 2}


def test_a_split_inside_a_folder_of_its_name(tmp_path: Path) -> None:
    root = tree(
        tmp_path, *classes("seg_train/seg_train"), *classes("seg_test/seg_test"), "seg_pred/seg_pred/0.png"
    )
    raw = read_image_folder(root)
    check(raw, 4, 4)
    assert raw.splits["train"].class_folder("cat") == "seg_train/seg_train/cat"


@pytest.mark.parametrize("folder", ["images", "data", "train", "img"])
def test_images_with_a_table_of_labels(folder: str, tmp_path: Path) -> None:
    message = refused(tree(tmp_path, f"{folder}/0.png", f"{folder}/1.png", "labels.csv"))
    assert folder in message
    assert "labels.csv" in message
    assert "no table names these images" in message
    flat = tree(tmp_path / "flat", "0.png", "1.png", "labels.csv")
    assert "labels.csv" in refused(flat)


@pytest.mark.parametrize("name", ["Test", "test_set", "testing images"])
def test_a_flat_test_folder_beside_the_classes_is_left_out(name: str, tmp_path: Path) -> None:
    root = tree(tmp_path, *classes(""), f"{name}/0.png")
    raw = read_image_folder(root)
    check(raw, 4, None)
    assert raw.layout().left_out == {f"in {name}/: its images are in no class folders": 1}
    assert raw.notes == (f"{name}/ is not read: 1 image without a class; `convsmith predict` takes it",)
    assert set(read_image_folder(root, SplitNames(train=".")).class_names) == {"cat", "dog", name}
    # One class beside it, or a table that may have the classes, is a question.
    assert name in refused(tree(tmp_path / "one", "cat/0.png", f"{name}/0.png"))
    assert name in refused(tree(tmp_path / "table", *classes(""), f"{name}/0.png", "labels.csv"))


@pytest.mark.parametrize(
    "names",
    [
        ("cat_train", "cat_test", "dog_train", "dog_test"),
        ("catImages", "catTest", "dogImages", "dogTest"),
        ("train cat", "test cat", "train dog", "test dog"),
        ("cat", "cat-testing", "dog", "dog-testing"),
        ("cat_train_set", "cat_test_set", "dog_train_set", "dog_test_set"),
    ],
)
def test_splits_in_the_names_of_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    root = tree(tmp_path, *classes("a/b", names))
    raw = read_image_folder(root)
    assert raw.class_names == ("cat", "dog")
    assert counts(raw) == {"train": 4, "test": 4}
    for split in raw.splits.values():
        for label, place in zip(split.labels, split.locations, strict=True):
            assert raw.class_names[label] in place
    assert not {*raw.splits["train"].locations} & {*raw.splits["test"].locations}
    assert raw.splits["test"].class_folder("dog") == f"a/b/{names[3]}"
    assert (
        raw.description
        == f"class folders in a/b/, whose names have the splits, such as {names[0]}/ and {names[1]}/"
    )
    assert 'data.splits.train="a/b" makes all of these folders classes' in raw.notes[1]
    assert set(read_image_folder(root, SplitNames(train="a/b")).class_names) == set(names)


def test_a_validation_split_in_the_names_of_classes(tmp_path: Path) -> None:
    names = [f"{name}_{split}" for name in ("cat", "dog") for split in ("train", "val", "test")]
    root = tree(tmp_path, *classes("", tuple(names)))
    raw = read_image_folder(root)
    assert counts(raw) == {"train": 4, "test": 4}
    assert sum(raw.layout().left_out.values()) == 4
    assert counts(read_image_folder(root, own_validation=True)) == {"train": 4, "validation": 4, "test": 4}


@pytest.mark.parametrize(
    "names",
    [
        ("cat_train", "cat_test", "dog_train"),
        ("cat_train", "cat_test", "dog_train", "fox_test"),
        ("cat_train", "cat_test", "dog"),
    ],
)
def test_splits_in_the_names_of_some_classes_are_a_question(names: tuple[str, ...], tmp_path: Path) -> None:
    assert "are those of classes and of splits" in refused(tree(tmp_path, *classes("", names)))
    assert set(read_image_folder(tmp_path, SplitNames(train=".")).class_names) == set(names)


def test_vehicles_and_tubes_are_classes(tmp_path: Path) -> None:
    raw = read_image_folder(tree(tmp_path / "two", *classes("", ("steam train", "bus"))))
    assert raw.class_names == ("bus", "steam train")


@pytest.mark.parametrize(
    "inner",
    ["test/test", "test/images", "test/unlabelled", "asl_test/asl_test", "val/images", "test/test/images"],
)
def test_a_test_split_without_classes(inner: str, tmp_path: Path) -> None:
    raw = read_image_folder(tree(tmp_path, *classes("train"), f"{inner}/0.png", f"{inner}/1.png"))
    check(raw, 4, None)
    folder = inner.partition("/")[0]
    assert raw.layout().left_out == {f"in {folder}/: its images are in no class folders": 2}


@pytest.mark.parametrize(
    ("paths", "fix"),
    [
        (
            [
                "test/test/0.png",
                *classes("photos (augmented)/x/train"),
                *classes("photos (augmented)/x/valid"),
            ],
            'data.splits.train="photos (augmented)/x/train" data.splits.test="photos (augmented)/x/valid"',
        ),
        (
            [*classes("rps/rps"), *classes("rps-test/all")],
            'data.splits.train="rps/rps" data.splits.test="rps-test/all"',
        ),
        (["a_test/a_test/0.png", *classes("b/b"), *classes("b")], 'example data.splits.train="b"; or'),
        ([*classes("test"), *classes("valid")], "add a training set"),
        (
            [*classes("train/cat", ("images",)), *classes("train/dog", ("images",)), *classes("test")],
            'fix: if all are classes: data.splits.train="train" data.splits.test="test"',
        ),
        (
            [*classes("train"), *classes("test/cat", ("images",)), *classes("test/dog", ("images",))],
            'fix: if all are classes: data.splits.train="train" data.splits.test="test"',
        ),
        (
            [*classes("train", ("cat", "dog", "dev")), *classes("test")],
            'if all are classes: data.splits.train="train" data.splits.test="test"',
        ),
        ([*classes("train"), *classes("test"), "test/pred/0.png"], 'alone: data.splits.train="train"'),
    ],
)
def test_no_fix_takes_a_test_set_for_training(paths: list[str], fix: str, tmp_path: Path) -> None:
    message = refused(tree(tmp_path, *paths))
    assert fix in message
    assert 'data.splits.train="test' not in message


def test_a_test_split_may_have_one_class(tmp_path: Path) -> None:
    check(read_image_folder(tree(tmp_path, *classes("train"), *classes("test", ("cat",)))), 4, 2)


def test_one_class_is_refused(tmp_path: Path) -> None:
    assert "found one class, 'cat'" in refused(tree(tmp_path, *classes("", ("cat",))))


def test_named_splits_are_checked(tmp_path: Path) -> None:
    root = tree(tmp_path, *classes("a/b"), *classes("c"))
    for name in ("b", "../x", "/", "d"):
        assert "relative to the source; it has a, c" in refused(root, SplitNames(train=name))
    assert "no class folders" in refused(root, SplitNames(train="c/cat"))
    for train, test in (("c", "c"), ("a", "a/b"), ("./a/b/", "a"), (".", "c"), ("c", ".")):
        assert "share images" in refused(root, SplitNames(train=train, test=test))
    check(read_image_folder(root, SplitNames(train="a/b", test="c")), 4, 4)
