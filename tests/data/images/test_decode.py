"""Decoding images."""

import io
import os
import shutil
import socket
import struct
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import GifImagePlugin, Image, ImageFile

import convsmith as cs
from convsmith.data.checks.verify import verify
from convsmith.data.dataset import load
from convsmith.data.images.decode import MAX_BYTES, UnusableImageError, decode_each, decode_image
from convsmith.data.images.input_rule import InputRule, read_pixels
from convsmith.data.sources import find_source, read_source
from convsmith.models.classifier import UnreadableImage
from helpers.faults import encoded
from helpers.pictures import PILLOW, chunk, png, tiff, wide_tiffs
from helpers.sources import Folder, config, parquet, problems


def test_a_huge_image_is_rejected_by_its_header(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    path = root / "train" / "one" / "0.png"
    content = bytearray(path.read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)
    assert "oversized: more than 50,000,000 pixels by its header" in problems(root)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("BMP", {}), ("WEBP", {}), ("GIF", {}),
        ("TIFF", {}), ("PPM", {}),
    ],
)  # fmt: skip
def test_no_truncated_file_decodes_to_other_pixels(kind: str, options: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    decoded = np.asarray(decode_image(content.getvalue()).image)
    passed = 0
    for length in range(len(content.getvalue())):
        try:
            part = decode_image(content.getvalue()[:length])
        except UnusableImageError:
            continue
        passed += 1
        assert np.array_equal(np.asarray(part.image), decoded), length
    # Only what comes after the last pixel may be missing.
    assert passed <= 20


def test_every_flipped_bit_of_a_png_is_detected() -> None:
    content = encoded(0)
    decoded = np.asarray(decode_image(content).image)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        try:
            assert np.array_equal(np.asarray(decode_image(bytes(flipped)).image), decoded), place
        except UnusableImageError:
            continue


# --- limits, over the whole of a decode


def headed(width: int, height: int) -> bytes:
    """A PNG of one pixel whose header names another size."""
    content = bytearray(png(np.zeros((1, 1), int), 8, 0))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def huge_tile() -> bytes:
    """A TIFF of 4 x 4 pixels in one tile of 60,000 x 60,000."""
    tags = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 16}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


OVERSIZED = {
    "many pixels": headed(50_000, 1_001),
    "one column": headed(1, 50_000_000),
    "one row": headed(50_000_000, 1),
    "a huge tile": huge_tile(),
}


@pytest.mark.parametrize("name", OVERSIZED)
def test_an_oversized_image_is_refused_by_its_header(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UnusableImageError) as caught:
            decode_image(OVERSIZED[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.kind == "oversized"
    assert peak < 10 * 2**20


def test_the_largest_sides_are_read() -> None:
    for size in ((65_535, 2), (2, 65_535)):
        content = io.BytesIO()
        Image.new("L", size, 7).save(content, "PNG")
        rule = InputRule(channels=1, height=4, width=4, resize_policy="stretch", background=(0,))
        assert (read_pixels(content.getvalue(), rule) == 7).all()


def test_oversized_images_do_not_stop_a_training_that_skips_damaged_ones(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    for number, content in enumerate(OVERSIZED.values()):
        (root / "train" / "one" / f"big {number}.png").write_bytes(content)
    sparse = root / "train" / "two" / "sparse.png"
    with sparse.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    data = load(config(root, skip_damaged=True))
    assert Counter(issue.kind for issue in data.dropped) == {"oversized": 5}
    assert len(data.train) == 12
    found = {issue.file: issue.reason for issue in verify(config(root)).issues if issue.kind == "oversized"}
    assert len(found) == 5
    assert found["train/two/sparse.png"] == "268,435,457 bytes, expected at most 268,435,456"
    answers = list(cs.load("digits").stream(root))
    assert sum(isinstance(each, UnreadableImage) for each in answers) == 5
    assert len(answers) == 18 + 5


def test_an_image_that_does_not_fit_into_memory_stops_no_other(
    image_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"train": 4, "test": 2})
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "BMP")
    (root / "train" / "one" / "big.bmp").write_bytes(content.getvalue())
    converted = Image.Image.convert

    def scarce(image: Image.Image, mode: str | None = None, *rest: Any, **options: Any) -> Image.Image:
        if image.size == (8, 8) and getattr(image, "format", None) == "BMP":
            raise MemoryError
        return converted(image, mode, *rest, **options)

    monkeypatch.setattr(Image.Image, "convert", scarce)
    data = load(config(root, skip_damaged=True))
    assert [(each.file, each.reason) for each in data.dropped] == [
        ("train/one/big.bmp", "does not fit into memory")
    ]


@pytest.fixture
def special(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Files that are no regular files; reading most of them does not end."""
    folder = tmp_path / "special"
    folder.mkdir()
    paths = {name: folder / f"{name}.png" for name in ("pipe", "zero", "socket", "folder")}
    os.mkfifo(paths["pipe"])
    paths["zero"].symlink_to("/dev/zero")
    paths["folder"].mkdir()
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as server:
        # The path of a socket is short.
        os.chdir(folder)
        server.bind("socket.png")
        os.chdir(here)
        yield paths


def test_special_files_are_never_read(special: dict[str, Path]) -> None:
    for path in special.values():
        with pytest.raises(UnusableImageError, match="not a regular file"):
            decode_image(str(path))
    answers = list(
        cs.load("digits").stream([str(path) for name, path in special.items() if name != "folder"])
    )
    assert [type(each) for each in answers] == [UnreadableImage] * 3


def test_special_files_in_data_folders(image_folder: Folder, special: dict[str, Path]) -> None:
    root = image_folder({"train": 4, "test": 2})
    for path in special.values():
        shutil.move(path, root / "train" / "one" / path.name)
    os.mkfifo(root / "pipe.parquet")
    assert len(load(config(root)).train) == 12


def images_of(folder: Path) -> list[str]:
    """The size of each image of a parquet folder, or why there is none."""
    raw = read_source(find_source(config(folder)), config(folder))
    return [
        each.kind if isinstance(each, UnusableImageError) else str(each.image.size)
        for each in decode_each(raw.splits["train"].images)
    ]


def test_bad_rows_cost_no_good_ones(tmp_path: Path, special: dict[str, Path]) -> None:
    names = ["pipe.png", "zero.png", "socket.png", "good.png", "a\0b.png", "x" * 300 + ".png", "good.png"]
    labels = datasets.ClassLabel(names=["a", "b"])
    image = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    columns: dict[str, object] = {
        "image": [{"bytes": None, "path": name} for name in names],
        "label": [0, 1, 0, 1, 0, 1, 0],
    }
    root = parquet(tmp_path / "rows", columns, datasets.Features({"image": image, "label": labels}))
    for name in ("pipe", "zero", "socket"):
        shutil.move(special[name], root / f"{name}.png")
    (root / "good.png").write_bytes(encoded(0))
    good = str(decode_image(encoded(0)).image.size)
    assert images_of(root) == [*["unreadable"] * 3, good, "unreadable", "unreadable", good]


def test_small_parquet_files_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that all rows of a group repeat, and values that shrink by more than images do."""
    limit = 16 * 2**20
    monkeypatch.setattr("convsmith.data.hub.parquet.MAX_BYTES", limit)
    path = tmp_path / "data" / "train-0.parquet"
    path.parent.mkdir()
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    groups = ((encoded(0) + bytes(limit // 4), 24), (bytes(2 * limit), 3), (encoded(1), 2))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for value, count in groups:
            rows = {"image": [value] * count, "label": [row % 2 for row in range(count)]}
            writer.write_table(pa.table(rows, schema))
        del rows
    assert path.stat().st_size < 100_000
    before, highest, kinds = pa.total_allocated_bytes(), 0, []
    options = config(tmp_path, image_column="image", label_column="label")
    for each in read_source(find_source(options), options).splits["train"].images:
        highest = max(highest, pa.total_allocated_bytes() - before)
        kinds.append(each.kind if isinstance(each, UnusableImageError) else type(each).__name__)
    assert kinds == ["bytes"] * 24 + ["oversized"] * 3 + ["bytes"] * 2
    assert highest < 3 * limit


def test_damaged_metadata_does_not_make_an_image_unusable() -> None:
    content = encoded(0)
    damaged = content[:33] + chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff") + content[33:]
    assert np.array_equal(np.asarray(decode_image(damaged).image), np.asarray(decode_image(content).image))


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 65_536]], np.int32), np.array([[-1, 3]], np.int32), np.array([[0, 1.5]], np.float32),
        np.array([[0, np.nan]], np.float32), np.array([[-0.1, 1]], np.float32),
    ],
)  # fmt: skip
def test_values_of_unknown_scale_are_refused(values: np.ndarray) -> None:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "TIFF")
    with pytest.raises(UnusableImageError, match=r"mode [IF] with values from .* to .*, expected 0 to"):
        decode_image(content.getvalue())


@pytest.mark.parametrize(
    ("content", "levels"), [each[1:] for each in wide_tiffs()], ids=[e[0] for e in wide_tiffs()]
)
def test_tiff_files_have_the_scale_that_they_declare(content: bytes, levels: np.ndarray) -> None:
    assert np.array_equal(np.asarray(decode_image(content).image), levels)


def test_signed_samples_are_refused() -> None:
    content = tiff(bytes(range(120, 136)), 4, 4, bits=8, sample_format=2)
    with pytest.raises(UnusableImageError, match="signed samples in mode L, expected unsigned ones"):
        decode_image(content)


@pytest.mark.parametrize("mode", sorted({name.split()[0] for name in PILLOW} | {"La", "RGBa"}))
@pytest.mark.parametrize("size", [(0, 0), (0, 3), (3, 0)])
def test_an_image_without_pixels_is_refused(mode: str, size: tuple[int, int]) -> None:
    """The message has the height first."""
    width, height = size
    with pytest.raises(UnusableImageError, match=f"^{height} x {width} pixels, expected at least 1 x 1$"):
        decode_image(Image.new(mode, size))


def test_an_array_without_pixels_is_refused() -> None:
    with pytest.raises(UnusableImageError, match="2 x 0 pixels"):
        decode_image(np.zeros((2, 0, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"), (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"), (tiff(bytes(32), 2, 2, bits=64, sample_format=3), "a TIFF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG"), (b"\xff\xd8\xff\xe0" + bytes(9), "a JPEG"),
        (b"RIFF\0\0\0\0AVI LIST", "a RIFF"),
    ],
)  # fmt: skip
def test_what_a_file_is_instead_is_named(content: bytes, name: str) -> None:
    with pytest.raises(UnusableImageError, match=f"not an image in one of the formats .*: {name}"):
        decode_image(content)


def test_settings_of_the_program_do_not_change_what_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    monkeypatch.setattr(GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS)
    gif = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(gif, "GIF")
    content = encoded(0)

    def outcome(_: int) -> tuple[str, bool, bool]:
        try:
            decode_image(content[: len(content) * 2 // 3])
        except UnusableImageError as error:
            return error.kind, decode_image(content).is_grey, decode_image(gif.getvalue()).is_grey
        return "decoded", False, False

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(outcome, range(200))) == {("unreadable", True, True)}
    assert ImageFile.LOAD_TRUNCATED_IMAGES
    assert Image.MAX_IMAGE_PIXELS == 1
    assert GifImagePlugin.LOADING_STRATEGY == GifImagePlugin.LoadingStrategy.RGB_ALWAYS
