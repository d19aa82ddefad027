"""Ejected projects read image files, splits and labels as the run did."""

import importlib.util
import io
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from convsmith.data.cache.cache import fingerprint
from convsmith.data.dataset import load as load_data
from convsmith.data.images.input_rule import InputRule, read_pixels
from convsmith.exporters.project.code import environment, python_files, template_context
from convsmith.exporters.project.net_code import notation_code
from convsmith.exporters.project.project import data_files, storage_of
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.loader import load
from convsmith.runs.schema import DataRecord
from helpers.pictures import wide_tiffs
from helpers.projects import imported, lint

GENERATOR = np.random.default_rng(0)


def module(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def noise(mode: str, size: tuple[int, int] = (14, 9)) -> Image.Image:
    pixels = GENERATOR.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(pixels, "RGBA")
    return image.convert(mode)


def encoded(image: Image.Image, suffix: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, suffix, **options)
    return content.getvalue()


def turned(orientation: int, suffix: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(noise("RGB"), suffix, exif=exif)


def cv2_encoded(pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


def cases() -> Iterator[tuple[str, bytes]]:
    """Files of all modes, each with what its reader must not overlook."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"png {mode}", encoded(noise(mode), "PNG")
    for suffix, modes in {
        "JPEG": ("L", "RGB", "CMYK", "YCbCr"), "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB"),
        "WEBP": ("RGB", "RGBA"), "BMP": ("1", "L", "P", "RGB"), "GIF": ("1", "L", "P", "RGB"),
        "PPM": ("1", "L", "RGB"),
    }.items():  # fmt: skip
        for mode in modes:
            yield f"{suffix} {mode}", encoded(noise(mode), suffix)
    for orientation in range(10):
        for suffix in ("PNG", "JPEG", "WEBP", "TIFF"):
            yield f"{suffix} turned {orientation}", turned(orientation, suffix)
    wide = GENERATOR.integers(0, 2**16, (9, 14), dtype=np.uint16)
    yield "png 16 bits", encoded(Image.fromarray(wide), "PNG")
    yield "png 16 bits transparent", encoded(Image.fromarray(wide), "PNG", transparency=int(wide[3, 4]))
    yield "png 16 bits colour", cv2_encoded(GENERATOR.integers(0, 2**16, (9, 14, 3), dtype=np.uint16))
    yield "png 16 bits alpha", cv2_encoded(GENERATOR.integers(0, 2**16, (9, 14, 4), dtype=np.uint16))
    yield "tiff 16 bits", encoded(Image.fromarray(wide), "TIFF")
    yield "tiff float", encoded(Image.fromarray(GENERATOR.random((9, 14), dtype=np.float32)), "TIFF")
    yield from ((f"tiff {name}", content) for name, content, _ in wide_tiffs())
    yield "png palette transparent", encoded(noise("P"), "PNG", transparency=bytes(range(256)))
    yield (
        "png one transparent grey",
        encoded(noise("L").point(lambda v: v // 64 * 64), "PNG", transparency=64),
    )
    yield "png 1 bit transparent", encoded(noise("1"), "PNG", transparency=1)
    for bits in (1, 2, 4):
        few = noise("L").point(lambda v, bits=bits: v >> (8 - bits)).convert("P")
        yield f"png {bits} bits", encoded(few, "PNG", bits=bits, transparency=1)
    colour = noise("RGB")
    yield "png one transparent colour", encoded(colour, "PNG", transparency=colour.getpixel((2, 3)))
    yield "gif transparent", encoded(noise("P"), "GIF", transparency=5)
    frames = [noise("RGB") for _ in range(3)]
    yield "gif frames", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield "tiff pages", encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("policy", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_every_mode_become_the_pixels_of_the_run(channels: int, policy: Any, tmp_path: Path) -> None:
    background = (37,) if channels == 1 else (250, 128, 3)
    colour = background[0] if channels == 1 else background
    values = {
        "kind": "images", "mode": "L" if channels == 1 else "RGB", "policy": policy, "resize": True,
        "height": 8, "width": 11,
        "background_constant": f"BACKGROUND = {colour}",
    }  # fmt: skip
    path = tmp_path / "images.py"
    path.write_text(environment().get_template("images.py.j2").render(values), encoding="utf-8")
    lint(tmp_path)
    images = module(path, "project_images")
    rule = InputRule(channels=channels, height=8, width=11, resize_policy=policy, background=background)
    for name, content in cases():
        pixels = np.asarray(images.resize(images.decode(content))).reshape(8, 11, channels)
        assert np.array_equal(pixels, read_pixels(content, rule)), name


def splits_of(options: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the project of a recipe, and compare its splits with those that the run is trained on."""
    recipe = load("digits", ["model.net=C8 / G F2", "brief=false", *options])
    data = load_data(recipe.data)
    analysis = analyze_notation(f"C8 / G F{len(data.class_names)}", data.image_shape, recipe.notation)
    net = notation_code(analysis, analysis.plan, ["Images."])
    storage = storage_of(recipe.data)
    values = template_context(recipe, net, DataRecord.of(data, recipe.data), storage)
    values["data_help"] = "a folder"
    texts = python_files(values, net) | data_files(recipe.data, values, data.class_names)
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode(errors="surrogateescape"))
    lint(folder)
    monkeypatch.setitem(sys.modules, "convsmith", None)
    with imported(folder, "utils.utils") as (utils,):
        found = utils.load_images(data.location)
    monkeypatch.undo()
    assert set(found) == set(data.splits)
    for name, split in data.splits.items():
        images, labels = found[name]
        assert fingerprint(images, labels.tolist()) == fingerprint(split.images, split.labels.tolist()), name


def write(path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(options.pop("mode", "L"), options.pop("size", (8, 8))).save(path, **options)


def classes(root: Path, *splits: str, count: int = 8) -> None:
    for split in splits:
        for number in range(2 * count):
            write(root / split / ("cat", "dog")[number % 2] / f"g{number // 4}_{number}.png")


def hidden(root: Path) -> None:
    """Copies in hidden folders inside the folders of classes, which Jupyter writes."""
    classes(root, "train", "test")
    for split in ("train", "test"):
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
            write(root / split / "cat" / name / "1.png")
        write(root / split / "cat" / "._1.png")


def nested(root: Path) -> None:
    classes(root / "data", "Training", "Testing")


def three(root: Path) -> None:
    classes(root, "train", "valid", "test")


def spelled(root: Path) -> None:
    """One class in two spellings, a file name that is no UTF-8, and one with a comma and a line end."""
    classes(root, "train", "test")
    composed = unicodedata.normalize("NFC", "café")
    apart = unicodedata.normalize("NFD", "café")
    for split, names in (("train", (composed,)), ("test", (composed, apart))):
        for number in range(4):
            write(root / split / names[number % len(names)] / f"{number}.png")
    write(Path(str(root / "train" / "dog" / "n\udce9.png")))
    write(root / "train" / "dog" / 'a,"b"\nc.png')


def damaged(root: Path) -> None:
    classes(root, "")
    path = root / "cat" / "g0_0.png"
    path.write_bytes(path.read_bytes()[:60])


def turned_files(root: Path) -> None:
    """Files whose orientation, transparency and shape matter, as cameras and icon makers write them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    classes(root, "train", "test")
    for split in ("train", "test"):
        for number in range(4):
            write(root / split / "cat" / f"turned{number}.png", mode="RGB", size=(14, 9), exif=exif)
            write(root / split / "dog" / f"icon{number}.png", mode="RGBA", size=(9, 12))


def equal(root: Path) -> None:
    classes(root, "", count=40)
    for path in sorted(root.rglob("*_1*.png")):
        path.with_name(f"again_{path.name}").write_bytes(path.read_bytes())


FOLDERS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "hidden folders": (hidden, ["data.validation=0.25"]),
    "nested": (nested, []),
    "three splits": (three, []),
    "spellings": (spelled, []),
    "damaged": (damaged, ["data.skip_damaged=true", "data.validation=0.25"]),
    "turned and transparent": (turned_files, ["data.resize=8"]),
    "padded": (turned_files, ["data.resize=12", "data.resize_policy=pad", "data.background=#ff8000"]),
    "cropped": (turned_files, ["data.resize=6x10", "data.resize_policy=crop", "data.validation=0.25"]),
    "equal images": (equal, ["data.validation=0.25"]),
    "groups": (equal, ["data.group=(g\\d+)_"]),
    "named splits": (
        lambda root: classes(root, "one", "two"),
        ["data.splits.train=two", "data.splits.test=one"],
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_have_the_splits_of_the_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, options = FOLDERS[name]
    make(tmp_path / "data")
    splits_of([f"data.source={tmp_path / 'data'}", *options], tmp_path / "project", monkeypatch)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"bytes": encoded(noise("RGBA", (8, 8)), "PNG"), "path": None} for _ in range(count)]


def table(path: Path, labels: list[Any], names: list[str] | None = None, images: Any = None) -> None:
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    label = datasets.ClassLabel(names=names) if names else None
    columns = {"image": images or rows(len(labels)), "label": labels}
    made = datasets.Dataset.from_dict(columns)
    if label:
        made = made.cast_column("label", label).cast_column("image", datasets.Image(decode=False))
    made.to_parquet(str(path))


def declared(root: Path) -> None:
    """Each file has its classes in another order."""
    table(root / "train-0.parquet", [0, 1] * 6, ["cat", "dog"])
    table(root / "train-1.parquet", [0, 1, 0] * 4, ["dog", "cat"])
    table(root / "test-0.parquet", [1, 1, 0] * 4, ["dog", "cat"])
    table(root / "holdout-0.parquet", [0, 1], ["cat", "dog"])


def named(root: Path) -> None:
    table(root / "a[1].parquet", ["dog", "cat"] * 12)


def truth(root: Path) -> None:
    table(root / "train.parquet", [True, False] * 12)


def numbers(root: Path) -> None:
    table(root / "train.parquet", [0.0, 1.0] * 12)
    table(root / "validation.parquet", [1.0, 0.0, 0.0] * 2)


def broken(root: Path) -> None:
    images = rows(24)
    images[5]["bytes"] = b"This is no image"
    table(root / "train.parquet", [0, 1] * 12, images=images)


TABLES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "declared": (declared, []),
    "names": (named, ["data.validation=0.25"]),
    "truth": (truth, []),
    "numbers": (numbers, []),
    "damaged": (broken, ["data.skip_damaged=true"]),
    "resized": (declared, ["data.resize=12", "data.resize_policy=pad"]),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_the_splits_of_the_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, options = TABLES[name]
    make(tmp_path / "data")
    splits_of([f"data.source={tmp_path / 'data'}", *options], tmp_path / "project", monkeypatch)
