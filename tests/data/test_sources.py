"""Reading data sets: every layout, the cache, and invalid inputs."""

import shutil
import zlib
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from convsmith.data.cache import cache_folder
from convsmith.data.dataset import load
from helpers.sources import Folder, config, parquet, png, problems


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


def test_a_class_folder_may_be_named_like_a_split(image_folder: Folder) -> None:
    data = load(config(image_folder({"": 6}, classes=("car", "train"))))
    assert data.class_names == ("car", "train")
    assert len(data.train) + len(data.test) == 12


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

    monkeypatch.setattr("convsmith.data.cache.read_source", never)
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
    assert f"the SHA-256 of {name} differs" in message
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
        ([0, 10**9] * 5, "found labels up to 1,000,000,000 for 10 images"),
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
    assert "no file was changed" in message
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


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("data_batch_1", "pickles can run code and are not supported: name a folder"),
        ("test_batch", "for example data.source=cifar10"),
        ("cifar-10-python.tar.gz", "archives are not supported: unpack it, and name a folder"),
        ("cifar-10-binary.tgz", "for example data.source=cifar10"),
        ("train-images-idx3-ubyte.gz", "data.source=mnist"),
        ("cats.zip", "archives are not supported"),
        ("cats.npz", "arrays are not supported"),
        ("cats.pkl", "pickles can run code and are not supported"),
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
    assert data.location == str(root.resolve())
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


def test_digits_of_the_cache_are_those_of_scikit_learn() -> None:
    data = load(config("digits"))
    ours = np.concatenate([data.train.images, data.test.images])[..., 0]
    theirs = load_digits().images
    assert sorted(map(bytes, ours)) == sorted(
        bytes(np.rint(image * 255 / 16).astype(np.uint8)) for image in theirs
    )
