"""Parquet folders: columns, labels and damaged files."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from convsmith.data.dataset import load
from helpers.sources import config, parquet, png, problems


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
    ("labels", "what"),
    [
        ([0.5, 1.0] * 5, "no columns could hold the labels"),
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
