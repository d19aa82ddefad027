"""Data in memory: every form gives the images and labels that it was made of, and the same identity."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import convsmith as cs
from convsmith.data.arrays.in_memory import raw_data, source_of
from convsmith.data.arrays.registry import MEMORY_PREFIX, content_hash
from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, Split, load
from convsmith.errors import ConvsmithError, DataError, RunError
from helpers.sources import config

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (24, 6, 5, 3), dtype=np.uint8)
Y = np.arange(24) % 3
TRAIN, TEST, VALIDATION = slice(12), slice(12, 18), slice(18, 24)
SETTINGS = DataConfig(source="digits")
PICTURES = [Image.fromarray(each) for each in X]
CHW = torch.from_numpy(X).permute(0, 3, 1, 2)


class Items(Dataset[Any]):
    """A map-style data set, as torchvision's are."""

    classes = ("cat", "dog", "eel")

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def pictures(part: slice) -> Items:
    return Items(list(zip(PICTURES[part], Y[part].tolist(), strict=True)))


def table(part: slice) -> datasets.Dataset:
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "eel"])}
    )
    return datasets.Dataset.from_dict({"img": PICTURES[part], "label": Y[part].tolist()}, features=features)


def loaded(data: Any, **settings: Any) -> ImageDataset:
    with source_of(data, config("digits", **settings)) as complete:
        return load(complete)


def content(split: Split) -> set[tuple[bytes, int]]:
    pairs = zip(np.asarray(split.images), split.labels.tolist(), strict=True)
    return {(image.tobytes(), label) for image, label in pairs}


def expected(part: slice) -> set[tuple[bytes, int]]:
    return {(image.tobytes(), int(label)) for image, label in zip(X[part], Y[part], strict=True)}


ONE = {
    "arrays": (X, Y),
    "a list of two": [X, Y],
    "tensors": (CHW, torch.from_numpy(Y)),
    "channels last tensor": (CHW.contiguous(memory_format=torch.channels_last), torch.from_numpy(Y)),
    "floats": (CHW / 255, torch.from_numpy(Y)),
    "bfloat16": ((CHW > 127).to(torch.bfloat16), torch.from_numpy(Y)),
    "labels as a list": (X, Y.tolist()),
    "lists": (list(X), Y.tolist()),
    "pictures": (PICTURES, Y),
    "tensor data set": TensorDataset(CHW, torch.from_numpy(Y)),
    "pictures and integers": pictures(slice(24)),
    "a list of pairs": list(zip(PICTURES, Y.tolist(), strict=True)),
    "arrays and integers": Items(list(zip(X, Y.tolist(), strict=True))),
    "a subset": Subset(pictures(slice(24)), range(24)),
    "a table": table(slice(24)),
    "names of arrays": {"x": X, "y": Y},
}  # fmt: skip


@pytest.mark.parametrize("form", ONE)
def test_one_set_of_images(form: str) -> None:
    data = loaded(ONE[form])
    assert data.test_is_split_off
    pixels = expected(slice(24))
    if form == "bfloat16":
        pixels = {
            (image.tobytes(), int(label))
            for image, label in zip(255 * (X > 127).astype(np.uint8), Y, strict=True)
        }
    assert content(data.train) | content(data.test) == pixels
    named = form in {"pictures and integers", "a subset", "a table", "arrays and integers"}
    assert data.class_names == (("cat", "dog", "eel") if named else ("0", "1", "2"))
    assert "in memory" in data.layout.description or form == "names of arrays"


def pairs() -> list[tuple[Any, Any]]:
    return [(X[part], Y[part]) for part in (TRAIN, TEST, VALIDATION)]


SEVERAL = {
    "pairs": tuple(pairs()[:2]),
    "a dict of pairs": dict(zip(("train", "test", "val"), pairs(), strict=True)),
    "a dict of arrays": {
        f"{name}_{split}": array
        for split, pair in zip(("train", "test", "val"), pairs(), strict=True)
        for name, array in zip("xy", pair, strict=True)
    },
    "two data sets": (pictures(TRAIN), pictures(TEST)),
    "a dict of data sets": {
        "Training": pictures(TRAIN),
        "Testing": pictures(TEST),
        "dev": pictures(VALIDATION),
    },
    "a dict of tables": datasets.DatasetDict(
        {"train": table(TRAIN), "test": table(TEST), "validation": table(VALIDATION)}
    ),
    "two tables": (table(TRAIN), table(TEST)),
    "pictures beside arrays": {"train": (X[TRAIN], Y[TRAIN]), "test": (PICTURES[TEST], Y[TEST])},
}


@pytest.mark.parametrize("form", SEVERAL)
def test_splits(form: str) -> None:
    data = loaded(SEVERAL[form])
    assert content(data.train) == expected(TRAIN)
    assert content(data.test) == expected(TEST)
    assert not data.test_is_split_off
    if isinstance(SEVERAL[form], dict) and form != "pictures beside arrays":
        data = loaded(SEVERAL[form], validation="split")
        assert content(data.splits["validation"]) == expected(VALIDATION)


def test_an_archive_of_numpy_is_a_mapping(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x_train=X[TRAIN], y_train=Y[TRAIN], x_test=X[TEST], y_test=Y[TEST])
    with np.load(tmp_path / "set.npz") as archive:
        data = loaded(archive)
    assert content(data.train) == expected(TRAIN)
    assert data.fingerprint == load(config(tmp_path / "set.npz")).fingerprint


def test_files_are_a_list_of_paths(tmp_path: Path) -> None:
    for number, picture in enumerate(PICTURES):
        picture.save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(24)]
    data = loaded((paths, Y))
    assert content(data.train) | content(data.test) == expected(slice(24))
    mixed = ([*PICTURES[:23], PICTURES[23].resize((3, 3))], Y)
    assert loaded(mixed, resize=4).image_shape == (3, 4, 4)
    with pytest.raises(DataError, match="found images of 2 sizes"):
        loaded(mixed)
    arrays = ([*X[:23], X[23][:3]], Y)
    assert loaded(arrays, resize=4).image_shape == (3, 4, 4)


def test_texts_are_names() -> None:
    names = np.array(["eel", "cat", "dog"])
    for labels in (names[Y], names[Y].tolist(), names[Y].astype(object)):
        assert loaded((X, labels)).class_names == ("cat", "dog", "eel")


def test_the_identity_is_that_of_the_content() -> None:
    def name(data: Any) -> str:
        with source_of(data, SETTINGS) as complete:
            return complete.source

    order = RANDOM.permutation(24)
    first = name((X, Y))
    assert first.startswith(MEMORY_PREFIX)
    assert (
        first == name((X[order], Y[order])) == name((CHW.numpy(), Y[:, None])) == name((list(X), Y.tolist()))
    )
    assert first == f"{MEMORY_PREFIX}{content_hash(raw_data((X, Y), SETTINGS))}"
    changed = X.copy()
    changed[3, 2, 1, 0] ^= 1
    others = [(changed, Y), (X, (Y + 1) % 3), ((X[TRAIN], Y[TRAIN]), (X[12:], Y[12:])), (X[:23], Y[:23])]
    assert len({first, *map(name, others)}) == 5
    assert loaded((X, Y)).fingerprint == loaded((X[order], Y[order])).fingerprint


def test_data_are_held_as_long_as_the_block_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path))
    with source_of((X, Y), SETTINGS) as outer:
        with source_of((X, Y), SETTINGS) as inner:
            assert outer == inner
        assert len(load(outer).train) == 19
    # The cache has them.
    assert len(load(outer).train) == 19
    with pytest.raises(DataError, match="passed in Python"):
        load(outer, refresh=True)
    assert len(load(outer).train) == 19
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "other"))
    with pytest.raises(DataError, match="pass the same data in Python once"):
        load(outer)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(pictures(TRAIN))


class Random(Items):
    def __getitem__(self, index: int) -> Any:
        return torch.rand(3, 6, 5), 0


class Broken(Items):
    def __getitem__(self, index: int) -> Any:
        raise KeyError("no file")


def streamed() -> Any:
    return datasets.IterableDataset.from_generator(lambda: iter([]))


@pytest.mark.parametrize(
    ("data", "text", "fix"),
    [
        (3, "found int, expected images and labels", "pass (x, y)"),
        ({}, "found an empty dict", "a Hugging Face"),
        (X, "found ndarray of the shape (24, 6, 5, 3)", "pass (x, y)"),
        ((X, Y[:20]), "found 20 labels for 24 images", "one label for each image"),
        ((X, X), "as masks of segmentation have", "one class"),
        ((X - 128.0, Y), "found values of -128 to 127: they look normalised", "0 to 255"),
        ((X / 255 * np.nan, Y), "NaN or infinite pixels, the first in row 0", "leave these images out"),
        ((X, Y - 1.5), "no whole numbers, the first is -1.5 in row 0", "one class"),
        ((X, Y - 1), "8 negative labels of 24", "without a class"),
        ((X, [None] * 24), "found labels such as None", "one class for each image"),
        ((X, Y * 0), "found one class", "another class"),
        ({"train": (X, Y), "fold": (X, Y), "test": 3}, "found int, expected images", "pass (x, y)"),
        ({"a": (X, Y), "b": (X, Y)}, "found the splits a, b, expected one named train", "data.splits.train"),
        ({"train": table(TRAIN), "test": (X, Y)}, "Hugging Face data sets beside others", "one kind"),
        (DataLoader(pictures(TRAIN)), "found DataLoader", "data=loader.dataset"),
        (Stream(), "found Stream", "data=list(data)"),
        (Items([]), "the data set is empty", "every class"),
        (Random([0] * 8), "item 0 is another image when it is read again", "augments by [augment]"),
        (Broken([0]), "item 0 cannot be read: KeyError: 'no file'", "(image, label)"),
        (Items([(PICTURES[0],)]), "item 0 is a tuple of 1", "(image, label)"),
        (Items([{"image": PICTURES[0]}]), "item 0 is a dict of 1", "(image, label)"),
        (Items([(3, 0)]), "has a int as its image", "(image, label)"),
        (Items([(PICTURES[0], 0), (X[0], 1)]), "item 1 is a ndarray, item 0 is not", "(image, label)"),
        (([X[0] / 255, X[1][:3]], [0, 1]), "images of several shapes, of which image 0 is float64", "Pillow"),
    ],
    # Objects have other addresses in each process.
    ids=lambda value: value if isinstance(value, str) else "data",
)  # fmt: skip
def test_other_objects_are_refused(data: Any, text: str, fix: str) -> None:
    with pytest.raises(ConvsmithError) as caught:
        loaded(data)
    assert text in str(caught.value)
    assert fix in str(caught.value)


def test_streamed_tables_are_refused() -> None:
    with pytest.raises(DataError, match="which is streamed"):
        loaded(streamed())


TINY = ("model.net=C4 / G F3", "train.epochs=1", "augment.transforms=[]", "train.batch_size=8")


def test_a_run_on_data_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "cache"))
    recipe = cs.load_recipe("digits", *TINY)
    data = ((X[TRAIN], Y[TRAIN]), (X[TEST], Y[TEST]))
    result = cs.train(recipe, data=data, runs=tmp_path / "runs")
    run = result.folder
    text = (run / "recipe.toml").read_text()
    assert 'source = "memory:' in text
    log = (run / "log.txt").read_text()
    assert "Data: data in memory, fingerprint" in log
    assert "layout: images and labels in memory" in log
    assert '"prediction_check": null' not in (run / "results.json").read_text()
    # As long as the cache has the images, every command works as for files.
    assert cs.evaluate(run).test == result.test
    assert cs.resume(run, epochs=2).test.total == 6
    assert cs.export_bundle(run, tmp_path / "bundle").is_dir()
    assert cs.predict(run, X[0])[0].label in {"0", "1", "2"}
    # Without the cache the data are needed, once.
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "empty"))
    with pytest.raises(DataError, match="pass the same data in Python once"):
        cs.evaluate(run)
    with pytest.raises(DataError, match="pass the same data in Python once"):
        cs.resume(run, epochs=3)
    assert cs.predict(run, X[0])[0].label in {"0", "1", "2"}
    other = ((X[TRAIN], Y[TRAIN]), (255 - X[TEST], Y[TEST]))
    with pytest.raises(RunError, match="the data are not those of this run"):
        cs.evaluate(run, data=other)
    with pytest.raises(RunError, match="the data are not those of this run"):
        cs.resume(run, epochs=3, data=other)
    assert cs.resume(run, epochs=3, data=data).test.total == 6
    assert cs.evaluate(run).test.total == 6
    assert (run / "manifest.json").is_file()


@pytest.mark.slow
def test_reports_exports_and_projects_take_the_data_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a run whose images the cache does not have any more."""
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "cache"))
    data = ((X[TRAIN], Y[TRAIN]), (X[TEST], Y[TEST]))
    run = cs.train(cs.load_recipe("digits", *TINY), data=data, runs=tmp_path / "runs").folder
    commands: dict[str, Callable[..., object]] = {
        "report": lambda **more: cs.report(run, **more),
        "bundle": lambda **more: cs.export_bundle(run, tmp_path / "bundle", **more),
        "project": lambda **more: cs.eject(run, tmp_path / "project", execute=False, **more),
        "hand-in": lambda **more: cs.hand_in([run], tmp_path / "hand-in", execute=False, **more),
    }
    for name, command in commands.items():
        monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / f"cache of {name}"))
        with pytest.raises(DataError, match="pass the same data in Python once"):
            command()
        with pytest.raises(RunError, match="the data are not those of this run"):
            command(data=(255 - X, Y))
        command(data=data)


def test_a_search_takes_data_in_memory_and_says_by_what_it_ranks(tmp_path: Path) -> None:
    lines: list[str] = []
    keep = np.concatenate([np.flatnonzero(Y != 0), np.flatnonzero(Y == 0)[:3]])
    recipe = cs.load_recipe("digits", *TINY, "data.validation=0.3")
    brief = tmp_path / "brief.toml"
    brief.write_text("max_parameters = 1000\n")
    search = functools.partial(cs.search, str(brief), recipe, trials=1, epochs=1, log=lines.append)
    result = search(study=tmp_path / "study", data=(X[keep], Y[keep]))
    assert "Data: data in memory" in "\n".join(lines)
    assert any("candidates are ranked by plain accuracy" in line for line in lines)
    assert "ranked by plain accuracy" in result.page.read_text()


def test_a_run_on_files_refuses_data_in_memory(tmp_path: Path) -> None:
    run = cs.train(
        cs.load_recipe("digits", "train.epochs=1", "model.net=C4 / G F10"), runs=tmp_path / "runs"
    ).folder
    with pytest.raises(RunError, match="was trained on 'digits', not on data in memory"):
        cs.resume(run, epochs=2, data=(X, Y))
    with pytest.raises(ConvsmithError, match="data go with weights from a file"):
        cs.evaluate(run, data="digits")


def test_the_other_functions_take_data_in_memory(tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", *TINY)
    assert len(cs.preview(recipe, tmp_path / "preview", data=(X, Y))) > 0
    assert len(cs.lr_find(recipe, tmp_path / "lr", data=(X, Y), steps=20).rates) > 1
    verification = cs.verify_data((np.concatenate([X, X[:1]]), np.append(Y, 0)))
    assert [issue.kind for issue in verification.issues] == ["duplicate"]
    assert verification.issues[0].file == "train images, image 24"
    assert cs.verify_data({"x": X, "y": Y}, "data.resize=8").clean
    assert cs.describe_data((X, Y)).total == 24
    # A text is a source.
    assert cs.verify_data("digits").clean


def test_the_same_weights_as_from_files(tmp_path: Path) -> None:
    """A training on arrays, and on a file with these arrays, gives the same bits."""
    np.savez(tmp_path / "set.npz", x_train=X[TRAIN], y_train=Y[TRAIN], x_test=X[TEST], y_test=Y[TEST])
    recipe = cs.load_recipe("digits", *TINY)
    from_file = cs.train(recipe, data=str(tmp_path / "set.npz"), runs=tmp_path / "a").folder
    from_memory = cs.train(
        recipe, data=((X[TRAIN], Y[TRAIN]), (X[TEST], Y[TEST])), runs=tmp_path / "b"
    ).folder
    name = "model.safetensors"
    assert (from_file / name).read_bytes() == (from_memory / name).read_bytes()
