"""Tables of labels with mistakes: each answer says what is wrong, where, and what to write."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from convsmith.data.checks.verify import verify
from convsmith.data.dataset import load
from helpers.sources import classes, config, problems, tree


def images(root: Path, count: int = 12, pattern: str = "images/{}.png") -> list[str]:
    files = [pattern.format(number) for number in range(count)]
    tree(root, *files)
    return files


def table(root: Path, rows: Sequence[Sequence[object]], name: str = "labels.csv") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return root


def halves(at: int) -> str:
    return "ab"[at % 2]


def simple(root: Path, label: Callable[[int], object] = halves, name: str = "labels.csv") -> Path:
    rows = [(file, label(at)) for at, file in enumerate(images(root))]
    return table(root, [("file", "label"), *rows], name)


def test_files_that_the_folder_lacks_are_counted(tmp_path: Path) -> None:
    simple(tmp_path)
    for number in (1, 2, 4, 5, 8, 9, 10):
        (tmp_path / "images" / f"{number}.png").unlink()
    message = problems(tmp_path)
    first = "images/1.png, images/2.png, images/4.png, images/5.png, images/8.png and 2 more"
    assert f"found no files for 7 rows of a table: {first}" in message
    assert "labels.csv, line 3" in message
    assert "data.skip_damaged=true" in message
    issues = verify(config(tmp_path)).issues
    assert [(each.kind, each.file) for each in issues[:7]] == [
        ("missing", f"images/{number}.png") for number in (1, 2, 4, 5, 8, 9, 10)
    ]
    assert "labels.csv, line 12, and there is no such file" in issues[6].reason
    data = load(config(tmp_path, skip_damaged=True, test_fraction=0.5))
    assert len(data.train) + len(data.test) == 5
    assert len(data.dropped) == 7


def test_images_that_no_table_names_are_counted(tmp_path: Path) -> None:
    simple(tmp_path)
    tree(tmp_path, "images/90.png", "more/91.png", "notes.txt")
    layout = load(config(tmp_path, test_fraction=0.5)).layout
    assert layout.left_out == {"an image that no table names": 2, "not an image: suffix .txt": 1}


def test_paths_that_lead_out_are_never_read(tmp_path: Path) -> None:
    tree(tmp_path, "secret.png")
    root = tmp_path / "set"
    rows = [(file, "ab"[at % 2]) for at, file in enumerate(images(root))]
    for text in ("../secret.png", "images/../../secret.png", str(tmp_path / "secret.png"), "/etc/passwd"):
        table(root, [("file", "label"), *rows, (text, "a")])
        assert f"no files for 1 row of a table: {text}" in problems(root)
        assert len(load(config(root, skip_damaged=True, test_fraction=0.5)).dropped) == 1
    assert "leads out of the source" in problems(
        table(root, [("file", "label"), *rows, ("../secret.png", "a")])
    )


@pytest.mark.parametrize(
    ("label", "what", "fix"),
    [
        (lambda at: at / 8, "have fractions, such as 0.125 in line 3", "classes are texts or whole numbers"),
        (lambda at: -1 if at == 4 else at % 2, "label -1, expected 0 to 1", "data.skip_damaged=true"),
        (lambda at: "" if at == 4 else at % 2, "label None, expected 0 to 1", "data.skip_damaged=true"),
        (lambda at: -1 - at % 2, "found no label of a class, the first is -1", "data.label_column=NAME"),
        (lambda at: 5 * (at % 2) + 1, "no training images of '0'", "numbers have no gaps"),
        (lambda at: at % 2 * 10**6, "found labels up to 1,000,000 for 12 images", "data.label_column=NAME"),
        (lambda at: halves(at) if at else "a|b", "1 of 12 images have several labels", "one label an image"),
        (lambda at: "a", "found one class, 'a', expected at least two", "data.label_column=NAME"),
    ],
)  # fmt: skip
def test_labels_that_are_no_classes(
    label: Callable[[int], object], what: str, fix: str, tmp_path: Path
) -> None:
    simple(tmp_path, label)
    message = problems(tmp_path)
    assert what in message
    assert fix in message


def test_one_hot_columns(tmp_path: Path) -> None:
    files = images(tmp_path)
    rows = [(file, *(int(at % 3 == each) for each in range(3))) for at, file in enumerate(files)]
    table(tmp_path, [("image", "MEL", "NV", "BCC"), *rows])
    message = problems(tmp_path)
    assert "the columns MEL, NV, BCC are one-hot" in message
    assert 'data.label_columns=["MEL", "NV", "BCC"]' in message
    data = load(config(tmp_path, label_columns=["MEL", "NV", "BCC"], test_fraction=0.5))
    assert data.class_names == ("MEL", "NV", "BCC")
    assert data.layout.description == "images with labels.csv (columns image, MEL, NV, BCC)"
    table(tmp_path, [("image", "MEL", "NV", "BCC"), *rows[:-1], (files[-1], 1, 1, 0)])
    assert "line 13 has 2 ones in the columns MEL, NV, BCC" in problems(
        tmp_path, label_columns=["MEL", "NV", "BCC"]
    )
    assert "3 columns could be the labels" in problems(tmp_path)
    assert "no column 'NX'" in problems(tmp_path, label_columns=["MEL", "NX"])


def test_ambiguous_columns_are_a_question(tmp_path: Path) -> None:
    files = images(tmp_path)
    tree(tmp_path, *(f"masks/m{at}.png" for at in range(12)))
    rows = [
        (file, f"m{at}.png", "ab"[at % 2], "xyz"[at % 3], at % 4, f"p{at}") for at, file in enumerate(files)
    ]
    table(tmp_path, [("image", "mask", "kind", "colour", "age", "patient"), *rows])
    message = problems(tmp_path)
    assert "2 columns name images: image, mask" in message
    assert 'data.image_column="image"' in message
    message = problems(tmp_path, image_column="image")
    assert "3 columns could be the labels: kind (a, b), colour (x, y, z), age (0, 1, 2, 3)" in message
    assert 'data.label_column="kind"' in message
    for name, expected in (("kind", ("a", "b")), ("colour", ("x", "y", "z")), ("age", ("0", "1", "2", "3"))):
        data = load(config(tmp_path, image_column="image", label_column=name, test_fraction=0.5))
        assert data.class_names == expected
        assert data.layout.left_out == {"an image that no table names": 12}
    assert "no column 'kinds', found image, mask, kind" in problems(
        tmp_path, image_column="image", label_column="kinds"
    )
    assert "did you mean 'kind'?" in problems(tmp_path, image_column="image", label_column="kinds")
    assert "no column 'pic'" in problems(tmp_path, image_column="pic")


def test_columns_that_say_the_same_are_one(tmp_path: Path) -> None:
    rows = [(file, at % 3, ("cat", "dog", "emu")[at % 3]) for at, file in enumerate(images(tmp_path))]
    table(tmp_path, [("file", "class_id", "class_name"), *rows])
    assert load(config(tmp_path, test_fraction=0.5)).class_names == ("cat", "dog", "emu")


def test_a_class_that_one_split_lacks(tmp_path: Path) -> None:
    rows = [(file, "abc"[at % 3]) for at, file in enumerate(images(tmp_path))]
    table(tmp_path, [("file", "label"), *rows[:9]], "train.csv")
    table(tmp_path, [("file", "label"), *(row for row in rows[9:] if row[1] != "c")], "test.csv")
    assert (
        "the test split has no images of 'c', which cannot be scored" in load(config(tmp_path)).layout.notes
    )
    table(tmp_path, [("file", "label"), *rows[9:]], "test.csv")
    table(tmp_path, [("file", "label"), *(row for row in rows[:9] if row[1] != "c")], "train.csv")
    assert "no training images of 'c'" in problems(tmp_path)


def test_a_test_table_without_labels_is_left_out(tmp_path: Path) -> None:
    rows = [(file, "ab"[at % 2]) for at, file in enumerate(images(tmp_path))]
    table(tmp_path, [("id", "label"), *rows[:8]], "train.csv")
    table(tmp_path, [("id",), *((file,) for file, _ in rows[8:])], "test.csv")
    table(tmp_path, [("id", "label"), *((file, "a") for file, _ in rows[8:])], "sample_submission.csv")
    data = load(config(tmp_path, test_fraction=0.5))
    assert len(data.train) + len(data.test) == 8
    assert "test.csv names images without labels, and is not read" in data.layout.notes
    assert data.layout.left_out["an image that no table names"] == 4


def test_rows_that_repeat_and_contradict(tmp_path: Path) -> None:
    simple(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("images/0.png,a\nimages/0.png,a\n")
    data = load(config(tmp_path, test_fraction=0.5))
    assert len(data.train) + len(data.test) == 12
    assert "2 rows of the tables repeat another one" in data.layout.notes
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("images/0.png,b\nimages/3.png,a\n")
    message = problems(tmp_path)
    assert "images/0.png: bad label: contradicting labels: 'a' in line 2, 'b' in line 16" in message
    assert "images/3.png: bad label: contradicting labels: 'b' in line 5, 'a' in line 17" in message
    assert len(load(config(tmp_path, skip_damaged=True, test_fraction=0.5)).dropped) == 2


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"file,label\nimages/0.png,a\nimages/1.png;b\nimages/2.png,a\n", "line 3 has 1 column, expected 2"),
        (
            b"file,label\nimages/0.png,a\nimages/1.png,b,c\nimages/2.png,a\n",
            "line 3 has 3 columns, expected 2",
        ),
        (b"file,label\nimages/0.png,caf\xe9\nimages/1.png,b\n", "no UTF-8 text: line 2 has the byte e9"),
        (
            b"file,label\nphotos/x.jpg,a\nphotos/y.jpg,b\n",
            "images beside labels.csv: images in no class folders",
        ),
        (b"", "images beside labels.csv: images in no class folders"),
        (b"\x00\x01\x02", "images beside labels.csv"),
    ],
)
def test_damaged_tables(content: bytes, what: str, tmp_path: Path) -> None:
    images(tmp_path)
    (tmp_path / "labels.csv").write_bytes(content)
    message = problems(tmp_path)
    assert what in message
    assert "fix: " in message
    assert "labels.csv" in problems(tmp_path, table="labels.csv")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("[{", "cannot be read as a table"),
        ('[{"file": "images/0.png", "file": "x"}]', "duplicate key 'file'"),
        ("[" * 200 + "]" * 200, "200 levels of nesting"),
        ('[{"file": "images/0.png"}, 3]', "images beside labels.json"),
        (json.dumps({"images": [{"id": 1}], "annotations": [], "categories": []}), "do not fit together"),
        (
            json.dumps(
                {
                    "images": [{"id": at, "file_name": f"{at}.png"} for at in range(4)],
                    "annotations": [{"image_id": at // 2, "category_id": at % 2} for at in range(8)],
                    "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
                }
            ),
            "4 of 4 images have several labels, the first in entry 1: a, b",
        ),
        (
            json.dumps([{"file": f"images/{at}.png", "labels": ["a", "b"][: 1 + at % 2]} for at in range(4)]),
            "2 of 4 images have several labels, the first in entry 2: a, b",
        ),
    ],
)  # fmt: skip
def test_damaged_json(content: str, what: str, tmp_path: Path) -> None:
    images(tmp_path)
    (tmp_path / "labels.json").write_text(content)
    assert what in problems(tmp_path)


def test_names_that_several_images_have(tmp_path: Path) -> None:
    files = images(tmp_path)
    images(tmp_path, pattern="masks/{}.png")
    table(tmp_path, [("file", "label"), *((Path(file).name, "ab"[at % 2]) for at, file in enumerate(files))])
    message = problems(tmp_path)
    assert "12 rows name several images, the first in line 2: images/0.png, masks/0.png" in message
    assert f'data.source="{tmp_path}/images" data.table="{tmp_path}/labels.csv"' in message
    data = load(config(tmp_path / "images", table=str(tmp_path / "labels.csv"), test_fraction=0.5))
    assert len(data.train) + len(data.test) == 12


def test_tables_of_other_splits_alone(tmp_path: Path) -> None:
    simple(tmp_path, name="test.csv")
    message = problems(tmp_path)
    assert "found a table of the test split alone, test.csv" in message
    assert 'data.table="test.csv"' in message
    assert load(config(tmp_path, table="test.csv", test_fraction=0.5)).class_names == ("a", "b")
    simple(tmp_path, name="labels.csv")
    simple(tmp_path, lambda at: "a", name="submission.csv")
    (tmp_path / "test.csv").unlink()
    assert load(config(tmp_path, test_fraction=0.5)).class_names == ("a", "b")


def test_several_tables_are_a_question(tmp_path: Path) -> None:
    simple(tmp_path, name="one.csv")
    simple(tmp_path, lambda at: "xyz"[at % 3], name="two.csv")
    assert 'name one: data.table="one.csv"' in problems(tmp_path)
    assert load(config(tmp_path, table="two.csv", test_fraction=0.5)).class_names == ("x", "y", "z")
    # The same again is no question.
    simple(tmp_path, name="two.csv")
    assert load(config(tmp_path, test_fraction=0.5)).class_names == ("a", "b")
    simple(tmp_path, lambda at: "xyz"[at % 3], name="train.csv")
    message = problems(tmp_path)
    assert "found several tables of images: " in message
    assert 'data.splits.train="train.csv"' in message
    data = load(config(tmp_path, splits={"train": "train.csv"}, test_fraction=0.5))
    assert data.class_names == ("x", "y", "z")
    simple(tmp_path, lambda at: "xy"[at % 2], name="train_v2.csv")
    assert "train_v2.csv" in problems(tmp_path)


def test_class_folders_and_a_table_that_contradicts_them(tmp_path: Path) -> None:
    files = [*classes("part_1", [""], 6), *classes("part_2", [""], 6)]
    files = [file.replace("//", "/") for file in files]
    tree(tmp_path, *files)
    rows = [(file, "xyz"[at % 3], at % 2, at % 4) for at, file in enumerate(files)]
    table(tmp_path, [("file", "dx", "sex", "age"), *rows], "metadata.csv")
    message = problems(tmp_path)
    assert "found class folders (part_1, part_2) and a table, metadata.csv" in message
    assert 'data.table="metadata.csv"' in message
    assert 'data.splits.train="."' in message
    assert load(config(tmp_path, splits={"train": "."})).class_names == ("part_1", "part_2")
    data = load(config(tmp_path, table="metadata.csv", label_column="dx", test_fraction=0.5))
    assert data.class_names == ("x", "y", "z")


def test_tables_beside_class_folders_that_agree_or_say_something_else(tmp_path: Path) -> None:
    files = classes("", ("cat", "dog"), 6)
    tree(tmp_path, *files)
    table(tmp_path, [("file", "label"), *((file, file[:3].title()) for file in files)])
    table(
        tmp_path,
        [("file", "width", "height"), *((file, 4, at % 3) for at, file in enumerate(files))],
        "sizes.csv",
    )
    data = load(config(tmp_path))
    assert data.class_names == ("cat", "dog")
    assert data.layout.description == "class folders"
    assert any("labels.csv names images too, and is not read" in note for note in data.layout.notes)
    table(tmp_path, [("file", "label"), *((file, "ab"[at % 2]) for at, file in enumerate(files))])
    assert "whose labels are not those of the folders" in problems(tmp_path)


def test_columns_of_splits_that_are_ambiguous(tmp_path: Path) -> None:
    rows = [
        (file, "ab"[at % 2], ("train", "test")[at // 6], ("test", "train")[at // 6])
        for at, file in enumerate(images(tmp_path))
    ]
    table(tmp_path, [("file", "label", "split", "fold_split"), *rows])
    assert "2 columns could be the splits: split, fold_split" in problems(tmp_path)
    table(tmp_path, [("file", "label", "split"), *((file, name, part) for file, name, part, _ in rows)])
    assert len(load(config(tmp_path)).test) == 6
    data = load(config(tmp_path, splits={"train": "test", "test": "train"}, table="labels.csv"))
    assert "images/11.png" not in [each.file for each in data.dropped]
    assert "did you mean 'test'?" in problems(tmp_path, splits={"train": "tests"}, table="labels.csv")


@pytest.mark.parametrize("kind", ["folders", "table"])
def test_many_classes_of_two_images(kind: str, tmp_path: Path) -> None:
    content = tmp_path / "pixel.bmp"
    Image.new("L", (4, 4)).save(content)
    pixels = content.read_bytes()
    content.unlink()
    names = [f"class {number:05}" for number in range(400)]
    rows = []
    for number, name in enumerate(names):
        for copy in range(2):
            place = f"{name}/{copy}.bmp" if kind == "folders" else f"images/{number}_{copy}.bmp"
            (tmp_path / place).parent.mkdir(exist_ok=True)
            # Different in their last pixels.
            (tmp_path / place).write_bytes(pixels[:-3] + bytes([number % 256, number // 256, copy]))
            rows.append((place, name))
    if kind == "table":
        table(tmp_path, [("file", "label"), *rows])
    message = problems(tmp_path)
    assert "a share of 0.2 of 800 images is 160, expected at least one image of each of the 400" in message
    data = load(config(tmp_path, test_fraction=0.5))
    assert (len(data.class_names), len(data.train), len(data.test)) == (400, 400, 400)


def test_settings_for_tables_where_there_are_none(tmp_path: Path) -> None:
    tree(tmp_path, *classes("", images=6))
    assert "data.table=labels.csv: no such table" in problems(tmp_path, table="labels.csv")
    assert "found a .png file, expected one of" in problems(tmp_path, table="cat/0.png")
    for name, value in (("label_column", "x"), ("label_columns", ["x", "y"]), ("image_column", "x")):
        assert f"fix: remove data.{name}" in problems(tmp_path, **{name: value})
    for name, value in (("table", "labels.csv"), ("label_columns", ["x", "y"])):
        assert f"data.{name} has no effect" in problems("digits", **{name: value})


def test_a_table_without_its_images(tmp_path: Path) -> None:
    table(tmp_path, [("file", "label"), ("/nowhere/1.png", "a")])
    for source in (tmp_path, tmp_path / "labels.csv"):
        message = problems(source)
        assert "the folder holds no images (1 other file)" in message
        assert 'data.table="/path/labels.csv"' in message
