"""Equal images and groups stay in one split; what a source's own splits share is reported."""

import math
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from convsmith.data.checks.verify import verify
from convsmith.data.dataset import ImageDataset, image_ids, load
from convsmith.errors import DataError
from convsmith.recipes.loader import load as load_recipe
from convsmith.recipes.session import Session
from convsmith.runs.conditions import conditions_of
from convsmith.runs.schema import DataRecord
from helpers.sources import config, parquet, png, problems

CLASSES = ("cat", "dog")


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 images, five copies each, in files of other names and formats."""
    root = tmp_path_factory.mktemp("copies")
    for number in range(200):
        for copy in range(5):
            suffix = ("png", "bmp")[copy % 2]
            write(root / CLASSES[number % 2] / f"{copy}_{number}.{suffix}", number)
    return root


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve animals of each class with 3 to 14 photos each, all of them different."""
    root, seed = tmp_path_factory.mktemp("animals"), 0
    for name in CLASSES:
        for animal in range(12):
            for photo in range(3 + animal):
                seed += 1
                write(root / name / f"{name}{animal}_{photo:03}.png", seed)
    return root


def shared(data: ImageDataset) -> int:
    """The number of images that are in several splits."""
    sets = [set(image_ids(split.images).tolist()) for split in data.splits.values()]
    return sum(len(a & b) for i, a in enumerate(sets) for b in sets[:i])


def groups(data: ImageDataset) -> dict[str, set[int]]:
    return {name: set(np.asarray(split.groups).tolist()) for name, split in data.splits.items()}


@pytest.mark.parametrize("validation", [0.0, 0.25])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_images_are_in_one_split(copies: Path, validation: float, seed: int) -> None:
    settings = config(copies, validation=validation, split_seed=seed)
    data = load(settings)
    assert shared(data) == data.leaked == 0
    assert abs(len(data.test) - 200) <= 5
    assert np.abs(np.bincount(data.test.labels) - 100).max() <= 5
    if data.validation:
        assert abs(len(data.validation) - 200) <= 5
    record = DataRecord.of(data, settings)
    assert (record.equal_images, record.groups, record.group, record.leaked) == (800, None, None, 0)


def test_equal_after_resizing_is_equal(tmp_path: Path) -> None:
    """What the net sees counts: here one colour in several sizes."""
    for number in range(40):
        for size in (4, 8, 16):
            path = tmp_path / CLASSES[number % 2] / f"{number}-{size}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (size, size), (6 * number, 0, 0)).save(path)
    assert shared(load(config(tmp_path, resize=8, validation=0.2))) == 0


def test_the_validation_split_of_a_source_with_a_test_set(tmp_path: Path) -> None:
    for number in range(40):
        for copy in range(3):
            write(tmp_path / "train" / CLASSES[number % 2] / f"{number}_{copy}.png", number)
        write(tmp_path / "test" / CLASSES[number % 2] / f"{number}.png", 1000 + number)
    data = load(config(tmp_path, validation=0.2))
    assert shared(data) == 0
    assert data.validation is not None
    assert (len(data.validation), len(data.train), data.leaked) == (24, 96, 0)


@pytest.mark.parametrize(
    "pattern", [r"(\w+)_\d+", r"^([^_]+)_", r"[a-z]+\d+", r"(cat|dog)(\d+)", r"/(\w+)_\d+\."]
)
def test_groups_by_a_pattern_of_file_names(animals: Path, pattern: str) -> None:
    settings = config(animals, group=pattern, validation=0.2)
    data = load(settings)
    found = groups(data)
    assert sum(map(len, found.values())) == 24
    assert len(set.union(*found.values())) == 24
    for split in (data.test, data.validation):
        assert split is not None
        assert np.abs(np.bincount(split.labels) / 102 - (0.2 if split is data.test else 0.16)).max() < 0.06
    record = DataRecord.of(data, settings)
    assert (record.group, record.groups, record.equal_images, record.leaked) == (pattern, 24, 0, 0)


def test_groups_by_a_column(tmp_path: Path) -> None:
    columns = {
        "image": [png(value) for value in range(60)],
        "label": [value % 2 for value in range(60)],
        "patient": [f"p{value // 6}" for value in range(60)],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["a", "b"]),
            "patient": datasets.Value("string"),
        }
    )
    root = parquet(tmp_path, columns, features)
    data = load(config(root, group="patient", validation=0.25))
    # The pixels are the numbers of the images.
    patients = [set((np.asarray(split.images)[:, 0, 0, 0] // 6).tolist()) for split in data.splits.values()]
    assert sorted(map(len, patients)) == [2, 2, 6]
    assert len(set.union(*patients)) == 10
    assert "no column 'nurse' for data.group" in problems(root, group="nurse")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(", "not a regular expression"),
        (r"cat(\d+)_", "gives no group for 102 of 204 images, the first is dog/dog0_000.png"),
        (r"^()", "gives no group for 204 of 204 images"),
        (r"^(cat|dog)", "one group of images, or of equal images, only of 'cat', 'dog'"),
    ],
)
def test_impossible_groups(animals: Path, pattern: str, expected: str) -> None:
    message = problems(animals, group=pattern)
    assert expected in message
    assert "\n" in message


def test_digits_have_no_groups() -> None:
    assert "data.group needs a column or file names" in problems("digits", group="x")


def test_groups_are_a_condition_of_a_run(animals: Path) -> None:
    base = ["data.resize=8", f"data.source={animals}", "model.net=C4 / G F2", "brief=false"]
    plain, grouped = (
        Session.load(load_recipe("digits", [*base, *more])) for more in ([], [r"data.group=(\w+)_\d+"])
    )
    before, after = map(conditions_of, (plain, grouped))
    assert {key for key in after if after[key] != before.get(key)} == {
        "data.group", *(f"data.fingerprint.{name}" for name in ("train", "test")),
    }  # fmt: skip
    assert "24 groups of data.group stay in one split each" in "\n".join(grouped.describe())


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """Own splits: 20 of 40 test images are also training images, 5 of them under another label."""
    for number in range(80):
        write(tmp_path / "train" / CLASSES[number % 2] / f"{number}.png", number)
    for number in range(60, 100):
        label = (number + (number < 65)) % 2
        write(tmp_path / "test" / CLASSES[label] / f"other-{number}.bmp", number)
    return tmp_path


@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_own_splits_that_share_images_give_a_warning(leaking: Path, validation: float) -> None:
    overrides = [
        f"data.source={leaking}",
        "model.net=C4 / G F2",
        "brief=false",
        f"data.validation={validation}",
    ]
    session = Session.load(load_recipe("digits", overrides))
    assert session.data.leaked == 20
    assert "warning: 20 of 40 test images have the pixels of a training image" in "\n".join(
        session.describe()
    )
    assert DataRecord.of(session.data, session.recipe.data).leaked == 20
    across = [issue for issue in verify(config(leaking)).issues if issue.kind == "across splits"]
    assert sorted(issue.file for issue in across) == sorted(
        str(path.relative_to(leaking)) for path in leaking.glob("test/*/other-*") if int(path.stem[6:]) < 80
    )


def test_own_splits_that_share_a_group(tmp_path: Path) -> None:
    for number in range(80):
        split = "train" if number < 60 else "test"
        # Groups of 4; the groups 14 and 15 are in both splits.
        group = number // 4 if number < 60 or number > 67 else 14
        write(tmp_path / split / CLASSES[number % 2] / f"g{group}_{number}.png", number)
    assert load(config(tmp_path)).leaked == 0
    assert load(config(tmp_path, group=r"(g\d+)_")).leaked == 8
    found = verify(config(tmp_path, group=r"(g\d+)_"))
    assert found.counts == {"group across splits": 8}
    listed = {Path(issue.file).name for issue in found.issues}
    assert listed == {path.name for path in tmp_path.glob("test/*/g1[45]_*.png")}
    assert found.issues[0].reason.startswith("the group 'g14' of train/")
    assert verify(config(tmp_path)).clean
    with pytest.raises(DataError, match="gives no group for 60 of 60 images"):
        verify(config(tmp_path, group="(none)"))


def test_a_missing_number_is_no_group(tmp_path: Path) -> None:
    root = parquet(
        tmp_path / "set",
        {
            "image": [png(number) for number in range(8)],
            "label": [0, 1] * 4,
            "patient": [1.0, 2.0, 3.0, math.nan, math.nan, 4.0, 5.0, 6.0],
        },
    )
    assert "no group for 2 of 8 images, the first is data/train" in problems(root, group="patient")


def test_names_in_two_spellings_are_one_group(tmp_path: Path) -> None:
    # Composed, and a letter with a mark.
    for number in range(24):
        owner = ("Jos\u00e9", "Jose\u0301", f"Eva{number}")[number % 3]
        write(tmp_path / CLASSES[number % 2] / f"{owner}_{number}.png", number)
    for pattern in (r"^(\w+)_", "^(Jose\u0301|Eva\\d+)_"):
        data = load(config(tmp_path, group=pattern))
        assert data.grouping is not None
        assert data.grouping.groups == 9
