"""Damaged data: every issue is listed by file, no file is changed; training stops or leaves images out."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
import pytest

import convsmith as cs
from convsmith.data.config import DataConfig
from convsmith.data.dataset import load
from convsmith.data.images.decode import FORMATS
from convsmith.data.issues import Verification
from helpers.faults import DAMAGE, TINY, digit, encoded, verify
from helpers.oracle import Oracle, contents, in_process
from helpers.sources import Folder


@pytest.fixture
def clean(image_folder: Folder) -> Path:
    return image_folder({"train": 8, "test": 4})


@pytest.mark.parametrize("damage", DAMAGE)
def test_training_stops_at_a_damaged_image(damage: str, clean: Path, tmp_path: Path) -> None:
    path = clean / "test" / "two" / "1.png"
    path.write_bytes(DAMAGE[damage][0])
    runs = tmp_path / "runs"
    Oracle(clean).expect_error(
        "train", "digits", f"data.source={clean}", *TINY, "--runs", str(runs),
        code="E040", names=(str(path), DAMAGE[damage][1], "no file was changed", "data.skip_damaged=true"),
    )  # fmt: skip
    assert not runs.exists()


def test_damaged_images_can_be_skipped_and_are_recorded(clean: Path, tmp_path: Path) -> None:
    damaged = [clean / "train" / "one" / "0.png", clean / "test" / "two" / "1.png"]
    kept = tmp_path / "kept"
    shutil.copytree(clean, kept)
    for path in damaged:
        path.write_bytes(b"text")
        (kept / path.relative_to(clean)).unlink()
    oracle = Oracle(clean, kept)
    result = in_process(
        "train", "digits", f"data.source={clean}", *TINY, "--skip-damaged", "--runs", str(tmp_path / "runs")
    )
    oracle.check(result, exit_code=0)
    run = tmp_path / "runs" / "tiny-1"
    record = json.loads((run / "data.json").read_text())
    assert [each["file"] for each in record["dropped"]] == ["train/one/0.png", "test/two/1.png"]
    # The fingerprint is of what was kept: the same as of a folder without these files.
    other = cs.train(cs.load_recipe("digits", f"data.source={kept}", *TINY), runs=tmp_path / "runs").folder
    assert json.loads((other / "data.json").read_text())["fingerprint"] == record["fingerprint"]
    for name in ("log.txt", "README.md", "report.html"):
        text = (run / name).read_text().replace("\\", "")
        assert "damaged images left out: 2" in text, name
        assert "train/one/0.png" in text
    # A resumed run leaves them out too, from the cache or not.
    shutil.rmtree(Path(os.environ["CONVSMITH_CACHE"]))
    resumed = cs.resume(run, epochs=2)
    assert json.loads((resumed.folder / "data.json").read_text())["dropped"] == record["dropped"]
    oracle.check_files()


def test_a_class_without_usable_images_is_an_error(clean: Path, tmp_path: Path) -> None:
    for path in (clean / "train" / "one").iterdir():
        path.write_bytes(b"")
    Oracle(clean).expect_error(
        "train", "digits", f"data.source={clean}", *TINY, "--skip-damaged", "--runs", str(tmp_path / "runs"),
        code="E040", names=("no training images of 'one'", str(clean / "train" / "one")),
    )  # fmt: skip


def shards(root: Path, *parts: tuple[list[Any], list[Any]], names: tuple[str, ...] = ("a", "b")) -> Path:
    """A parquet folder: a file for each list of images and labels, the last of them the test set."""
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    schema = features.arrow_schema
    (root / "data").mkdir(parents=True)
    for number, (images, labels) in enumerate(parts):
        cells = [None if image is None else {"bytes": image, "path": "x.png"} for image in images]
        table = pyarrow.table({"img": cells, "label": labels}, schema=schema)
        split = "test" if number == len(parts) - 1 else "train"
        pyarrow.parquet.write_table(
            table, root / "data" / f"{split}-{number:05d}.parquet", compression="none", row_group_size=4
        )
    return root


def test_rows_of_parquet_files_are_named(tmp_path: Path) -> None:
    good = [encoded(number) for number in range(30)]
    root = shards(
        tmp_path / "set",
        ([*good[:5], b"text"], [0, 1, 0, 1, 0, 1]),
        ([*good[6:10], None, good[5], *good[12:16]], [0, 1, 0, 1, 0, 7, 0, 1, 1, 1]),
        ([*good[20:24], good[0]], [0, 1, 0, 1, 0]),
    )
    assert verify(root) == {
        ("unreadable", "data/train-00000.parquet, row 5"): (
            f"not an image in one of the formats {', '.join(FORMATS)}: text"
        ),
        ("unreadable", "data/train-00001.parquet, row 4"): "no image",
        ("bad label", "data/train-00001.parquet, row 5"): "label 7, expected 0 to 1",
        ("across splits", "data/test-00002.parquet, row 4"): (
            "the same pixels as data/train-00000.parquet, row 0"
        ),
    }
    names = ("data/train-00000.parquet, row 5: unreadable", "row 5: bad label: label 7, expected 0 to 1")
    Oracle(root).expect_error("train", "digits", f"data.source={root}", *TINY, code="E040", names=names)
    prepared = cs.load_recipe(
        "digits", f"data.source={root}", *TINY, "data.skip_damaged=true", "model.net=G F2"
    )
    record = json.loads((cs.train(prepared, runs=tmp_path / "runs").folder / "data.json").read_text())
    assert [each["kind"] for each in record["dropped"]] == ["unreadable", "unreadable", "bad label"]
    assert record["splits"]["train"]["images"] == 13


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "footer", "no columns"])
def test_a_damaged_shard_is_named_and_the_others_are_scanned(damage: str, tmp_path: Path) -> None:
    good = [encoded(number) for number in range(20)]
    root = shards(tmp_path / "set", *(([*good[at : at + 5], b""], [0, 1] * 3) for at in (0, 5, 10)))
    path = root / "data" / "train-00000.parquet"
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[:-100])
        case "text":
            path.write_text("no parquet")
        case "empty":
            path.write_bytes(b"")
        case "footer":
            path.write_bytes(content[:-60] + bytes(50) + content[-10:])
        case _:
            pyarrow.parquet.write_table(pyarrow.table({"img": [1], "other": [2]}), path)
    if damage == "no columns":
        # The first file determines the columns; here the damaged file comes last.
        path = path.rename(root / "data" / "train-00003.parquet")
    listed = verify(root)
    assert ("unreadable", str(path.relative_to(root))) in listed
    assert ("unreadable", "data/train-00001.parquet, row 5") in listed
    for options in ((), ("--skip-damaged",)):
        Oracle(root).expect_error(
            "train", "digits", f"data.source={root}", *TINY, *options, code="E040", names=(path.name,)
        )


def test_a_partly_damaged_shard_loses_only_rows(tmp_path: Path) -> None:
    good = [encoded(number) for number in range(40)]
    root = shards(tmp_path / "set", (good[:12], [0, 1] * 6), (good[20:26], [0, 1] * 3))
    path = root / "data" / "train-00000.parquet"
    content = path.read_bytes()
    # The header of a page in the second of three groups of four rows.
    place = pyarrow.parquet.read_metadata(path).row_group(1).column(0).data_page_offset
    path.write_bytes(content[:place] + b"\xff" * 12 + content[place + 12 :])
    listed = verify(root)
    rows = sorted(int(file.split()[-1]) for kind, file in listed if kind == "unreadable")
    assert rows
    assert set(rows) <= set(range(12))
    assert all("damaged here" in reason for (kind, _), reason in listed.items() if kind == "unreadable")


def test_paths_outside_the_data_set_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    digit(0).save(secret)
    root = shards(tmp_path / "set", ([encoded(1)] * 2, [0, 1]), ([encoded(2)] * 2, [0, 1]))
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    cells = [{"bytes": None, "path": str(secret)}, {"bytes": None, "path": "../secret.png"}]
    table = pyarrow.table({"img": cells, "label": [0, 1]}, schema=features.arrow_schema)
    pyarrow.parquet.write_table(table, root / "data" / "train-00000.parquet")
    listed = verify(root)
    assert [reason for (kind, _), reason in listed.items() if kind == "unreadable"] == [
        f"no image, only a path outside the data set: {secret}",
        "no image, only a path outside the data set: ../secret.png",
    ]


def test_paths_of_files_that_are_not_listed_are_not_followed(tmp_path: Path) -> None:
    """The cache would not notice that they change."""
    root = shards(tmp_path / ".sets" / "set", ([encoded(1)] * 2, [0, 1]), ([encoded(2)] * 2, [0, 1]))
    names = (".hidden/0.png", "__MACOSX/0.png", "shown/0.png")
    for number, name in enumerate(names):
        (root / name).parent.mkdir()
        digit(number).save(root / name)
    (root / "link").symlink_to(root / ".hidden")
    refused = [".hidden/0.png", "shown/../.hidden/0.png", "__MACOSX/0.png", str(root / ".hidden" / "0.png")]
    accepted = ["shown/0.png", "link/0.png", str(root / "shown" / "0.png")]
    cells = [{"bytes": None, "path": path} for path in (*refused, *accepted)]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    table = pyarrow.table({"img": cells, "label": [0, 1] * 3 + [0]}, schema=features.arrow_schema)
    pyarrow.parquet.write_table(table, root / "data" / "train-00000.parquet")
    listed = verify(root)
    assert [reason for (kind, _), reason in listed.items() if kind == "unreadable"] == [
        f"no image, only the path of a hidden file: {path}" for path in refused
    ]


@pytest.mark.parametrize("names", [("a[1]", "b*?"), ("ein Vogel", "größer"), ("猫", "كلب"), ("{x}", "#y%20")])
def test_any_folder_name_is_accepted(names: tuple[str, ...], tmp_path: Path) -> None:
    root = tmp_path / f"my {names[0]} set"
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(6):
            digit(10 * label + number).save(root / name / f"{name} {number}.png")
    assert cs.verify_data(str(root)).clean
    data = load(DataConfig(source=str(root)))
    assert data.class_names == tuple(sorted(names))
    assert data.location == str(root)


@pytest.mark.usefixtures("without_report")
def test_data_changed_since_the_run(clean: Path, tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", f"data.source={clean}", *TINY)
    cs.train(recipe, runs=tmp_path / "runs")
    run = tmp_path / "runs" / "tiny-1"
    (clean / "test" / "one" / "0.png").write_bytes(encoded(1000))
    oracle = Oracle(clean, run)
    result = oracle.expect_error(
        "resume", str(run), "--epochs", "2", code="E050", names=("data.fingerprint.test: was",)
    )
    assert "data.fingerprint.train" not in result.err
    oracle.expect_error(
        "evaluate", str(run), code="E050", names=("the data set is not the one of this run", str(clean))
    )
    # An edited recipe is a change, not damage.
    path = run / "recipe.toml"
    path.write_text(path.read_text().replace("epochs = 1", "epochs = 3"))
    names = ("not the recipe that was trained", f"convsmith train {path}")
    Oracle(clean, run).expect_error("evaluate", str(run), code="E050", names=names)


def test_links_are_followed_but_not_in_cycles(clean: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for split in ("train", "test"):
        (linked / split).symlink_to(clean / split)
    (clean / "train" / "one" / "loop").symlink_to(clean)
    verification: Verification = cs.verify_data(str(linked))
    assert verification.images["train"] >= 24
    assert contents(clean)
