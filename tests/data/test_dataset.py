"""Reading data sets: every layout, fingerprint and splits, and all that can be wrong with them."""

import io
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from convsmith.data.cache import cache_folder, fingerprint
from convsmith.data.config import DataConfig
from convsmith.data.dataset import CANONICAL, load, mean_and_std, outline_of
from convsmith.data.memory_mapped import FileImages
from convsmith.errors import DataError
from convsmith.recipes.loader import load as load_recipe
from helpers.trained import trained

Folder = Callable[..., Path]


def config(source: object, **values: object) -> DataConfig:
    return DataConfig.model_validate({"source": str(source), **values})


def problems(source: object, **values: object) -> str:
    with pytest.raises(DataError) as caught:
        load(config(source, **values))
    return str(caught.value)


def parquet(folder: Path, columns: dict[str, object], features: datasets.Features | None = None) -> Path:
    (folder / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict(columns, features=features)
    table.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    return folder


def png(value: int, size: tuple[int, int] = (8, 8)) -> dict[str, object]:
    content = io.BytesIO()
    Image.new("L", size, value).save(content, format="PNG")
    return {"bytes": content.getvalue(), "path": None}


def test_digits_are_built_in() -> None:
    data = load(config("digits", test_fraction=1 / 3))
    assert data.image_shape == (1, 8, 8)
    assert (len(data.train), len(data.test)) == (1198, 599)
    assert data.identity == "scikit-learn digits, verified"
    assert data.class_names == tuple("0123456789")
    assert np.asarray(data.train.images).dtype == np.uint8
    assert np.asarray(data.train.images).max() == 255


@pytest.mark.parametrize("colour", [False, True])
def test_image_folder_with_splits(image_folder: Folder, colour: bool) -> None:
    root = image_folder({"train": 6, "test": 3}, colour=colour)
    data = load(config(root))
    assert data.class_names == ("one", "two", "zero")
    assert (len(data.train), len(data.test)) == (18, 9)
    assert data.image_shape == (3 if colour else 1, 8, 8)
    assert data.identity == "pictures"
    assert not data.test_is_split_off
    written = np.asarray(Image.open(root / "train" / "zero" / "0.png").convert("L"))
    index = data.class_names.index("zero")
    images = data.train.images[data.train.labels == index][..., 0]
    assert any(np.array_equal(image, written) for image in images)


def test_one_root_is_split_by_class_and_seed(image_folder: Folder) -> None:
    root = image_folder({"": 12})
    data = load(config(root, test_fraction=0.25))
    assert data.test_is_split_off
    assert np.bincount(data.train.labels).tolist() == [9, 9, 9]
    assert np.bincount(data.test.labels).tolist() == [3, 3, 3]
    record, again, other = (
        load(config(root, test_fraction=0.25, split_seed=seed)).record(config(root, split_seed=seed))
        for seed in (0, 0, 1)
    )
    assert record == again
    assert record["splits"]["test"]["fingerprint"] != other["splits"]["test"]["fingerprint"]
    assert record["fingerprint"] == other["fingerprint"]
    assert record["test_split"] == "by convsmith, stratified"
    assert record["splits"]["train"]["per_class"] == [9, 9, 9]


def test_a_class_folder_may_be_named_like_a_split(image_folder: Folder) -> None:
    data = load(config(image_folder({"": 6}, classes=("car", "train"))))
    assert data.class_names == ("car", "train")
    assert len(data.train) + len(data.test) == 12


def test_validation_comes_out_of_training_only(image_folder: Folder) -> None:
    root = image_folder({"train": 10, "test": 4})
    plain, held = load(config(root)), load(config(root, validation=0.2))
    assert held.validation is not None
    assert np.bincount(held.validation.labels).tolist() == [2, 2, 2]
    assert len(held.train) == 24
    assert np.array_equal(plain.test.images, held.test.images)
    together = np.concatenate([held.train.images, held.validation.images])
    labels = [*held.train.labels.tolist(), *held.validation.labels.tolist()]
    assert fingerprint(list(together), labels) == fingerprint(
        list(plain.train.images), plain.train.labels.tolist()
    )


def test_names_and_order_of_files_change_nothing(image_folder: Folder, tmp_path: Path) -> None:
    root = image_folder({"train": 6, "test": 3})
    shuffled = tmp_path / "copy"
    for number, path in enumerate(sorted(root.rglob("*.png"), reverse=True)):
        target = shuffled / path.relative_to(root).parent / f"picture {number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    first, second = load(config(root)), load(config(shuffled))
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.train.images, second.train.images)
    assert np.array_equal(first.train.labels, second.train.labels)


def test_one_changed_pixel_changes_the_fingerprint(image_folder: Folder) -> None:
    root = image_folder({"train": 6, "test": 3})
    before = load(config(root)).fingerprint
    path = root / "test" / "zero" / "0.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    assert load(config(root)).fingerprint != before


def test_a_second_load_reads_the_cache(image_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = image_folder({"train": 4, "test": 2})
    first = load(config(root))

    def never(*arguments: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("convsmith.data.cache.read", never)
    assert load(config(root)).fingerprint == first.fingerprint
    with pytest.raises(AssertionError, match="read again"):
        load(config(root, resize=16))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"content": "../..", "class_names": 3}'])
def test_a_damaged_index_is_made_again(image_folder: Folder, content: str) -> None:
    root = image_folder({"train": 4, "test": 2})
    first = load(config(root))
    (pointer,) = (path for path in (cache_folder() / "sources").iterdir() if str(root) in path.read_text())
    pointer.write_text(content)
    again = load(config(root))
    assert (again.fingerprint, again.class_names) == (first.fingerprint, first.class_names)


def test_equal_images_under_other_names_keep_theirs(image_folder: Folder) -> None:
    first = load(config(image_folder({"train": 4, "test": 2})))
    second = load(config(image_folder({"train": 4, "test": 2}, classes=("z", "a", "b"), name="renamed")))
    third = load(config(image_folder({"train": 4, "test": 2}, classes=("c", "a", "b"), name="again")))
    assert (second.class_names, third.class_names) == (("a", "b", "z"), ("a", "b", "c"))
    assert first.fingerprint == second.fingerprint == third.fingerprint


def test_the_cache_holds_no_leftovers(image_folder: Folder) -> None:
    load(config(image_folder({"train": 4, "test": 2})))
    assert list(cache_folder().rglob("*.tmp")) == []


@pytest.mark.parametrize("name", ["train-images.npy", "test-images.npy", "train-labels.npy"])
def test_a_damaged_cache_says_what_to_remove(image_folder: Folder, name: str) -> None:
    root = image_folder({"train": 4, "test": 2})
    (content,) = cache_folder().glob(f"*/{load(config(root)).fingerprint}")
    damaged = bytearray((content / name).read_bytes())
    damaged[-1] ^= 1
    (content / name).write_bytes(damaged)
    message = problems(root)
    assert f"{name} is not what was written" in message
    assert str(content) in message
    assert "remove this folder" in message
    shutil.rmtree(content)
    assert len(load(config(root)).train) == 12


def test_parquet_columns_are_found_by_type(tmp_path: Path) -> None:
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
        ([0, 10**9] * 5, "labels go up to 1,000,000,000, and there are 10 images"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: list[object], what: str) -> None:
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


def test_unreadable_images_are_all_named_and_left_alone(image_folder: Folder) -> None:
    root = image_folder({"train": 6, "test": 3})
    truncated, text = root / "train" / "one" / "2.png", root / "test" / "two" / "1.png"
    truncated.write_bytes(truncated.read_bytes()[:60])
    text.write_text("this is text")
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    message = problems(root)
    assert message.count("error[E040]") == 2
    assert f"{truncated}: unreadable: " in message
    assert f"{text}: unreadable: not an image in one of the formats" in message
    assert "nothing was changed" in message
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before


def test_many_unreadable_images_are_counted(image_folder: Folder) -> None:
    root = image_folder({"train": 6, "test": 3})
    for path in (root / "train").rglob("*.png"):
        path.write_text("no image")
    message = problems(root)
    assert message.count("error[E040]") == 5
    assert "13 more" in message


def test_a_huge_image_is_refused_by_its_header(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    path = root / "train" / "one" / "0.png"
    content = bytearray(path.read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)
    assert "oversized: more than 50,000,000 pixels by its header" in problems(root)


def test_mixed_sizes_need_a_rule(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    Image.new("L", (9, 12)).save(root / "train" / "one" / "odd.png")
    message = problems(root)
    assert "images of 2 sizes" in message
    assert "8x8: 18 images, the first is train/one/0.png" in message
    assert "9x12: 1 images, the first is train/one/odd.png" in message
    assert "data.resize=" in message
    assert load(config(root, resize=16)).image_shape == (1, 16, 16)


def test_any_colour_makes_the_set_colour(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save(root / "train" / "one" / "red.png")
    data = load(config(root))
    assert data.image_shape == (3, 8, 8)
    reds = [image for image in data.train.images if np.array_equal(image[0, 0], [255, 0, 0])]
    assert len(reds) == 1


@pytest.mark.parametrize(
    ("source", "what", "fix"),
    [
        ("cifr10", "unknown data set 'cifr10'", "did you mean 'cifar10'?"),
        ("./nowhere", "no such folder", "choose from"),
        ("/nowhere/at/all", "no such folder", "does not exist either"),
    ],
)
def test_a_source_that_is_not_there(source: str, what: str, fix: str) -> None:
    message = problems(source)
    assert what in message
    assert fix in message
    assert len(message.splitlines()) == 2


def test_the_nearest_folder_is_suggested(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2}, name="flowers")
    assert "did you mean 'flowers'?" in problems(root.parent / "flower")


def test_folders_that_hold_nothing(tmp_path: Path, image_folder: Folder) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no images (0 other files)" in problems(tmp_path / "empty")
    root = image_folder({"train": 4, "test": 2})
    (root / "train" / "three").mkdir()
    assert f"{root / 'train' / 'three'}: no training images of 'three'" in problems(root)
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("L", (8, 8)).save(flat / "a.png")
    assert "found no class folders" in problems(flat)
    assert "expected one named train" in problems(image_folder({"test": 4, "val": 2}, name="no-train"))


def test_a_single_class_is_none(image_folder: Folder) -> None:
    assert "found one class" in problems(image_folder({"train": 4, "test": 2}, classes=("only",)))


def test_too_few_images_to_split(image_folder: Folder) -> None:
    assert "cannot be split" in problems(image_folder({"": 1}))


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("data_batch_1", "pickles are not read, since they can run code: name a folder"),
        ("test_batch", "for example data.source=cifar10"),
        ("cifar-10-python.tar.gz", "archives are not read: unpack it, and name a folder"),
        ("cifar-10-binary.tgz", "for example data.source=cifar10"),
        ("train-images-idx3-ubyte.gz", "data.source=mnist"),
        ("cats.zip", "archives are not read"),
        ("cats.npz", "arrays are not read"),
        ("cats.pkl", "pickles are not read"),
    ],
)
def test_pickles_and_archives_are_not_read(tmp_path: Path, name: str, fix: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04}")
    for message in (problems(tmp_path), problems(tmp_path / name)):
        assert fix in message
        assert len(message.splitlines()) == 2


def test_local_copies_come_before_the_hub(image_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = image_folder({"train": 4, "test": 2}, name="mnist")
    monkeypatch.setenv("CONVSMITH_DATA", str(root.parent))
    data = load(config("mnist"))
    assert data.place == str(root.resolve())
    assert data.identity == "differs from MNIST"
    monkeypatch.setenv("CONVSMITH_DATA", str(root / "missing"))
    assert "CONVSMITH_DATA" in problems("mnist")


def test_the_hub_is_asked_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    table = datasets.Dataset.from_dict(
        {"img": [png(i) for i in range(8)], "label": [0, 1] * 4}, features=features
    )
    asked = []

    def answer(place: str) -> datasets.DatasetDict:
        asked.append(place)
        return datasets.DatasetDict({"train": table, "test": table})

    monkeypatch.setattr(datasets, "load_dataset", answer)
    assert len(load(config("somebody/pictures")).train) == 8
    assert load(config("cifar10")).identity == "differs from CIFAR-10"
    assert asked == ["somebody/pictures", "uoft-cs/cifar10"]


def test_an_unreachable_hub_is_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: str) -> None:
        raise ConnectionError(f"Couldn't reach '{place}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    message = problems("nobody/nothing")
    assert "Couldn't reach 'nobody/nothing'" in message
    assert "CONVSMITH_DATA" in message
    assert len(message.splitlines()) == 2


def test_mean_and_std_against_numpy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 3), dtype=np.uint8)
    mean, std = mean_and_std(images)
    assert mean == pytest.approx((images / 255).mean((0, 1, 2)))
    assert std == pytest.approx((images / 255).std((0, 1, 2)))
    flat_mean, flat_std = mean_and_std(np.full((2, 4, 4, 1), 51, np.uint8))
    assert flat_mean == pytest.approx((0.2,))
    assert flat_std == (1.0,)


def test_outlines_are_known_without_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outline_of(config("cifar10")) == CANONICAL["cifar10"].outline
    assert outline_of(config("mnist", resize=32)).image_shape == (1, 32, 32)
    assert outline_of(config("digits")) == load(config("digits")).outline


def test_digits_of_the_cache_are_those_of_scikit_learn() -> None:
    data = load(config("digits"))
    ours = np.concatenate([data.train.images, data.test.images])[..., 0]
    theirs = load_digits().images
    assert sorted(map(bytes, ours)) == sorted(
        bytes(np.rint(image * 255 / 16).astype(np.uint8)) for image in theirs
    )


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "title", "sizes", "mean", "std"),
    [
        ("mnist", "MNIST", (60_000, 10_000), (0.1307,), (0.3081,)),
        ("cifar10", "CIFAR-10", (50_000, 10_000), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ],
)
def test_the_canonical_data_sets_are_recognised(
    real_data: Path,
    name: str,
    title: str,
    sizes: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    data = load(config(name))
    assert data.identity == f"{title}, verified"
    assert (len(data.train), len(data.test)) == sizes
    assert data.outline == CANONICAL[name].outline
    assert np.bincount(data.test.labels).sum() == 10_000
    # The figures that everybody uses, to their four digits.
    assert [round(value, 4) for value in data.mean] == list(mean)
    assert [round(value, 4) for value in data.std] == list(std)
    assert os.environ["CONVSMITH_DATA"] == str(real_data)


def test_images_on_disk_are_the_same_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    on_disk = FileImages(np.load(tmp_path / "images.npy", mmap_mode="r"))
    places = np.array([7, 0, 49, 7])
    assert (len(on_disk), on_disk.shape) == (50, images.shape)
    assert np.array_equal(on_disk[places], images[places])
    assert np.array_equal(on_disk[3:9], images[3:9])
    assert np.array_equal(on_disk[4], images[4])
    assert np.array_equal(np.stack(list(on_disk)), images)
    assert np.array_equal(on_disk.pick(places)[1:], images[places][1:])
    assert mean_and_std(on_disk) == mean_and_std(images)


def test_training_from_disk_gives_the_same_weights() -> None:
    base = ["train.epochs=1", "model.net=C4 / G F10", "data.validation=0.1"]
    (memory, _), (disk, _) = (
        trained(load_recipe("digits", [*base, f"data.keep_in={place}"])) for place in ("memory", "disk")
    )
    for name, tensor in memory.state_dict().items():
        assert torch.equal(tensor, disk.state_dict()[name])


def test_large_sets_stay_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load(config("digits")).train.images, np.ndarray)
    monkeypatch.setattr("convsmith.data.dataset._MEMORY_SHARE", 1e-9)
    assert isinstance(load(config("digits")).train.images, FileImages)


def test_reading_from_disk_keeps_nothing_in_memory(tmp_path: Path) -> None:
    """Eight times 32 MB are read; what the process holds grows by less than one."""
    script = """
import resource, sys
import numpy as np
from convsmith.data.memory_mapped import FileImages
path, peak = sys.argv[1], lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
images = FileImages(np.load(path, mmap_mode="r"))
images[:64]
before = peak()
order = np.random.default_rng(0).permutation(len(images))
total = sum(int(images[order[start:start + 64]].sum()) for start in range(0, len(images), 64))
print(total, peak() - before)
"""
    path = tmp_path / "images.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(4096, 256, 256, 1))[:] = 1
    found = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    total, grown = found.stdout.split()
    assert int(total) == 4096 * 256 * 256
    assert float(grown) < 32
