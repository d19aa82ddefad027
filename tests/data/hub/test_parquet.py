"""Parquet folders: columns, labels and damaged files."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from convsmith.data.dataset import load
from convsmith.data.hub.columns import find_columns
from convsmith.data.hub.parquet import choose_files, file_split
from convsmith.data.raw import Source
from convsmith.errors import DataError
from helpers.sources import config, parquet, png, problems, tree


def test_parquet_columns_are_detected_by_type(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "note": datasets.Value("string"),
            "pic": datasets.Image(),
            "kind": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    columns = {"note": ["x"] * 10, "pic": [png(i) for i in range(10)], "kind": [i % 2 for i in range(10)]}
    data = load(config(parquet(tmp_path / "set", columns, features)))
    assert data.class_names == ("no", "yes")
    pixels = np.concatenate([data.train.images, data.test.images])[:, 0, 0, 0]
    labels = np.concatenate([data.train.labels, data.test.labels])
    assert sorted(zip(pixels.tolist(), labels.tolist(), strict=True)) == [(i, i % 2) for i in range(10)]


def test_parquet_without_feature_types(tmp_path: Path) -> None:
    columns = {"picture": [png(i) for i in range(10)], "target": [i % 2 for i in range(10)]}
    data = load(config(parquet(tmp_path / "set", columns)))
    assert data.class_names == ("0", "1")
    assert len(data.train) + len(data.test) == 10


def test_ambiguous_columns_are_named_and_can_be_chosen(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features({"img": datasets.Image(), "fine": names, "coarse": names})
    columns = {"img": [png(i) for i in range(10)], "fine": [0, 1] * 5, "coarse": [0] * 5 + [1] * 5}
    folder = parquet(tmp_path / "set", columns, features)
    message = problems(folder)
    assert "2 columns could hold the labels" in message
    assert "fine (ClassLabel), coarse (ClassLabel)" in message
    assert "data.label_column=fine" in message
    assert load(config(folder, label_column="coarse")).class_names == ("a", "b")
    assert "did you mean 'fine'?" in problems(folder, label_column="finer")


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        (("age", "sex"), None),
        (("width", "file", "species"), None),
        (("file",), None),
        (("fine_label", "file"), "fine_label"),
        (("width", "class-name"), "class-name"),
        (("label", "class_name"), "label"),
        (("target", "age", "file"), "target"),
        (("age",), "age"),
    ],
)
def test_no_column_is_taken_for_labels_beside_another(
    columns: tuple[str, ...], label: str | None, tmp_path: Path
) -> None:
    values = {"age": [30, 40], "width": [0, 1], "label": [0, 1], "target": [0, 1], "fine_label": [0, 1]}
    cells = {name: values.get(name, ["x", "y"]) * 5 for name in columns}
    features = datasets.Features(
        {"img": datasets.Image(), **{n: datasets.Value(str(pa.array(v).type)) for n, v in cells.items()}}
    )
    source = Source(title="set", location="set", signature="", kind="parquet")
    if label:
        assert find_columns(features, source, config("set")) == ("img", label)
        return
    with pytest.raises(DataError, match="columns could hold the labels") as caught:
        find_columns(features, source, config("set"))
    assert "data.label_column=" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ([0.5, 1.0] * 5, "row 0: bad label: label 0.5, expected 0 to 1"),
        ([0, -1] * 5, "row 1: bad label: label -1, expected 0 to 0"),
        ([0, None] * 5, "row 1: bad label: label None, expected 0 to 0"),
        ([0, 10**9] * 5, "found labels up to 1,000,000,000 for 10 images"),
    ],
)
def test_invalid_labels(tmp_path: Path, labels: list[object], what: str) -> None:
    folder = parquet(tmp_path / "set", {"image": [png(i) for i in range(10)], "label": labels})
    assert what in problems(folder)


def test_a_class_without_images(tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    columns = {"image": [png(i) for i in range(10)], "label": [0, 1] * 5}
    assert "no training images of 'c'" in problems(parquet(tmp_path / "set", columns, features))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "set", {"image": [png(i) for i in range(10)], "label": [0, 1] * 5})
    (path,) = (folder / "data").iterdir()
    path.write_bytes(path.read_bytes()[:-200])
    message = problems(folder)
    assert str(folder) in message
    assert path.name in message


def write(
    root: Path, location: str, labels: list[Any], names: list[str] | None = None, start: int = 0
) -> None:
    """Write a file with an image of another grey for each label, from `start`."""
    feature = datasets.ClassLabel(names=names) if names else None
    features = datasets.Features({"img": datasets.Image(), "label": feature}) if feature else None
    images = [png(start + number) for number in range(len(labels))]
    table = datasets.Dataset.from_dict({"img": images, "label": labels}, features=features).data.table
    path = root / location
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path)


def names_by_grey(root: Path, **values: object) -> dict[str, dict[int, str]]:
    """Return the class name of each image by its grey, for each split."""
    data = load(config(root, **values))
    return {
        name: {
            int(image[0, 0, 0]): data.class_names[label]
            for image, label in zip(split.images, split.labels, strict=True)
        }
        for name, split in data.splits.items()
    }


def test_class_names_are_mapped_across_files_and_splits(tmp_path: Path) -> None:
    write(tmp_path, "data/train-00000-of-00002.parquet", [0, 1, 0], ["cat", "dog"])
    write(tmp_path, "data/train-00001-of-00002.parquet", [0, 1, 2], ["dog", "emu", "cat"], start=10)
    write(tmp_path, "data/test-00000-of-00001.parquet", [0, 1], ["dog", "cat"], start=20)
    assert names_by_grey(tmp_path) == {
        "train": {0: "cat", 1: "dog", 2: "cat", 10: "dog", 11: "emu", 12: "cat"},
        "test": {20: "dog", 21: "cat"},
    }


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["dog", "cat"] * 5, ("cat", "dog")),
        ([True, False] * 5, ("false", "true")),
        ([0.0, 1.0] * 5, ("0", "1")),
    ],
)
def test_text_truth_values_and_whole_floats_are_labels(
    labels: list[Any], expected: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, "train.parquet", labels)
    write(tmp_path, "test.parquet", labels[1:], start=20)
    assert load(config(tmp_path)).class_names == expected
    columns: dict[str, object] = {"image": [png(i) for i in range(10)], "kind": labels}
    other = parquet(tmp_path / "other", columns)
    if not isinstance(labels[0], bool):
        assert "data.label_column=kind" in problems(other)
    assert load(config(other, label_column="kind")).class_names == expected


def test_a_column_of_few_texts(tmp_path: Path) -> None:
    """As pandas writes its categories."""
    cells = [{"bytes": png(i)["bytes"], "path": None} for i in range(10)]
    table = pa.table({"image": cells, "label": pa.array(["b", "a"] * 5).dictionary_encode()})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    assert load(config(tmp_path)).class_names == ("a", "b")


LABELS = ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("data/holdout-00000-of-00001.parquet", "in the split data/holdout"),
        ("data/unsupervised-00000-of-00001.parquet", "in the split data/unsupervised"),
        ("data/train_augmented-0.parquet", "in the split data/train_augmented"),
        ("data/validation-0.parquet", "in the split data/validation"),
        ("data/other.parquet", "in the split data/other"),
        ("fine/test-0.parquet", "in another configuration, fine"),
    ],
)
def test_other_files_do_not_join_the_training_set(location: str, reason: str, tmp_path: Path) -> None:
    write(tmp_path, "data/train-00000-of-00001.parquet", LABELS)
    write(tmp_path, "data/test-00000-of-00001.parquet", LABELS, start=10)
    write(tmp_path, location, ["c", "d"], start=20)
    data = load(config(tmp_path))
    assert data.class_names == ("a", "b")
    assert (len(data.train), len(data.test)) == (4, 4)
    assert data.layout.left_out == {reason: 1}


@pytest.mark.parametrize(
    ("locations", "what", "named"),
    [
        (("fine/train-0.parquet", "coarse/train-0.parquet"), "2 configurations: coarse, fine", "fine/train"),
        (("fine/train/0.parquet", "coarse/train/0.parquet"), "2 configurations: coarse, fine", "fine/train"),
        (("train-0.parquet", "Train-1.parquet"), "2 train splits", "train"),
        (("train/0.parquet", "training/1.parquet"), "2 train splits", "train"),
        (("a.parquet", "b.parquet"), "expected one named train", "a"),
        (("holdout.parquet", "test.parquet"), "expected one named train", "holdout"),
    ],
)
def test_ambiguous_files_are_named(locations: tuple[str, str], what: str, named: str, tmp_path: Path) -> None:
    write(tmp_path, locations[0], LABELS)
    write(tmp_path, locations[1], ["c", "d"], start=20)
    message = problems(tmp_path)
    assert what in message
    assert "data.splits.train=" in message
    data = load(config(tmp_path, splits={"train": named}, test_fraction=0.5))
    assert data.class_names == ("a", "b")
    assert data.layout.left_out == {"not named in data.splits": 1}
    assert "starts with 'nothing'" in problems(tmp_path, splits={"train": "nothing"})


@pytest.mark.parametrize(
    ("locations", "name"),
    [
        (["data/train-0000{}-of-00002-8a3b5c0dd10cf53{}.parquet"], "data/train"),
        (["part-0000{}-3f2a8b1c-0e5d-4c1b-9f6a-7d8e9f0a1b2c-c000.snappy.parquet"], "part"),
        (["default/partial-train/000{}.parquet"], "default/partial-train"),
        (["part.{}.parquet"], "part"),
        (["train_{}.zstd.parquet"], "train"),
        (["split=train/{}.parquet"], "split=train"),
    ],
)
def test_numbers_of_parts_are_no_part_of_the_name(locations: list[str], name: str) -> None:
    files = [location.format(number, number) for location in locations for number in range(2)]
    assert {file_split(file).name for file in files} == {name}
    assert choose_files(files, None, "set").files == {"train": files}


def test_named_files_share_no_images(tmp_path: Path) -> None:
    write(tmp_path, "data/train-0.parquet", LABELS)
    for test in ("data/train", "./data/train-0", "data", "."):
        assert "share images" in problems(tmp_path, splits={"train": "data/train", "test": test})
    for train in ("./data", ".", "/data/train/"):
        assert len(load(config(tmp_path, splits={"train": train}, test_fraction=0.5)).train) == 2


def test_an_empty_part_and_a_test_set_without_labels(tmp_path: Path) -> None:
    write(tmp_path, "train-0.parquet", LABELS)
    write(tmp_path, "train-1.parquet", [])
    assert load(config(tmp_path, test_fraction=0.5)).class_names == ("a", "b")
    write(tmp_path, "test.parquet", [None, None], start=10)
    message = problems(tmp_path)
    assert "the test split has no labels: the first of 2 images, test.parquet, row 0, has None" in message
    assert "data.splits.train" in message
    assert len(load(config(tmp_path, splits={"train": "train"}, test_fraction=0.5)).test) == 2


def test_parquet_files_without_images_beside_image_files(tmp_path: Path) -> None:
    root = tree(tmp_path, "cat/1.png", "dog/2.png")
    pyarrow.parquet.write_table(pyarrow.table({"file": ["1.png"]}), root / "metadata.parquet")
    assert "to read image files, move the parquet files away" in problems(root)


def test_all_files_beside_parquet_files_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "train.pq", LABELS)
    write(tmp_path, "test.PARQUET", LABELS, start=10)
    tree(tmp_path, "example/0.png", "more/1.png", "labels.csv", "README.txt", ".hidden.png")
    data = load(config(tmp_path))
    assert (len(data.train), len(data.test)) == (4, 4)
    assert data.layout.left_out == {
        "beside parquet files, and no row names it": 2,
        "beside parquet files, which are read": 2,
        "hidden": 1,
    }


def test_images_that_rows_name_are_read(tmp_path: Path) -> None:
    tree(tmp_path, *(f"images/{number}.png" for number in range(5)), "other.png")
    cells = [{"bytes": None, "path": f"images/{number}.png"} for number in range(4)]
    table = pa.table({"image": cells, "label": LABELS})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    data = load(config(tmp_path, test_fraction=0.5))
    pixels = np.concatenate([data.train.images, data.test.images])[:, 0, 0, 0]
    assert sorted(pixels.tolist()) == [0, 1, 2, 3]
    assert data.layout.left_out == {"beside parquet files, and no row names it": 2}


def test_one_unknown_name_is_the_training_set(tmp_path: Path) -> None:
    write(tmp_path, "0000.parquet", LABELS)
    write(tmp_path, "0001.parquet", LABELS, start=10)
    assert len(load(config(tmp_path)).train) == 6
    write(tmp_path / "two", "flowers.parquet", LABELS)
    write(tmp_path / "two", "dev.parquet", LABELS, start=10)
    data = load(config(tmp_path / "two"))
    assert data.layout.test_is_validation
    assert "the training set is flowers" in data.layout.notes[0]


@pytest.mark.parametrize("bad", ["a\0b.png", "x" * 5000, "\ud800", "a/" * 3000])
def test_a_bad_path_costs_one_row(bad: str, tmp_path: Path) -> None:
    cells: list[dict[str, object]] = [png(number) for number in range(40)]
    cells[9] = {"bytes": None, "path": bad.encode("utf-8", "surrogatepass")}
    content = [{"bytes": each["bytes"], "path": each["path"]} for each in cells]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.binary())])
    images = pa.array(content, type=kind)
    # No writer of text accepts a path that is no UTF-8, but a file may hold one.
    paths = pa.Array.from_buffers(pa.string(), 40, images.field("path").buffers())
    structs = pa.StructArray.from_arrays([images.field("bytes"), paths], names=["bytes", "path"])
    table = pa.table({"image": structs, "label": pa.array([0, 1] * 20)})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    data = load(config(tmp_path, skip_damaged=True))
    assert len(data.train) + len(data.test) == 39
    (issue,) = data.dropped
    assert issue.file == "train.parquet, row 9"


def test_a_damaged_group_costs_its_own_rows(tmp_path: Path) -> None:
    cells = [png(number) for number in range(60)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(cells, type=kind), "label": pa.array([0, 1] * 30)})
    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(table, path, compression="none", row_group_size=20, use_dictionary=False)
    content = path.read_bytes()
    place = pyarrow.parquet.read_metadata(path).row_group(1).column(0).data_page_offset
    path.write_bytes(content[:place] + b"\xff" * 12 + content[place + 12 :])
    data = load(config(tmp_path, skip_damaged=True))
    rows = {int(issue.file.split()[-1]) for issue in data.dropped}
    assert rows == set(range(20, 40))


@pytest.mark.parametrize(
    "metadata",
    [
        b"{", b"\xff\xfe", b"[" * 100_000, b'{"info": {"features": 3}}',
        b'{"info": {"features": {"label": 7}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "num_classes": ' + b"9" * 4000 + b"}}}}",
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "num_classes": ' + b"9" * 9000 + b"}}}}",
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "num_classes": 1000000000}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": "cat"}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}}}',
        b'{"info": {"features": {"label": {"_type": "NoSuchType"}}}}', b'{"info": 1}', b"3", b'"x"', b"null",
    ],
)  # fmt: skip
def test_damaged_metadata_is_an_error_of_ours(metadata: bytes, tmp_path: Path) -> None:
    cells = [{"bytes": png(i)["bytes"], "path": None} for i in range(10)]
    table = pa.table({"image": cells, "label": [0, 1] * 5}).replace_schema_metadata({"huggingface": metadata})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    found = class_names_or_error(tmp_path)
    assert found == "('0', '1')" or "train.parquet" in found
    assert len(found) < 1000


def class_names_or_error(root: Path) -> str:
    try:
        return str(load(config(root)).class_names)
    except DataError as error:
        return str(error)
