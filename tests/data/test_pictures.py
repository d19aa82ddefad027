"""Images beside tables and lists: every layout gives the images and labels that it was made of."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.data.dataset import ImageDataset, load
from convsmith.data.split_files import split_files
from helpers.faults import TINY
from helpers.packed import packed
from helpers.sources import classes, config, problems, tree

# Of each image: its grey, by which it is known, and its class.
Truth = dict[str, tuple[int, str]]
NAMES = ("cat", "dog", "emu")


def pictures(root: Path, pattern: str, count: int = 12, start: int = 0) -> Truth:
    """Write images of the classes in turn; `pattern` has the number of an image and its class."""
    truth = {}
    for number in range(start, start + count):
        name = NAMES[number % len(NAMES)]
        path = root / pattern.format(number=number, name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 2 * number).save(path, format="PNG")
        truth[str(path.relative_to(root))] = (2 * number, name)
    return truth


def write(path: Path, rows: Sequence[Sequence[object]], separator: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)


def labels(data: ImageDataset) -> dict[int, str]:
    """Return the class of each image by its grey."""
    found = {}
    for split in data.splits.values():
        for image, label in zip(split.images, split.labels, strict=True):
            found[int(np.asarray(image)[0, 0, 0])] = data.class_names[label]
    return found


def check(source: Path, truth: Mapping[str, tuple[int, str]], **options: object) -> ImageDataset:
    """Check images, labels and file names of a data set; return it."""
    data = load(config(source, test_fraction=0.5, **options))
    assert labels(data) == dict(truth.values())
    assert sum(map(len, data.splits.values())) == len(truth)
    if source.is_dir():
        listed = split_files(config(source, test_fraction=0.5, **options))
        assert {file: data.class_names[label] for each in listed.values() for file, label in each} == {
            file: name for file, (_, name) in truth.items()
        }
    return data


VALUES: dict[str, Callable[[Path, str], str]] = {
    "relative": lambda root, file: file,
    "name": lambda root, file: Path(file).name,
    "stem": lambda root, file: Path(file).stem,
    "dotted": lambda root, file: f"./{file}",
    "absolute": lambda root, file: str(root / file),
    "elsewhere": lambda root, file: f"/home/ada/photos/{file}",
    "windows": lambda root, file: "C:\\photos\\" + file.replace("/", "\\"),
    "upper": lambda root, file: file.upper(),
    "other suffix": lambda root, file: str(Path(file).with_suffix(".jpg")),
    "up": lambda root, file: f"images/../{file}",
}


@pytest.mark.parametrize("value", list(VALUES))
@pytest.mark.parametrize(
    "pattern", ["{number}.png", "images/a photo {number:03}.PNG", "part {number}/deep/x{number}.png"]
)
def test_paths_in_a_table(value: str, pattern: str, tmp_path: Path) -> None:
    truth = pictures(tmp_path, pattern)
    rows = [(name, VALUES[value](tmp_path, file), "x") for file, (_, name) in truth.items()]
    write(tmp_path / "labels.csv", [("label", "file", "note"), *rows])
    data = check(tmp_path, truth)
    assert data.layout.description == "images with labels.csv (columns file, label)"
    assert data.layout.left_out == {}
    assert data.test_is_split_off


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_dialects_of_csv(separator: str, ending: str, encoding: str, tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number} \u00e9, x.png")
    rows = [f'"{file}"{separator} {name} ' for file, (_, name) in truth.items()]
    text = ending.join([f"path{separator}class", *rows, "", ""])
    (tmp_path / "table.csv").write_bytes(text.encode(encoding))
    check(tmp_path, truth)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_table_without_a_header(suffix: str, header: bool, tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number}.png")
    rows = [(file, NAMES.index(name)) for file, (_, name) in truth.items()]
    write(
        tmp_path / f"t{suffix}", [*([("f", "c")] if header else []), *rows], "\t" if suffix == ".tsv" else ","
    )
    data = load(config(tmp_path, test_fraction=0.5))
    assert {grey: NAMES[int(name)] for grey, name in labels(data).items()} == dict(truth.values())


JSONS: dict[str, Callable[[Truth], object]] = {
    "objects": lambda truth: [
        {"image": file, "label": name, "size": {"w": 4}} for file, (_, name) in truth.items()
    ],
    "wrapped": lambda truth: {
        "version": 1,
        "samples": [{"file": Path(file).stem, "class": [name]} for file, (_, name) in truth.items()],
    },
    "by path": lambda truth: {file: name for file, (_, name) in truth.items()},
    "by class": lambda truth: {
        name: [file for file, (_, each) in truth.items() if each == name] for name in NAMES
    },
    "pairs": lambda truth: [[file, name] for file, (_, name) in truth.items()],
    "coco": lambda truth: {
        "images": [{"id": 7 * at, "file_name": Path(file).name} for at, file in enumerate(truth)],
        "annotations": [
            {"id": at, "image_id": 7 * (at // 2), "category_id": 3 + NAMES.index(name), "bbox": [0, 0, 1, 1]}
            for at, (_, name) in enumerate(each for each in truth.values() for _ in range(2))
        ],
        "categories": [
            {"id": 1, "name": "animal"},
            *({"id": 3 + at, "name": each} for at, each in enumerate(NAMES)),
        ],
    },
}


@pytest.mark.parametrize("kind", list(JSONS))
def test_json(kind: str, tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number}.png")
    (tmp_path / "annotations.json").write_text(json.dumps(JSONS[kind](truth)))
    data = check(tmp_path, truth)
    assert "images with annotations.json" in data.layout.description


def test_json_lines(tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number}.png")
    lines = [json.dumps({"file_name": file, "label": name}) for file, (_, name) in truth.items()]
    (tmp_path / "metadata.jsonl").write_text("\n".join([*lines, "", ""]))
    check(tmp_path, truth)


@pytest.mark.parametrize(
    "names", [("train.csv", "test.csv"), ("meta/Training_set.csv", "meta/Testing_set.csv")]
)
def test_a_table_for_each_split(names: tuple[str, str], tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number}.png", 12)
    others = pictures(tmp_path, "images/{number}.png", 6, start=12)
    for name, each in zip(names, (truth, others), strict=True):
        rows = [(Path(file).name, label) for file, (_, label) in each.items()]
        write(tmp_path / name, [("filename", "category"), *rows])
    data = check(tmp_path, truth | others)
    assert (len(data.train), len(data.test)) == (12, 6)
    assert not data.test_is_split_off
    assert f"images with {names[0]} and {names[1]}" in data.layout.description


def test_tables_and_images_in_the_folders_of_their_splits(tmp_path: Path) -> None:
    expected: Truth = {}
    for split, count in (("train", 12), ("valid", 6), ("test", 9)):
        truth = pictures(tmp_path, split + "/img{number}.png", count, start=len(expected))
        # The same names in every folder.
        rows = []
        for at, (file, (_, name)) in enumerate(truth.items()):
            (tmp_path / file).rename(tmp_path / split / f"{at}.png")
            rows.append((f"{at}.png", name))
            expected[f"{split}/{at}.png"] = truth[file]
        write(tmp_path / split / "_labels.csv", [("file", "label"), *rows])
    data = check(tmp_path, expected, validation="split")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 12,
        "validation": 6,
        "test": 9,
    }
    data = load(config(tmp_path))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 12, "test": 9}
    assert data.layout.left_out == {"an image that no table names": 6, "not an image: suffix .csv": 1}


@pytest.mark.parametrize("inside", [False, True])
def test_a_column_of_splits(inside: bool, tmp_path: Path) -> None:
    truth = pictures(tmp_path, "{number}.png")
    rows, moved = [("id", "split", "label", "fold")], {}
    for at, (file, (grey, name)) in enumerate(truth.items()):
        split = ("train", "train", "test", "val")[at // 3]
        # Inside, names are those of an image in each folder.
        place = f"{split}/{at % 3}.png" if inside else f"images/{file}"
        (tmp_path / place).parent.mkdir(exist_ok=True)
        if (tmp_path / place).exists():
            place = f"{split}/{at}.png"
        (tmp_path / file).rename(tmp_path / place)
        moved[place] = (grey, name, split)
        rows.append((Path(place).stem, split, name, str(at % 5)))
    write(tmp_path / "all.csv", rows)
    data = check(
        tmp_path, {file: (grey, name) for file, (grey, name, _) in moved.items()}, validation="split"
    )
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 6,
        "validation": 3,
        "test": 3,
    }
    assert "splits by the column split" in data.layout.description
    data = load(config(tmp_path))
    assert data.layout.left_out == {"in the split val": 3}


def test_splits_by_the_folders_of_the_images(tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/train/{number}.png", 12)
    others = pictures(tmp_path, "images/test/{number}.png", 6, start=12)
    every = truth | others
    write(
        tmp_path / "labels.csv",
        [("file", "label"), *((Path(file).name, name) for file, (_, name) in every.items())],
    )
    data = check(tmp_path, every)
    assert (len(data.train), len(data.test)) == (12, 6)
    assert "splits by the folders of the images" in data.layout.description


@pytest.mark.parametrize(
    "kind", ["path", "without suffix", "path label", "label path", "quoted spaces", "comma"]
)
def test_lists_of_paths(kind: str, tmp_path: Path) -> None:
    pattern = "images/{name}/a b {number}.png" if kind == "quoted spaces" else "images/{name}/{number}.png"
    truth = pictures(tmp_path, pattern, 12)
    others = pictures(tmp_path, pattern, 6, start=12)
    for split, each in (("train", truth), ("test", others)):
        lines = []
        for file, (_, name) in each.items():
            short = file.removeprefix("images/")
            lines.append(
                {
                    "path": short,
                    "without suffix": short.removesuffix(".png"),
                    "path label": f"{file} {NAMES.index(name)}",
                    "label path": f"{name} {file}",
                    "quoted spaces": f"{file} {name}",
                    "comma": f"{file},{name}",
                }[kind]
            )
        (tmp_path / "meta").mkdir(exist_ok=True)
        (tmp_path / "meta" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "meta" / "classes.txt").write_text("\n".join(NAMES) + "\n")
    data = check(tmp_path, truth | others)
    assert (len(data.train), len(data.test)) == (12, 6)
    assert "meta/train.txt and meta/test.txt" in data.layout.description


def test_food_101(tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{name}/{number}.png", 12)
    others = pictures(tmp_path, "images/{name}/{number}.png", 6, start=12)
    for split, each in (("train", truth), ("test", others)):
        short = [file.removeprefix("images/").removesuffix(".png") for file in each]
        (tmp_path / "meta").mkdir(exist_ok=True)
        (tmp_path / "meta" / f"{split}.txt").write_text("\n".join(short))
        by_class = {name: [file for file in short if file.startswith(name)] for name in NAMES}
        (tmp_path / "meta" / f"{split}.json").write_text(json.dumps(by_class))
    (tmp_path / "meta" / "classes.txt").write_text("\n".join(NAMES))
    (tmp_path / "meta" / "labels.txt").write_text("\n".join(map(str.title, NAMES)))
    (tmp_path / "README.txt").write_text("Food of 3 classes.\nSee images/ and meta/.\n")
    (tmp_path / "license_agreement.txt").write_text("You may use it.")
    data = check(tmp_path, truth | others)
    assert (len(data.train), len(data.test)) == (12, 6)
    assert data.layout.description == "images with meta/train.json and meta/test.json (columns file, label)"


NUMBERED: dict[str, Callable[[int], str]] = {
    "classes.txt": lambda first: "\n".join([*([] if first == 1 else [""] * first), *NAMES]),
    "names.txt": lambda first: "\n".join(f"{at}: {name}" for at, name in enumerate(NAMES, first)),
    "class_names.txt": lambda first: "\n".join(f"{name} {at}" for at, name in enumerate(NAMES, first)),
    "classes.csv": lambda first: (
        "ClassId,SignName\n" + "\n".join(f"{at},{name}" for at, name in enumerate(NAMES, first))
    ),
    "labels.csv": lambda first: "\n".join(f"{at};{name}" for at, name in enumerate(NAMES, first)),
    "class_names.json": lambda first: json.dumps({str(at): name for at, name in enumerate(NAMES, first)}),
    "labels.json": lambda first: json.dumps({name: at for at, name in enumerate(NAMES, first)}),
}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("file", list(NUMBERED))
@pytest.mark.parametrize("kind", ["folders", "table"])
def test_numbers_with_names_in_a_file(kind: str, file: str, first: int, tmp_path: Path) -> None:
    truth = pictures(tmp_path, "{name}/{number}.png" if kind == "folders" else "images/{number}.png")
    (tmp_path / file).write_text(NUMBERED[file](first))
    number = {name: f"{at:05}" if kind == "folders" else str(at) for at, name in enumerate(NAMES, first)}
    if kind == "folders":
        for name in NAMES:
            (tmp_path / name).rename(tmp_path / number[name])
        truth = {f"{number[name]}/{Path(path).name}": (grey, name) for path, (grey, name) in truth.items()}
    else:
        write(
            tmp_path / "all.csv",
            [("image", "class"), *((path, number[name]) for path, (_, name) in truth.items())],
        )
    data = check(tmp_path, truth)
    assert data.class_names == NAMES
    assert any(f"the names of the classes are from {file}" in note for note in data.layout.notes)
    assert file in data.layout.description


def test_folders_by_number_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    tree(tmp_path, *classes("", [str(number) for number in range(12)]))
    assert load(config(tmp_path, test_fraction=0.5)).class_names == tuple(sorted(map(str, range(12))))
    (tmp_path / "classes.txt").write_text("\n".join(f"name {number}" for number in range(12)))
    data = load(config(tmp_path, test_fraction=0.5))
    assert data.class_names == tuple(f"name {number}" for number in range(12))
    (tmp_path / "7" / "0.png").unlink()
    (tmp_path / "7" / "1.png").unlink()
    assert f"{tmp_path}/7: no training images of 'name 7'" in problems(tmp_path)


def test_names_of_classes_that_do_not_fit(tmp_path: Path) -> None:
    tree(tmp_path, *classes("", ("0", "1", "2")))
    (tmp_path / "classes.txt").write_text("0 cat\n2 dog\n")
    message = problems(tmp_path)
    assert f"{tmp_path}/classes.txt: found no name for 1 of 3 classes, the first is 1" in message
    assert "such as 0,cat" in message
    (tmp_path / "classes.txt").write_text("0 cat\n1 dog\n2 cat\n")
    assert "one name for the classes 0 and 2: 'cat'" in problems(tmp_path)


def test_numbers_are_named_after_folders_only_if_the_recipe_has_no_names(tmp_path: Path) -> None:
    truth = pictures(tmp_path, "{name}/{number}.png")
    write(tmp_path / "train.txt", [(file, NAMES.index(name)) for file, (_, name) in truth.items()], " ")
    data = check(tmp_path, truth)
    assert data.class_names == NAMES


FLAGS: dict[str, Callable[[int], tuple[object, ...]]] = {
    "is_train": lambda at: (int(at < 8),),
    "isTest": lambda at: (at >= 8,),
    "is_valid": lambda at: (str(at >= 8).upper(),),
    "train_test_split": lambda at: (int(at < 8),),
    "train": lambda at: (float(at < 8),),
    "is_train,is_test": lambda at: (int(at < 8), int(at >= 8)),
    "train,val,test": lambda at: (int(at < 8), 0, int(at >= 8)),
}


@pytest.mark.parametrize("names", FLAGS)
def test_columns_of_0_and_1_are_splits(names: str, tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number}.png")
    rows = [(file, name, *FLAGS[names](at)) for at, (file, (_, name)) in enumerate(truth.items())]
    write(tmp_path / "labels.csv", [("file", "label", *names.split(",")), *rows])
    data = check(tmp_path, truth)
    assert (len(data.train), len(data.test)) == (8, 4)
    assert sorted(int(np.asarray(image)[0, 0, 0]) for image in data.test.images) == [16, 18, 20, 22]
    assert ", splits by the column" in data.layout.description
    assert all(name in data.layout.description for name in names.split(",") if name != "val")


def test_columns_of_0_and_1_for_a_validation_split(tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number}.png", 18)
    rows = [(file, name, int(at < 6), int(at >= 12)) for at, (file, (_, name)) in enumerate(truth.items())]
    write(tmp_path / "labels.csv", [("file", "label", "is_val", "is_test"), *rows])
    data = load(config(tmp_path, validation="split"))
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 6, "validation": 6, "test": 6,
    }  # fmt: skip
    write(tmp_path / "labels.csv", [("file", "label", "is_val", "is_test"), *rows[1:], (*rows[0][:3], 1)])
    message = problems(tmp_path)
    assert "the columns is_val, is_test give line 19 several splits" in message
    assert "fix: give each row one split" in message


def test_columns_of_0_and_1_that_are_labels(tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number}.png")
    kinds = {file: ("train" if at % 2 else "bus") for at, file in enumerate(truth)}
    rows = [(file, int(kind == "train"), int(kind == "bus")) for file, kind in kinds.items()]
    write(tmp_path / "labels.csv", [("file", "train", "bus"), *rows])
    assert "the columns train, bus are one-hot" in problems(tmp_path)
    write(tmp_path / "labels.csv", [("file", "train"), *(row[:2] for row in rows)])
    assert load(config(tmp_path, test_fraction=0.5)).class_names == ("0", "1")
    # Beside class folders it is no class of its own.
    write(tmp_path / "labels.csv", [("file", "label", "is_train"), *((*row[:2], 1) for row in rows)])
    assert load(config(tmp_path, test_fraction=0.5)).class_names == ("0", "1")


def write_cub(root: Path, truth: Truth, *, at_top: bool = False) -> None:
    """Write the lists of CUB-200-2011, in its formats."""
    folders = {name: f"{number:03}.{name.title()}" for number, name in enumerate(NAMES, 1)}
    (root / "attributes").mkdir(parents=True)
    (root / "parts").mkdir()
    (root / "attributes" / "attributes.txt").write_text("1 has_bill_shape::curved\n2 has_bill_shape::all\n")
    numbered = list(enumerate(truth.items(), 1))
    lists = {
        "images.txt": [f"{at} {file.removeprefix('images/')}" for at, (file, _) in numbered],
        "image_class_labels.txt": [f"{at} {NAMES.index(name) + 1}" for at, (_, (_, name)) in numbered],
        "train_test_split.txt": [f"{at} {int(at <= 12)}" for at, _ in numbered],
        "classes.txt": [f"{at} {folders[name]}" for at, name in enumerate(NAMES, 1)],
        "bounding_boxes.txt": [f"{at} 0.0 0.0 {4 + at % 3}.0 4.0" for at, _ in numbered],
        "parts/part_locs.txt": [f"{at} {part} 1.0 1.0 1" for at, _ in numbered for part in (1, 2)],
    }
    for file, lines in lists.items():
        (root / file).write_text("\n".join(lines) + "\n")
    (root / "README").write_text("text")


@pytest.mark.parametrize("flat", [False, True])
def test_cub_200(flat: bool, tmp_path: Path) -> None:
    """Lists by the number of an image: paths, labels and splits, beside class folders or none."""
    root = tmp_path / "CUB_200_2011"
    folders = {name: f"{number:03}.{name.title()}" for number, name in enumerate(NAMES, 1)}
    pattern = "images/p{number}.jpg" if flat else "images/{name}/{name}_{number:04}.jpg"
    truth = pictures(root, pattern, 18)
    if not flat:
        for name, folder in folders.items():
            (root / "images" / name).rename(root / "images" / folder)
        truth = {
            file.replace(f"images/{name}", f"images/{folders[name]}"): (grey, name)
            for file, (grey, name) in truth.items()
        }
    write_cub(root, truth)
    expected = {f"CUB_200_2011/{file}": (grey, folders[name]) for file, (grey, name) in truth.items()}
    data = check(tmp_path, expected)
    assert data.class_names == tuple(folders.values())
    assert (len(data.train), len(data.test)) == (12, 6)
    assert sorted(int(np.asarray(image)[0, 0, 0]) for image in data.test.images) == list(range(24, 36, 2))
    lists = "images with CUB_200_2011/images.txt (columns file, image_class_labels), splits by the column "
    assert f"{lists}train_test_split" in data.layout.description
    archive = load(config(packed(tmp_path / "CUB_200_2011", ".tar.gz", wrapped=True), test_fraction=0.5))
    assert archive.fingerprint == data.fingerprint


@pytest.mark.parametrize("names", [("train.txt", "val.txt"), ("splits/train.txt", "splits/test.txt")])
def test_lists_of_the_splits_beside_one_table_of_labels(names: tuple[str, str], tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number}.png", 18)
    files = list(truth)
    write(tmp_path / "labels.csv", [("image", "label"), *((file, name) for file, (_, name) in truth.items())])
    for name, part in zip(names, (files[:12], files[12:]), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("\n".join(part) + "\n")
    data = check(tmp_path, truth)
    assert (len(data.train), len(data.test)) == (12, 6)
    assert data.layout.left_out == {}
    # A list may have fewer images, but none without a label.
    (tmp_path / names[0]).write_text("\n".join(files[:9]) + "\n")
    assert len(load(config(tmp_path)).train) == 9
    write(tmp_path / "labels.csv", [("image", "label"), *((file, truth[file][1]) for file in files[3:])])
    assert "found several tables of images" in problems(tmp_path)


def test_lists_of_one_class_each_as_of_voc_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit" / "VOC2007"
    files = [f"{number:06}" for number in range(12)]
    tree(root, *(f"JPEGImages/{file}.jpg" for file in files), "SegmentationClass/000001.png")
    (root / "Annotations").mkdir()
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    # A third of the images has two classes.
    positive = {"cat": {0, 1}, "dog": {1, 2, 3}}
    for split, part in (("train", files[:6]), ("val", files[6:])):
        (lists / f"{split}.txt").write_text("\n".join(part) + "\n")
        for name, chosen in positive.items():
            lines = [f"{file} {1 if at % 4 in chosen else -1:2d}" for at, file in enumerate(part)]
            (lists / f"{name}_{split}.txt").write_text("\n".join(lines) + "\n")
    message = problems(tmp_path)
    assert "found a list for each of the classes cat, dog" in message
    assert "as PASCAL VOC has: an image can have several classes, as 4 of 12 have" in message
    assert f"{lists}: " in message
    assert 'data.table="labels.csv"' in message


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_tables_in_archives(suffix: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    truth = pictures(root, "images/{number}.png")
    write(root / "labels.csv", [("file", "label"), *((file, name) for file, (_, name) in truth.items())])
    for wrapped in (False, True):
        archive = packed(root, suffix, wrapped=wrapped)
        data = check(archive, truth)
        assert data.fingerprint == load(config(root, test_fraction=0.5)).fingerprint
        assert data.layout.description.startswith("an archive of images with ")


def test_a_table_as_the_source_and_one_outside(tmp_path: Path) -> None:
    root = tmp_path / "set"
    truth = pictures(root, "images/{number}.png")
    rows = [("file", "label", "colour"), *((file, name, "x") for file, (_, name) in truth.items())]
    write(root / "one.csv", rows)
    other = [
        (file, {"cat": "big", "dog": "big", "emu": "small"}.get(name, name), "x") for file, name, _ in rows
    ]
    write(root / "two.csv", other)
    assert "found several tables of images: one.csv (12 rows), two.csv (12 rows)" in problems(root)
    assert 'data.table="one.csv"' in problems(root)
    check(root / "one.csv", truth)
    check(root, truth, table="one.csv")
    assert check(root, truth, table=str(root / "one.csv")).location == str(root)
    assert load(config(root / "two.csv", test_fraction=0.5)).class_names == ("big", "small")
    (root / "one.csv").rename(tmp_path / "outside.csv")
    check(
        root / "images",
        {Path(file).name: each for file, each in truth.items()},
        table=str(tmp_path / "outside.csv"),
    )
    # The cache knows the content of a table outside.
    write(tmp_path / "outside.csv", other)
    assert load(
        config(root / "images", table=str(tmp_path / "outside.csv"), test_fraction=0.5)
    ).class_names == (
        "big",
        "small",
    )
    message = problems(root, table="three.csv")
    assert "data.table=three.csv: no such table" in message
    assert "two.csv" in message


def test_groups_of_a_table(tmp_path: Path) -> None:
    truth = pictures(tmp_path, "images/{number}.png", 24)
    rows = [(Path(file).stem, name, f"patient {grey // 12}") for file, (grey, name) in truth.items()]
    write(tmp_path / "labels.csv", [("image_id", "label", "patient"), *rows])
    for group, count in (("patient", 4), (r"^(\d)", 10)):
        data = load(config(tmp_path, test_fraction=0.5, group=group))
        assert data.grouping is not None
        assert data.grouping.groups == count


def test_a_run_of_a_table_is_predicted_resumed_and_ejected(tmp_path: Path) -> None:
    root = tmp_path / "set"
    truth = pictures(root, "images/{number}.png", 36)
    write(root / "labels.csv", [("file", "label"), *((file, name) for file, (_, name) in truth.items())])
    recipe = cs.load_recipe("digits", f"data.source={root}", *TINY)
    run = cs.train(recipe, runs=tmp_path / "runs").folder
    record = json.loads((run / "data.json").read_text())
    assert record["layout"] == "images with labels.csv (columns file, label)"
    assert "layout: images with labels.csv (columns file, label)" in (run / "log.txt").read_text()
    assert json.loads((run / "results.json").read_text())["prediction_check"]["agrees"] is True
    cs.resume(run, epochs=2)
    cs.eject(run, tmp_path / "project", execute=False)
    listed = next((tmp_path / "project").rglob("files.csv")).read_text().splitlines()
    assert len(listed) == 37
    assert sum(line.endswith(",cat,images/0.png") for line in listed) == 1


def test_spellings_of_a_class_are_one_on_request(tmp_path: Path) -> None:
    root = tmp_path / "set"
    truth = pictures(root, "images/{number}.png", count=15)
    # Three cats and two CATs, whose name the fewer images have.
    rows = [("file", "label"), *((file, name) for file, (_, name) in truth.items())]
    for number in (1, 4):
        rows[number] = (rows[number][0], rows[number][1].upper())
    write(root / "labels.csv", rows)
    question = (
        "classes that differ only in case, spaces or separators: 'CAT', 'cat'; data.merge_spellings=true"
    )
    apart = load(config(root, test_fraction=0.5))
    assert apart.class_names == ("CAT", "cat", "dog", "emu")
    assert any(note.startswith(question) for note in apart.layout.notes)
    data = check(root, truth, merge_spellings=True)
    assert data.class_names == NAMES
    assert "one class: 'CAT', 'cat' are 'cat'" in data.layout.notes
    assert not any(note.startswith("classes that differ") for note in data.layout.notes)
    # Other data are as they are without the setting.
    assert load(config(root, test_fraction=0.5)).class_names == ("CAT", "cat", "dog", "emu")


def test_splits_may_spell_a_class_differently_on_request(tmp_path: Path) -> None:
    root = tree(tmp_path, *classes("train", ("big cat", "dog")), *classes("test", ("Big_Cat", "dog")))
    assert "or data.merge_spellings=true joins them" in problems(root)
    data = load(config(root, merge_spellings=True))
    assert data.class_names == ("big cat", "dog")
    assert sorted(data.test.labels) == [0, 0, 1, 1]


def test_the_question_suggests_the_likely_table_and_column(tmp_path: Path) -> None:
    root = tmp_path / "set"
    truth = pictures(root, "images/{number}.png")
    few = [
        ("user.id", "file", "emotion"),
        *((number % 2, file, name) for number, (file, (_, name)) in enumerate(truth.items())),
    ]
    write(root / "a_few.csv", few[:7])
    write(root / "legend.csv", few)
    assert 'name one: data.table="legend.csv"' in problems(root)
    (root / "a_few.csv").unlink()
    assert "2 columns could be the labels: emotion (" in problems(root)
    assert 'data.label_column="emotion"' in problems(root)
