"""Sizes by headers, and the size that is suggested for images of many sizes."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convsmith.data.config import DataConfig
from convsmith.data.files.folders import read_class_folders
from convsmith.data.files.storage import FolderFiles
from convsmith.data.images.decode import decode_image
from convsmith.data.raw import RawData, RawSplit
from convsmith.data.sizes import header_sizes, percentile, suggest_size
from helpers.sources import problems

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")


def encoded(file_format: str, orientation: int | None, late: bool = False) -> bytes:
    content = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    options = {"exif": exif} if file_format in {"JPEG", "PNG", "WEBP", "TIFF"} else {}
    Image.new("RGB", (7, 4), (9, 9, 9)).save(content, file_format, **options)
    result = content.getvalue()
    if late:
        # Move the orientation of a PNG behind its pixels.
        start = result.index(b"eXIf") - 4
        end = start + 12 + int.from_bytes(result[start : start + 4], "big")
        finish = result.index(b"IEND") - 4
        result = result[:start] + result[end:finish] + result[start:end] + result[finish:]
    return result


def raw_of(images: list[bytes]) -> RawData:
    split = RawSplit(images=images, labels=[0] * len(images), locations=[str(n) for n in range(len(images))])
    return RawData(splits={"train": split}, class_names=("a", "b"))


@pytest.mark.parametrize("orientation", [None, *range(1, 9), 77])
def test_sizes_by_headers_are_those_of_decoded_images(orientation: int | None) -> None:
    contents = [encoded(each, orientation) for each in FORMATS]
    if orientation:
        contents.append(encoded("PNG", orientation, late=True))
    expected = [decode_image(content).image.size for content in contents]
    assert [next(iter(header_sizes(raw_of([content])))) for content in contents] == expected
    assert header_sizes(raw_of(contents)) == Counter(expected)
    if orientation == 6:
        assert Counter(expected) == {(4, 7): 5, (7, 4): 3}


def test_headers_are_read_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, each in enumerate(FORMATS):
        path = tmp_path / "ab"[number % 2] / f"{number}.{each.lower().replace('jpeg', 'jpg')}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(each, 1 if each != "PNG" else None))
    (tmp_path / "a" / "text.png").write_text("no image")

    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    assert header_sizes(read_class_folders(FolderFiles(tmp_path))) == {(7, 4): 7}


def test_arrays_have_their_shape() -> None:
    raw = raw_of([])
    split = RawSplit(images=[np.zeros((3, 5), np.uint8)], labels=[0], locations=["0"])
    assert header_sizes(RawData(splits={"train": split}, class_names=raw.class_names)) == {(5, 3): 1}


@given(
    values=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    share=st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.95, 1.0]),
)
def test_percentiles_are_those_of_numpy(values: list[int], share: float) -> None:
    expected = np.percentile(values, 100 * share, method="inverted_cdf")
    assert percentile(Counter(values), share) == expected


sides = st.integers(1, 4000)


@given(counts=st.dictionaries(st.tuples(sides, sides), st.integers(1, 500), min_size=1, max_size=30))
def test_every_suggestion_can_be_written(counts: dict[tuple[int, int], int]) -> None:
    suggestion = suggest_size(counts)
    settings = dict(each.split("=") for each in suggestion.settings.replace("data.", "").split())
    config = DataConfig.model_validate({"source": "x", **settings, "resize": suggestion.resize})
    assert config.policy == suggestion.resize_policy
    assert config.size is not None
    height, width = config.size
    shorter = np.repeat([min(size) for size in counts], list(counts.values()))
    # At most a tenth of the images, and those of the 10th percentile itself, are enlarged.
    assert min(height, width) == 8 or (shorter < min(height, width)).mean() <= 0.1
    turned = suggest_size({(high, wide): count for (wide, high), count in counts.items()})
    if turned.resize_policy == suggestion.resize_policy == "stretch":
        other = DataConfig(source="x", resize=turned.resize).size
        assert other is not None
        assert sorted(other) == sorted(config.size)


def test_the_size_of_nine_tenths_is_kept() -> None:
    for counts, expected in (
        ({(100, 90): 95, (3000, 3000): 5}, "data.resize=90x100"),
        ({(100, 90): 89, (3000, 3000): 11}, "data.resize=80"),
        ({(100, 90): 90, (3000, 300): 10}, "data.resize=90x100 data.resize_policy=pad"),
        ({(400, 400): 95, (300, 300): 5}, "data.resize=128"),
    ):
        assert suggest_size(counts).settings == expected
    assert "95.0 % of the images have 90x100 pixels" in suggest_size({(100, 90): 95, (9, 9): 5}).reason


def test_many_sizes_are_answered_with_bounded_text(tmp_path: Path) -> None:
    for number in range(60):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (40 + number, 30 + number % 7)).save(path)
    message = problems(tmp_path)
    assert "found images of 60 sizes, expected one" in message
    assert "30x40 (height x width): 1 image, the first is a/0.png" in message
    assert "... and 55 more sizes" in message
    assert "a tenth of the shorter sides have at most 30 pixels; width / height is 1.2" in message
    assert "resize them, for example data.resize=28 data.resize_policy=pad" in message
    assert len(message.splitlines()) < 14
