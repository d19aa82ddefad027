"""Data sources: names, folders, and the Hugging Face hub."""

from collections.abc import Callable
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
from sklearn.datasets import load_digits

from convsmith.data.dataset import load
from convsmith.data.hub.columns import encoded_image
from helpers.sources import Folder, config, png, problems


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)


@pytest.mark.parametrize(
    ("source", "what", "fix"),
    [
        ("cifr10", "unknown data set 'cifr10'", "did you mean 'cifar10'?"),
        ("./nowhere", "no such folder", "choose from"),
        ("/nowhere/at/all", "no such folder", "does not exist either"),
    ],
)
def test_an_unknown_source(source: str, what: str, fix: str) -> None:
    message = problems(source)
    assert what in message
    assert fix in message
    assert len(message.splitlines()) == 2


def test_the_nearest_folder_is_suggested(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2}, name="flowers")
    assert "did you mean 'flowers'?" in problems(root.parent / "flower")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("data_batch_1", "pickles, which can run code and are not read"),
        ("test_batch", "data.source=cifar10"),
        ("data_batch_3", "cifar-10-binary.tar.gz: name its folder with data_batch_1.bin"),
        ("cats.7z", "archives of this kind are not read: unpack it, and name the folder"),
        ("mnist.csv.gz", "for example data.source=mnist"),
        ("cats.mat", ".mat files are not read: write the arrays with numpy.savez"),
        ("cats.h5", "cs.train(recipe, data=(x, y))"),
        ("cats.pkl", "pickles can run code and are not read: write the arrays with numpy.savez"),
    ],
)
def test_pickles_and_archives_are_rejected(tmp_path: Path, name: str, fix: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04}")
    for message in (problems(tmp_path), problems(tmp_path / name)):
        assert fix in message
        assert len(message.splitlines()) == 2


def test_local_copies_take_precedence_over_the_hub(
    image_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"train": 4, "test": 2}, name="mnist")
    monkeypatch.setenv("CONVSMITH_DATA", str(root.parent))
    data = load(config("mnist"))
    assert data.location == str(root.resolve())
    assert data.identity == "differs from MNIST"
    monkeypatch.setenv("CONVSMITH_DATA", str(root / "missing"))
    assert "CONVSMITH_DATA" in problems("mnist")


def test_names_resolve_to_hub_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    table = datasets.Dataset.from_dict(
        {"img": [png(i) for i in range(8)], "label": [0, 1] * 4}, features=features
    )
    hub_ids = []

    def load_dataset(hub_id: str, **_: object) -> datasets.DatasetDict:
        hub_ids.append(hub_id)
        return datasets.DatasetDict({"train": table, "test": table})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(load(config("somebody/pictures")).train) == 8
    assert load(config("cifar10")).identity == "differs from CIFAR-10"
    assert hub_ids == ["somebody/pictures", "uoft-cs/cifar10"]


def hub(monkeypatch: pytest.MonkeyPatch, **splits: tuple[list[int], list[str]]) -> None:
    """Let the hub have a data set: labels and class names of each split; greys count on from 0."""
    tables, count = {}, 0
    for name, (labels, names) in splits.items():
        features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=names)})
        cells = [png(count + number) for number in range(len(labels))]
        count += len(labels)
        tables[name] = datasets.Dataset.from_dict({"img": cells, "label": labels}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(tables))


def test_splits_and_class_names_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    train = ([0, 1, 0, 1], ["cat", "dog"])
    hub(monkeypatch, train=train, test=([0, 1], ["dog", "cat"]), unsupervised=([0] * 9, ["none"]))
    data = load(config("a/b"))
    assert data.class_names == ("cat", "dog")
    greys = np.asarray(data.test.images)[:, 0, 0, 0].tolist()
    assert {grey: data.class_names[label] for grey, label in zip(greys, data.test.labels, strict=True)} == {
        4: "dog",
        5: "cat",
    }
    assert data.layout.left_out == {"in the split unsupervised": 1}
    hub(monkeypatch, train=train, validation=train)
    assert load(config("a/c")).layout.test_is_validation
    hub(monkeypatch, train=train, train_extra=train)
    assert load(config("a/d", test_fraction=0.5)).layout.left_out == {"in the split train_extra": 1}
    hub(monkeypatch, fold_a=train, fold_b=train)
    assert "expected one named train" in problems("a/e")
    data = load(config("a/e", splits={"train": "fold_b", "test": "fold_a"}))
    assert sorted(np.asarray(data.train.images)[:, 0, 0, 0].tolist()) == [4, 5, 6, 7]
    assert "share images" in problems("a/e", splits={"train": "fold_a", "test": "fold_a"})
    hub(monkeypatch, everything=train)
    assert load(config("a/f", test_fraction=0.5)).test_is_split_off
    hub(monkeypatch, train=train, test=([-1, -1], ["cat", "dog"]))
    message = problems("a/g")
    assert "the test split has no labels: the first of 2 images, test, row 0, has -1" in message
    assert len(load(config("a/g", splits={"train": "train"}, test_fraction=0.5)).test) == 2
    hub(monkeypatch, fold_a=train, fold_b=train)
    assert "did you mean 'fold_" in problems("a/e", splits={"train": "fold"})


def test_a_damaged_row_of_the_hub_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, train=([0, 1] * 10, ["a", "b"]))

    def cell_image(cell: object, named_image: Callable[[str], str]) -> object:
        if cell == png(7) | {"path": None}:
            raise ValueError("damaged")
        return encoded_image(cell, named_image)

    monkeypatch.setattr("convsmith.data.hub.tables.encoded_image", cell_image)
    data = load(config("a/f", skip_damaged=True))
    assert [issue.file for issue in data.dropped] == ["train, row 7"]


def test_an_unreachable_hub_gives_a_two_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: str, **_: object) -> None:
        raise ConnectionError(f"Couldn't reach '{place}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    message = problems("nobody/nothing")
    assert "Couldn't reach 'nobody/nothing'" in message
    assert "CONVSMITH_DATA" in message
    assert len(message.splitlines()) == 2


def test_digits_equal_those_of_scikit_learn() -> None:
    data = load(config("digits"))
    ours = np.concatenate([data.train.images, data.test.images])[..., 0]
    theirs = load_digits().images
    assert sorted(map(bytes, ours)) == sorted(
        bytes(np.rint(image * 255 / 16).astype(np.uint8)) for image in theirs
    )


@pytest.mark.parametrize("name", ["image_column", "label_column"])
def test_settings_without_an_effect_are_refused(name: str, image_folder: Folder) -> None:
    folder = image_folder({"train": 8, "test": 4})
    for source in (folder, "digits"):
        message = problems(source, **{name: "x"})
        assert f"data.{name} has no effect" in message
        assert f"fix: remove data.{name}" in message
    assert "data.splits has no effect" in problems("digits", splits={"train": "train"})
