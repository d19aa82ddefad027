"""Verifying a data set: every issue is listed by file, and no file is changed."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

import convsmith as cs
from convsmith.data.checks.verify import verify as verify_config
from helpers.faults import DAMAGE, TINY, digit, verify
from helpers.oracle import Oracle, in_process
from helpers.sources import Folder, config, parquet, png


@pytest.fixture
def clean(image_folder: Folder) -> Path:
    return image_folder({"train": 8, "test": 4})


def test_clean_data_has_no_issues(clean: Path) -> None:
    assert verify(clean) == {}
    assert verify("digits") == {}
    assert "no issues; no file was changed" in in_process("data", "verify", str(clean)).out


def test_every_damaged_image_is_listed_by_file_with_its_reason(clean: Path) -> None:
    for number, (content, _, _) in enumerate(DAMAGE.values()):
        (clean / "train" / "one" / f"bad{number}.png").write_bytes(content)
    listed = verify(clean)
    assert len(listed) == len(DAMAGE)
    for number, (_, kind, reason) in enumerate(DAMAGE.values()):
        assert reason.lower() in listed[kind, f"train/one/bad{number}.png"].lower()


def test_duplicates_within_and_across_splits(clean: Path) -> None:
    shutil.copy(clean / "train" / "one" / "0.png", clean / "train" / "one" / "again.png")
    shutil.copy(clean / "train" / "one" / "1.png", clean / "train" / "two" / "other.png")
    # The same pixels in another file: colour, another format.
    Image.open(clean / "train" / "zero" / "2.png").convert("RGB").save(clean / "test" / "zero" / "seen.png")
    listed = verify(clean)
    assert listed["duplicate", "train/one/again.png"] == "the same pixels as train/one/0.png"
    assert listed["duplicate", "train/two/other.png"] == (
        "the same pixels as train/one/1.png, labelled 'two' here and 'one' there"
    )
    assert listed["across splits", "test/zero/seen.png"] == "the same pixels as train/zero/2.png"
    assert listed.pop(("mixed modes", "test/zero/seen.png")) == "mode RGB; 38 images have mode L"
    assert len(listed) == 3


def test_sizes_modes_and_types_that_differ(clean: Path) -> None:
    train = clean / "train" / "one"
    Image.new("L", (9, 12)).save(train / "odd.png")
    Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save(train / "red.png")
    digit(900).save(train / "named.jpg", "GIF")
    listed = verify(clean)
    assert listed["mixed sizes", "train/one/odd.png"] == "12x9 pixels; 38 images have 8x8 pixels"
    assert listed["mixed modes", "train/one/red.png"] == "mode RGBA; 37 images have mode L"
    assert listed["wrong type", "train/one/named.jpg"] == "GIF by its content"
    assert {kind for kind, _ in listed} == {"mixed sizes", "mixed modes", "wrong type"}
    assert {kind for kind, _ in verify(clean, "data.resize=8")} == {"mixed modes", "wrong type"}
    Oracle(clean).expect_error(
        "train", "digits", f"data.source={clean}", *TINY,
        code="E040",
        names=(
            "images of 2 sizes",
            "8x8 (height x width): 38 images, the first is train/one/0.png",
            "12x9 (height x width): 1",
        ),
    )  # fmt: skip


def test_empty_and_small_classes_and_ignored_files(clean: Path) -> None:
    (clean / "train" / "none").mkdir()
    (clean / "train" / "few").mkdir()
    shutil.copytree(clean / "test" / "one", clean / "test" / "few")
    digit(901).save(clean / "train" / "few" / "a.png")
    (clean / "train" / "notes.txt").write_text("note")
    (clean / "train" / "one" / "cat.heic").write_bytes(b"x")
    (clean / "test" / "one" / "lost.png").symlink_to("/nowhere.png")
    os.mkfifo(clean / "test" / "one" / "pipe.png")
    verification = cs.verify_data(str(clean))
    listed = {(each.kind, each.file): each.reason for each in verification.issues}
    assert listed["empty class", "train/none"] == "no usable training images"
    assert listed["few images", "test/none"] == "no usable test images: cannot be scored"
    assert listed["few images", "train/few"] == "1 training image; the median of the classes is 8"
    assert dict(verification.ignored) == {
        "train/notes.txt": "not an image: suffix .txt",
        "train/one/cat.heic": "not an image: suffix .heic",
        "test/one/lost.png": "a broken link",
        "test/one/pipe.png": "not a regular file",
    }
    Oracle(clean).expect_error(
        "train", "digits", f"data.source={clean}", *TINY,
        code="E040", names=(f"{clean / 'train' / 'none'}: no training images of 'none'",),
    )  # fmt: skip


def test_a_single_class_is_an_issue(tmp_path: Path) -> None:
    columns = {"image": [png(number) for number in range(8)], "label": ["cat"] * 8}
    verification = verify_config(config(parquet(tmp_path / "set", columns)))
    assert verification.counts == {"empty class": 1}
    assert verification.issues[0].reason == "one class only, 'cat', expected at least two"
    assert verification.record()["stops_training"]
