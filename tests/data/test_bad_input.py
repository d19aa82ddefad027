"""Every kind of bad input in one place: what is wrong, where, what to write, and nothing half-done.

Variants of each kind are in the tests of its reader: `arrays/`, `hub/`, `files/`, and `tests/faults/`.
"""

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.data.checks.verify import verify
from convsmith.data.dataset import load
from convsmith.errors import ConvsmithError, DataError
from helpers.array_sets import write_cifar, write_idx
from helpers.faults import TINY
from helpers.packed import packed
from helpers.sources import classes, config, png, tree

X = np.random.default_rng(0).integers(0, 256, (24, 6, 5), dtype=np.uint8)
Y = np.arange(24) % 2


def npz(**arrays: object) -> Callable[[Path], None]:
    return lambda root: np.savez(root / "set.npz", **arrays)  # type: ignore[arg-type]


def table(root: Path, *rows: Sequence[object], name: str = "labels.csv") -> None:
    (root / name).write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


def labelled(label: Callable[[int], object], *, missing: int = 0) -> Callable[[Path], None]:
    """Return a writer of twelve images with a table of labels; the first files are missing."""

    def write(root: Path) -> None:
        tree(root, *(f"images/{number}.png" for number in range(missing, 12)))
        table(root, ("file", "label"), *((f"images/{number}.png", label(number)) for number in range(12)))

    return write


def two_label_columns(root: Path) -> None:
    tree(root, *(f"images/{number}.png" for number in range(12)))
    rows = [(f"images/{number}.png", "ab"[number % 2], "xyz"[number % 3]) for number in range(12)]
    table(root, ("file", "kind", "colour"), *rows)


def two_tables(root: Path) -> None:
    labelled(lambda number: "ab"[number % 2])(root)
    rows = [(f"images/{number}.png", "xyz"[number % 3]) for number in range(12)]
    table(root, ("file", "label"), *rows, name="other.csv")


def one_hot(root: Path) -> None:
    tree(root, *(f"images/{number}.png" for number in range(12)))
    rows = [(f"images/{number}.png", number % 2, 1 - number % 2) for number in range(12)]
    table(root, ("file", "nevus", "melanoma"), *rows)


def folders(*paths: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        tree(root, *paths)

    return write


def parquet(**columns: object) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        datasets.Dataset.from_dict(columns).to_parquet(str(root / "train.parquet"))

    return write


def cut_idx(root: Path) -> None:
    write_idx(root, suffix="")
    path = root / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])


def cut_cifar(root: Path) -> None:
    write_cifar(root)
    path = root / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-1])


def pickled_cifar(root: Path) -> None:
    (root / "data_batch_1").write_bytes(pickle.dumps({b"data": X}))


@dataclass(frozen=True)
class Case:
    """A data set with a mistake: how it is written, and the phrases of the answer, the fix last."""

    write: Callable[[Path], None]
    answer: tuple[str, ...]


PNGS = [png(number) for number in range(12)]
CASES = {
    "a table of two label columns": Case(
        two_label_columns,
        ("labels.csv: 2 columns could be the labels: kind (a, b), colour", 'data.label_column="kind"'),
    ),
    "two tables": Case(two_tables, ("several tables of images: labels.csv", 'data.table="labels.csv"')),
    "two columns of a parquet file": Case(
        parquet(image=PNGS, age=[1, 2] * 6, kind=[0, 1] * 6),
        ("2 columns could hold the labels", "data.label_column=age"),
    ),
    "two arrays of labels": Case(
        npz(x_train=X, y_train=Y, train_labels=Y),
        ("two arrays could hold the labels of 'train'", "data.label_column=train_labels"),
    ),
    "a training set without a class": Case(
        folders(*classes("train", ("cat", "dog"), 6), *classes("test", ("dog", "emu"), 2)),
        ("no training images of 'emu'", "fix: "),
    ),
    "arrays without a class": Case(
        npz(x_train=X, y_train=Y % 2, x_test=X, y_test=Y + 1),
        ("no training images of '2'", "fix: "),
    ),
    "files that a table names": Case(
        labelled(lambda number: "ab"[number % 2], missing=7),
        (
            f"no files for 7 rows of a table: {', '.join(f'images/{at}.png' for at in range(5))} and 2 more",
            "labels.csv, line 2",
            "data.skip_damaged=true",
        ),
    ),
    "labels with fractions": Case(
        labelled(lambda number: number / 8), ("fractions, such as 0.125 in line 3", "data.label_column=NAME")
    ),
    "negative labels": Case(
        labelled(lambda number: number % 3 - 1), ("label -1, expected 0 to 1", "data.skip_damaged=true")
    ),
    "one-hot columns": Case(one_hot, ("are one-hot", 'data.label_columns=["nevus", "melanoma"]')),
    "floats in a parquet file": Case(
        parquet(image=PNGS, label=[0.5, 1.0] * 6), ("row 0: bad label: label 0.5", "data.skip_damaged=true")
    ),
    "arrays of fractions": Case(
        npz(x_train=X, y_train=Y + 0.5),
        ("set.npz, y_train", "no whole numbers, the first is 0.5 in row 0", "fix: "),
    ),
    "negative labels in an array": Case(
        npz(x_train=X, y_train=Y - 1), ("found 12 negative labels of 24, the first is -1 in row 0", "fix: ")
    ),
    "labels of several classes": Case(
        npz(x_train=X, y_train=np.ones((24, 2), np.int64)), ("row 0 has 2", "multi-label")
    ),
    "pickled objects": Case(
        npz(x_train=np.array([object()] * 3, dtype=object), y_train=Y[:3]),
        ("x_train: the array has Python objects, which are pickled", "np.savez(path, x_train"),
    ),
    "a pickled data set": Case(pickled_cifar, ("these are pickles", "cifar-10-binary.tar.gz")),
    "unequal lengths": Case(
        npz(x_train=X, y_train=Y[:-1]), ("y_train", "found 23 labels for 24 images", "fix: ")
    ),
    "NaN": Case(
        npz(x_train=np.where(np.arange(24)[:, None, None] == 5, np.nan, X / 255), y_train=Y),
        ("x_train: found NaN or infinite pixels, the first in row 5", "np.nan_to_num(x)"),
    ),
    "floats of unknown range": Case(
        npz(x_train=X / 16, y_train=Y), ("x_train", "their scale is not known", "write floats of 0 to 1")
    ),
    "normalised floats": Case(
        npz(x_train=X / 128 - 1, y_train=Y), ("x_train", "they look normalised", "write floats of 0 to 1")
    ),
    "an empty class": Case(
        folders(*classes("", ("cat", "dog"), 6), "emu"), ("no training images of 'emu'", "fix: ")
    ),
    "a cut IDX file": Case(
        cut_idx, ("train-labels-idx1-ubyte", "found 11 labels, expected 12", "download it again")
    ),
    "a cut binary file": Case(
        cut_cifar, ("data_batch_1.bin", "expected a multiple of 3,073", "download it again")
    ),
}


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refused(source: Path, runs: Path) -> str:
    """Return the answer of a training; every command gives it, and neither leaves anything."""
    cache = Path(os.environ["CONVSMITH_CACHE"])
    before = snapshot(source.parent), set(cache.rglob("train-images.npy"))
    recipe = cs.load_recipe("digits", f"data.source={source}", *TINY)
    with pytest.raises(ConvsmithError) as caught:
        cs.train(recipe, runs=runs)
    assert not runs.exists() or not list(runs.iterdir())
    assert (snapshot(source.parent), set(cache.rglob("train-images.npy"))) == before
    return str(caught.value)


@pytest.mark.parametrize("form", ["folder", "archive"])
@pytest.mark.parametrize("name", CASES)
def test_the_answer_says_what_is_wrong_where_and_what_to_write(name: str, form: str, tmp_path: Path) -> None:
    case = CASES[name]
    root = tmp_path / "data" / "set"
    root.mkdir(parents=True)
    case.write(root)
    source = root if form == "folder" else packed(root, ".zip")
    message = refused(source, tmp_path / "runs")
    for phrase in case.answer:
        assert phrase in message
    assert message.startswith("error[E040]: ")
    assert "fix: " in message
    assert str(source) in message
    # A verification ends too: with a list of issues, or with the same answer.
    with suppress(DataError):
        assert not verify(config(source)).clean


def test_images_that_no_table_names_are_counted(tmp_path: Path) -> None:
    labelled(lambda number: "ab"[number % 2])(tmp_path)
    tree(tmp_path, "images/90.png", "images/91.png")
    data = load(config(tmp_path, test_fraction=0.5))
    assert data.layout.left_out == {"an image that no table names": 2}
    found = verify(config(tmp_path)).ignored
    assert sorted(found) == ["images/90.png", "images/91.png"]


@pytest.mark.parametrize("layout", ["folders", "arrays"])
def test_a_class_that_the_test_split_lacks_is_noted(layout: str, tmp_path: Path) -> None:
    if layout == "folders":
        tree(tmp_path, *classes("train", ("cat", "dog"), 6), *classes("test", ("cat",), 2))
        name = "dog"
    else:
        npz(x_train=X, y_train=Y, x_test=X[::2], y_test=Y[::2])(tmp_path)
        name = "1"
    note = f"the test split has no images of '{name}', which cannot be scored"
    assert note in load(config(tmp_path)).layout.notes


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "C:/x.png", "a/../../x.png"])
def test_an_archive_with_a_path_that_climbs(name: str, tmp_path: Path) -> None:
    archive = packed(tree(tmp_path / "data" / "set", *classes("", images=5)), ".zip")
    content = io.BytesIO()
    Image.new("L", (4, 4)).save(content, "PNG")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, content.getvalue())
    message = refused(archive, tmp_path / "runs")
    assert f"{archive}: the member {name!r} leads out of the archive" in message
    assert "fix: unpack it with a program that you trust" in message
    assert not (tmp_path / "x.png").exists()
