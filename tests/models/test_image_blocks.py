"""Rows of parquet files and members of archives as images for prediction."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.images.decode import UnusableImageError, decode_image
from convsmith.errors import FileError
from convsmith.models.image_blocks import ImageBlock, ImageSource
from convsmith.models.image_inputs import image_sources
from convsmith.models.image_listing import image_blocks
from helpers.packed import FORMATS, packed
from helpers.sources import png, shard, tree


def greys(inputs: str | Path | list[str]) -> list[int]:
    images = [decode_image(item.read()).image for item in image_sources(inputs)]
    return [image.getpixel((0, 0)) for image in images]  # type: ignore[misc]


def test_rows_of_shards_are_read_in_order(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "train-00001-of-00002.parquet", 3, first=5)
    shard(tmp_path / "data" / "train-00000-of-00002.parquet", 5, row_group_size=2)
    assert greys(tmp_path) == list(range(8))
    sources = image_sources(str(tmp_path / "data" / "*.parquet"))
    assert len(sources) == 8
    first, *_, last = [item.name for item in sources]
    assert first == f"{tmp_path}/data/train-00000-of-00002.parquet, row 0"
    assert last == f"{tmp_path}/data/train-00001-of-00002.parquet, row 2"


def error_of(source: ImageSource) -> str:
    try:
        source.read()
    except UnusableImageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("rows_per_group", [1, 3, 300, 1000])
def test_any_part_of_a_file_is_read(tmp_path: Path, rows_per_group: int) -> None:
    path = shard(tmp_path / "x.parquet", 600, row_group_size=rows_per_group)
    (blocks,) = image_blocks([str(path)])
    (block,) = blocks
    assert len(block) == 600
    for start, stop in ((0, 600), (0, 1), (2, 4), (255, 257), (299, 301), (599, 600), (5, 5)):
        names = [item.name for item in block.part(start, stop).sources()]
        assert names == [f"{path}, row {row}" for row in range(start, stop)]
        images = [decode_image(item.read()).image for item in block.part(start, stop).sources()]
        assert [image.getpixel((0, 0)) for image in images] == [row % 256 for row in range(start, stop)]


def test_damage_in_a_file_costs_its_rows_only(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.parquet", 20, row_group_size=10)
    content = bytearray(path.read_bytes())
    offset = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[offset : offset + 8] = b"\xff" * 8
    path.write_bytes(content)
    (block,) = image_blocks([str(path)])[0]
    for part, damaged in (((0, 20), 10), ((5, 15), 5), ((0, 10), 0)):
        errors = [error for item in block.part(*part).sources() if (error := error_of(item))]
        assert len(errors) == damaged
        assert all("the file is damaged here" in error for error in errors)


def test_a_file_that_became_shorter_has_as_many_images(tmp_path: Path) -> None:
    block = ImageBlock(str(shard(tmp_path / "x.parquet", 2)), 0, 3, "image")
    *_, last = block.sources()
    with pytest.raises(UnusableImageError, match="fewer rows"):
        last.read()


def test_locations_are_relative_to_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree(Path("set"), "img/a.png", "img/b.png")
    pq.write_table(pa.table({"image": [{"bytes": None, "path": "img/b.png"}]}), "set/x.parquet")
    packed(Path("set"), ".zip")
    inputs = ["set", "set-packed.zip", "set/img/a.png"]
    blocks = [block for each in image_blocks(inputs) for block in each]
    monkeypatch.chdir("/")
    sources = [item for block in blocks for item in block.sources(tmp_path)]
    assert [item.name for item in sources] == [
        "set/x.parquet, row 0", "set-packed.zip, img/a.png", "set-packed.zip, img/b.png", "set/img/a.png"
    ]  # fmt: skip
    assert [decode_image(item.read()).image.getpixel((0, 0)) for item in sources] == [1, 0, 1, 0]


@pytest.mark.parametrize("suffix", FORMATS)
def test_images_of_archives_are_those_of_the_folder(tmp_path: Path, suffix: str) -> None:
    tree(tmp_path / "set", "b/1.png", "a/2.png", "a/notes.txt", "c.png")
    archive = packed(tmp_path / "set", suffix)
    assert sorted(greys(archive)) == sorted(greys(tmp_path / "set"))
    sources = image_sources(archive)
    assert {item.name for item in sources} == {
        f"{archive}, {name}" for name in ("a/2.png", "b/1.png", "c.png")
    }
    assert len(sources) == 3


def test_parquet_files_without_images_are_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b.png")
    labels = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"file_name": ["a.png", "b.png"], "label": [0, 1]}), labels)
    sentences: list[str] = []
    assert len(image_sources(str(tmp_path), sentences.append)) == 2
    assert sentences == [f"{tmp_path}: 1 file left out, not images: .parquet"]
    with pytest.raises(FileError, match="no columns could hold the images"):
        image_sources(str(labels))
    shard(tmp_path / "data" / "x.parquet", 3)
    assert len(image_sources(str(tmp_path), sentences.append)) == 3
    assert sentences[1:] == [f"{tmp_path}: 3 files left out, beside parquet files: .parquet, .png"]


def test_one_of_two_columns_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [png(0)], "mask": [png(255)]}), path)
    assert command(["predict", "digits", str(path)]) == 2
    error = capsys.readouterr().err
    assert "2 columns could hold the images" in error
    assert "fix: name it: --image-column image" in error
    assert command(["predict", "digits", str(path), "--image-column", "mask"]) == 0
    (prediction,) = cs.predict("digits", path, image_column="mask")
    white = Image.new("L", (8, 8), 255)
    assert prediction.top == cs.predict("digits", white)[0].top
    assert command(["predict", "digits", str(path), "--image-column", "masks"]) == 2
    assert "did you mean 'mask'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("x.parquet", "cannot be read"),
        ("x.zip", "found no zip or tar archive by its content"),
        ("x.tar.gz", "found no zip or tar archive by its content"),
    ],
)
def test_damaged_files_of_images_are_named(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(FileError, match=what) as caught:
        image_sources([str(tmp_path / name), str(tmp_path / "no.png")])
    assert [problem.where for problem in caught.value.problems] == [
        str(tmp_path / name),
        str(tmp_path / "no.png"),
    ]


def test_folders_of_archives_and_empty_archives(tmp_path: Path) -> None:
    tree(tmp_path / "set", "notes.txt")
    archive = packed(tmp_path / "set", ".zip")
    with pytest.raises(FileError, match="this archive holds no images"):
        image_sources(archive)
    with pytest.raises(FileError, match=f"name the archive itself, for example {archive}") as caught:
        image_sources(tmp_path)
    assert "this folder holds no images" in str(caught.value)
