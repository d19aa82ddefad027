"""Every mode, format, orientation and size gives the same pixels on every path, and those of an oracle."""

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, load
from convsmith.data.images.input_rule import POLICIES, InputRule, Pixels, ResizePolicy, read_pixels
from convsmith.exporters.onnx_model import metadata
from convsmith.models.bundle_model import BundleModel
from convsmith.models.bundle_schema import BundleMetadata, Preprocessing
from convsmith.models.image_inputs import ImageInput, image_sources
from convsmith.models.resolve import resolve_trained
from convsmith.runs.schema import DataRecord
from helpers.fast import few_fast
from helpers.images import saved
from helpers.pictures import CASES, PILLOW, SIZES, Picture, flattened, pictures, resized

SIDE = 16
# Of Lanczos filters in integers, and of grey levels in integers.
ROUNDING = 2
GREY, COLOUR = (200,), (10, 200, 77)


def oracles(picture: Picture, rule: InputRule) -> list[np.ndarray]:
    """The expected pixels; Pillow resizes rows or columns first, depending on its version and the size."""
    flat = flattened(picture.expected, picture.orientation, rule.background)
    return [resized(flat, SIDE, rule.resize_policy, rule.background, axes) for axes in ((0, 1), (1, 0))]


def rule_of(policy: ResizePolicy, background: tuple[int, ...]) -> InputRule:
    return InputRule(
        channels=len(background), height=SIDE, width=SIDE, resize_policy=policy, background=background
    )


def check(picture: Picture, rule: InputRule, pixels: Pixels) -> None:
    tolerance = picture.expected.tolerance + ROUNDING
    expected = oracles(picture, rule)
    difference = min(int(np.abs(pixels.astype(int) - each).max()) for each in expected)
    assert difference <= tolerance, (picture.name, rule, difference)


def compare_with_oracle(*, every: bool) -> int:
    count = 0
    for picture in pictures(every=every):
        for policy in POLICIES:
            for background in (GREY, COLOUR):
                rule = rule_of(policy, background)
                check(picture, rule, read_pixels(picture.content, rule))
                count += 1
    return count


@pytest.mark.slow
def test_every_mode_format_orientation_and_size_is_read_as_the_oracle_says() -> None:
    oriented = sum(kind in {"PNG", "JPEG", "WEBP", "TIFF"} for _, kind in CASES)
    files = (8 * oriented + len(CASES) - oriented) * len(SIZES)
    assert files == 2_884
    assert compare_with_oracle(every=True) == 6 * files


def test_a_file_of_each_mode_format_and_size_is_read_as_the_oracle_says() -> None:
    assert (len(CASES), len(SIZES)) == (62, 7)
    assert compare_with_oracle(every=False) == 6 * 62 * 7


@pytest.mark.parametrize("mode", PILLOW)
@pytest.mark.parametrize("background", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_mode_of_pillow_images_is_read_as_the_oracle_says(
    mode: str, background: tuple[int, ...]
) -> None:
    image, expected = PILLOW[mode](np.random.default_rng(0), 33, 20)
    rule = rule_of("stretch", background)
    picture = Picture(name=mode, content=b"", orientation=1, expected=expected)
    before = image.tobytes()
    check(picture, rule, read_pixels(image, rule))
    assert image.tobytes() == before


# --- path by path


def write_files(folder: Path, *, grey: bool) -> dict[str, Picture]:
    """Write one file of each mode, format and size as a class of a data set; return them by path."""
    written: dict[str, Picture] = {}
    for picture in pictures(every=False):
        if picture.expected.grey or not grey:
            path = folder / ("a", "b")[len(written) % 2] / picture.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.content)
            written[str(path)] = picture
    return written


def write_parquet(folder: Path, files: dict[str, Picture], *, inline: bool) -> Path:
    """Write the files as rows, with their bytes or with their paths."""
    (folder / "data").mkdir(parents=True)
    cells = []
    for number, picture in enumerate(files.values()):
        name = f"{number}.bin"
        if not inline:
            (folder / name).write_bytes(picture.content)
        cells.append({"bytes": picture.content if inline else None, "path": name})
    classes = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features(
        {"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}, "label": classes}
    )
    labels = [number % 2 for number in range(len(cells))]
    table = datasets.Dataset.from_dict({"image": cells, "label": labels}, features=features)
    table.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    return folder


def counted(images: list[Pixels]) -> Counter[bytes]:
    return Counter(image.tobytes() for image in images)


def cached(data: ImageDataset) -> Counter[bytes]:
    return counted([*np.asarray(data.train.images), *np.asarray(data.test.images)])


def bundle_of(preprocessing: Preprocessing) -> Preprocessing:
    """Return the preprocessing after a bundle was written and read."""
    model = resolve_trained("digits")
    assert isinstance(model, BundleModel)
    changed = model.bundle.metadata.model_copy(update={"preprocessing": preprocessing, "format": 2})
    return BundleMetadata.model_validate_json(changed.model_dump_json()).preprocessing


def onnx_rule(classifier: cs.Classifier) -> InputRule:
    """Return the rule as a reader of an ONNX file knows it: from the texts of its metadata."""
    texts = metadata(classifier)
    assert f"(N, {SIDE}, {SIDE}, {classifier.preprocessing.channels})" in texts["input"]
    (policy,) = (each for each in POLICIES if each == texts["resize_policy"])
    return rule_of(policy, tuple(json.loads(texts["background"])))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("grey", few_fast([False, True], 1), ids=["colour", "grey"])
def test_every_path_reads_the_same_pixels(policy: ResizePolicy, grey: bool, tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", grey=grey)
    options = {"resize": SIDE, "resize_policy": policy}
    data = load(DataConfig.model_validate({"source": str(tmp_path / "files"), **options}))
    assert data.rule.channels == (1 if grey else 3)
    record = DataRecord.of(data, DataConfig(source="files"))
    read = DataRecord.model_validate_json(record.model_dump_json())
    preprocessing = Preprocessing(
        channels=1 if grey else 3,
        height=SIDE,
        width=SIDE,
        mean=read.mean,
        std=read.std,
        resize_policy=read.resize_policy or "crop",
        background=read.background,
    )
    classifier = resolve_trained("digits").classifier("cpu")
    classifier.preprocessing = preprocessing
    bundled, exported = bundle_of(preprocessing).rule, onnx_rule(classifier)

    def by_source(image: ImageInput) -> Pixels:
        (source,) = image_sources(image)
        pixels = classifier.read(source)
        assert isinstance(pixels, np.ndarray), pixels
        return pixels

    def by_pillow(path: str) -> Pixels:
        with Image.open(path) as image:
            return by_source(image)

    paths: dict[str, Callable[[str], Pixels]] = {
        "predict a file": by_source,
        "Classifier with a Pillow image": by_pillow,
        "a bundle, with bytes": lambda path: read_pixels(Path(path).read_bytes(), bundled),
    }
    expected = {path: read_pixels(path, data.rule) for path in files}
    count = 0
    for path, picture in files.items():
        check(picture, data.rule, expected[path])
        check(picture, exported, expected[path])
        for name, read_by in paths.items():
            assert np.array_equal(read_by(path), expected[path]), (name, path)
            count += 1
    # Training: from files, from bytes in parquet files, and from paths in them.
    everything = counted(list(expected.values()))
    assert cached(data) == everything
    for inline in (True, False):
        folder = write_parquet(tmp_path / f"parquet {inline}", files, inline=inline)
        other = load(DataConfig.model_validate({"source": str(folder), **options}))
        assert cached(other) == everything
        assert (other.fingerprint, other.rule) == (data.fingerprint, data.rule)
    assert count == 3 * len(files)
    # Whether Pillow stores grey in a GIF depends on its version.
    assert len(files) >= NUM_GREY if grey else len(files) == 62 * 7


NUM_GREY = 210


def test_verification_finds_equal_pixels_as_the_oracle_does(tmp_path: Path) -> None:
    """Beside each file lies what it shows, upright and opaque, in another format, and noise of that size."""
    random = np.random.default_rng(1)
    equal = set()
    for number, picture in enumerate(pictures(every=False)):
        flat = flattened(picture.expected, picture.orientation, (255, 255, 255)).astype(np.uint8)
        # Single pixels equal each other by chance.
        if picture.expected.tolerance == 0 and flat.shape[:2] != (1, 1):
            folder = tmp_path / ("a", "b")[number % 2]
            name = f"{number:04} file {picture.name}"
            saved(folder / f"{number:04} copy.bmp", Image.fromarray(flat))
            (folder / name).write_bytes(picture.content)
            noise = random.integers(0, 256, flat.shape).astype(np.uint8)
            saved(folder / f"{number:04} noise.bmp", Image.fromarray(noise))
            equal.add(f"{folder.name}/{name}")
    verification = cs.verify_data(str(tmp_path), "data.resize=16", "data.background=white")
    assert {issue.file for issue in verification.issues if issue.kind == "duplicate"} == equal
    assert len(equal) > 300


def test_pixels_in_memory_are_read_like_files() -> None:
    random = np.random.default_rng(0)
    for shape in ((20, 9), (20, 9, 1), (20, 9, 3), (20, 9, 4)):
        array = random.integers(0, 256, shape).astype(np.uint8)
        content = io.BytesIO()
        Image.fromarray(array.squeeze()).save(content, "PNG")
        for background in (GREY, COLOUR):
            rule = rule_of("crop", background)
            assert np.array_equal(read_pixels(array, rule), read_pixels(content.getvalue(), rule))
