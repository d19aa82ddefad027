"""Descriptions of data sets: every number a second way, bounded text, one pass."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import entropy

import convsmith as cs
from convsmith.data.cache import scan as scanning
from convsmith.data.checks.describe import bits_of, describe
from convsmith.data.checks.description import (
    Balance,
    Description,
    Sizes,
    Spread,
    advices,
    description_lines,
    listed_classes,
    next_commands,
)
from convsmith.data.dataset import load
from convsmith.data.images.modes import GREY_MODES
from helpers.images import saved
from helpers.oracle import in_process
from helpers.sources import Folder, config

COUNTS = st.dictionaries(st.integers(1, 500), st.integers(1, 40), min_size=1)


@given(COUNTS)
def test_percentiles_are_those_of_numpy(counts: dict[float, int]) -> None:
    values = np.repeat(list(counts), list(counts.values()))
    shares = [0, 5, 25, 50, 75, 95, 100]
    expected = np.percentile(values, shares, method="inverted_cdf")
    assert Spread.of(counts).numbers == tuple(expected)


@given(st.lists(st.integers(0, 1000), min_size=1).filter(any))
def test_the_balance_is_that_of_scipy(numbers: list[int]) -> None:
    balance = Balance.of({f"c{number}": count for number, count in enumerate(numbers)})
    assert balance.effective == pytest.approx(np.exp(entropy(numbers)))
    assert balance.majority == pytest.approx(max(numbers) / sum(numbers))
    assert balance.ratio == (max(numbers) / min(numbers) if min(numbers) else None)
    assert balance.is_even == (min(numbers) > 0 and max(numbers) < 3 * min(numbers))


@given(st.dictionaries(st.tuples(st.integers(1, 99), st.integers(1, 99)), st.integers(1, 9), min_size=1))
def test_sizes_by_hand(counts: dict[tuple[int, int], int]) -> None:
    sizes = Sizes.of(counts)
    every = np.repeat(np.array(list(counts)), list(counts.values()), axis=0)
    assert sizes.shorter.numbers[0] == every.min()
    assert sizes.width.high == every[:, 0].max()
    assert sizes.aspect.low == min(width / height for width, height in counts)
    assert sum(count for _, count in sizes.common) <= sum(counts.values())
    assert sizes.common[0][1] == max(counts.values())


def test_bits_of_every_grey_mode_are_known() -> None:
    assert {mode: bits_of(mode) for mode in ("1", "L", "I;16", "F")} == {"1": 1, "L": 8, "I;16": 16, "F": 32}
    assert all(bits_of(mode) in {1, 8, 16, 32} for mode in GREY_MODES)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two splits of three classes: several sizes, modes and formats, duplicates, a damaged file, a text."""
    random, root = np.random.default_rng(0), tmp_path / "mixed"

    def noise(*shape: int) -> np.ndarray:
        return random.integers(0, 256, shape, dtype=np.uint8)

    for number in range(12):
        saved(root / "train" / "cat" / f"{number}.png", noise(10, 20, 3))
    for number in range(3):
        saved(root / "train" / "dog" / f"{number}.png", noise(8 + number, 8, 3))
    grey = np.repeat(noise(6, 6, 1), 3, axis=2)
    saved(root / "train" / "fox" / "grey.png", grey)
    saved(root / "train" / "fox" / "clear.png", noise(6, 6, 4))
    for split, name, original in (
        ("train", "cat", "cat/0"),
        ("train", "dog", "cat/1"),
        ("test", "fox", "fox/grey"),
    ):
        target = root / split / name / "copy.bmp"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(root / "train" / f"{original}.png").save(target)
    saved(root / "test" / "cat" / "a.jpg", noise(10, 20, 3))
    saved(root / "test" / "dog" / "deep.png", Image.fromarray(np.full((8, 8), 40_000, np.uint16)))
    (root / "train" / "cat" / "broken.png").write_bytes(b"\x89PNG, no more")
    (root / "train" / "cat" / "notes.txt").write_text("none")
    return root


def test_every_number_of_a_small_data_set(mixed: Path) -> None:
    found = describe(config(mixed))
    assert found.splits == {"train": 19, "test": 3}
    assert found.verification.classes == {
        "cat": {"train": 13, "test": 1},
        "dog": {"train": 4, "test": 1},
        "fox": {"train": 2, "test": 1},
    }
    assert found.balance is not None
    assert (found.balance.ratio, found.balance.is_even) == (6.5, False)
    assert found.modes == {"RGB": 20, "RGBA": 1, "I;16": 1}
    assert found.formats == {"PNG": 18, "BMP": 3, "JPEG": 1}
    assert found.bits == {8: 21, 16: 1}
    # The file of 16 bits is stored in grey.
    assert (found.transparent, found.grey_content, found.channels) == (1, 2, 3)
    assert found.verification.counts["unreadable"] == 1
    assert found.verification.counts["duplicate"] == 2
    assert found.verification.counts["across splits"] == 1
    assert found.contradictions == 1
    assert found.left_out == {"not an image: suffix .txt": 1}
    assert found.sizes is not None
    assert found.sizes.counts == {(20, 10): 15, (8, 8): 2, (8, 9): 1, (8, 10): 1, (6, 6): 3}


def test_mean_and_deviation_by_hand(mixed: Path) -> None:
    found = describe(config(mixed, background="black"))
    moments = []
    for path in sorted((mixed / "train").rglob("*")):
        if path.suffix in {".png", ".bmp"} and path.name != "broken.png":
            image = Image.open(path).convert("RGBA")
            pixels = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
            values = np.asarray(pixels, dtype=float) / 255
            moments.append((values.mean((0, 1)), (values**2).mean((0, 1))))
    mean, square = np.mean(moments, axis=0)
    # A composite is rounded to levels.
    assert found.mean == pytest.approx(mean, abs=2e-4)
    assert found.std == pytest.approx(np.sqrt(square - mean**2), abs=2e-4)


def test_mean_and_deviation_are_those_of_a_training(image_folder: Folder) -> None:
    root = image_folder({"train": 8, "test": 4}, colour=True)
    data, found = load(config(root)), describe(config(root))
    assert found.mean == pytest.approx(data.mean)
    assert found.std == pytest.approx(data.std)
    assert found.grey_content == found.total
    assert any("show only grey" in advice for advice in advices(found))


def test_one_pass_decodes_every_image_once(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0
    original = scanning.scan

    def counted(*arguments: object, **options: object) -> object:
        nonlocal decoded
        decoded += 1
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("convsmith.data.checks.verify.scan", counted)
    describe(config(mixed))
    assert decoded == 1


def test_pictures_are_of_their_class_and_keep_their_shape(mixed: Path) -> None:
    pictures = describe(config(mixed)).pictures
    assert pictures.classes == ("cat", "dog", "fox")
    assert [len(each) for each in pictures.examples] == [8, 4, 2]
    assert {image.shape for image in pictures.examples[0]} == {(10, 20, 3)}
    grey = np.asarray(Image.open(mixed / "train" / "fox" / "grey.png"))
    assert any(np.array_equal(image, grey) for image in pictures.examples[2])
    assert pictures.mean is not None
    mean = pictures.means[0]
    assert mean is not None
    assert mean.shape == (32, 32, 3)


def thousand(tmp_path: Path, classes: int = 300) -> Path:
    """Two images each of many classes, four of one of them."""
    for number in range(classes):
        for copy in range(2 + 2 * (number == 7)):
            pixels = np.full((2, 2), number % 251, np.uint8)
            pixels[0, 0] = copy * 9 + number // 251
            saved(tmp_path / "many" / f"class {number:04}" / f"{copy}.png", pixels)
    return tmp_path / "many"


def test_many_classes_have_bounded_text(tmp_path: Path) -> None:
    found = describe(config(thousand(tmp_path)))
    lines = description_lines(found)
    assert len(lines) < 60
    assert "... 270 more ..." in lines
    rows = [line for line in lines if line.startswith("class ")][1:]
    assert (len(rows), rows[0].split()) == (30, ["class", "0007", "4"])
    assert len(found.pictures.classes) == 30
    assert len(found.record()["classes"]) == 300


def test_listed_classes_are_all_if_they_are_few() -> None:
    classes = {f"c{number}": {"train": number} for number in range(30)}
    names, left_out = listed_classes(classes)
    assert (sorted(names), left_out, names[0]) == (sorted(classes), 0, "c29")


def test_the_text_names_what_to_do_and_what_is_next(mixed: Path) -> None:
    lines = description_lines(describe(config(mixed)))
    text = "\n".join(lines)
    assert lines[0] == "mixed: 22 images (19 train, 3 test), 3 classes"
    assert "unreadable: 1\n  train/cat/broken.png: " in text
    assert "1 image cannot be used: repair them, or write data.skip_damaged=true" in text
    assert "1 image of one split are in another one too" in text
    assert "classes are unbalanced" in text
    assert "not read: 1, not an image: suffix .txt" in text
    assert f"convsmith init {mixed} > mine.toml" in text


def test_the_next_command_has_the_settings_of_this_one(mixed: Path) -> None:
    settings = ("data.skip_damaged=true", "data.group=^(.)")
    description = cs.describe_data(str(mixed), *settings)
    assert f"convsmith init {mixed} data.skip_damaged=true 'data.group=^(.)' > mine.toml" in next_commands(
        description
    )


def test_the_command_writes_a_page(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = in_process("data", "describe", "mixed")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("\npage: mixed-data.html\n")
    assert Path("mixed-data.html").is_file()
    shutil.move("mixed-data.html", "other.html")
    result = in_process("data", "describe", "mixed", "--json", "data.resize=8")
    record = json.loads(result.out)
    assert record["images"] == {"train": 19, "test": 3}
    assert "mixed sizes" not in record["issues"]
    assert record["balance"]["ratio"] == 6.5
    # With --json a page is written on request only.
    assert not Path("mixed-data.html").exists()


def test_a_page_that_cannot_be_written_is_an_error_before_the_pass(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = in_process("data", "describe", str(mixed), "--report", str(tmp_path / "file" / "page.html"))
    assert result.code == 2
    assert result.err.startswith("error[")


def test_a_data_set_without_usable_images_has_a_description(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "all" / name).mkdir(parents=True)
        (tmp_path / "all" / name / "0.png").write_bytes(b"none")
    found = describe(config(tmp_path / "all"))
    assert (found.total, found.sizes, found.balance, found.mean) == (0, None, None, ())
    assert "unreadable: 2" in description_lines(found)


def test_in_python() -> None:
    found = cs.describe_data("digits")
    assert isinstance(found, Description)
    assert found.layout == ""
    assert found.formats == {}
    assert found.sizes is not None
    assert found.sizes.distinct == 1
