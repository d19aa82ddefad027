"""First recipes: they load, fit their data, train as they are, and say why."""

import csv
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

import convsmith as cs
from convsmith.cli import run as run_command
from convsmith.data.checks.describe import describe
from convsmith.data.checks.description import Balance, Sizes
from convsmith.data.config import DataConfig
from convsmith.data.dataset import DatasetInfo, Split
from convsmith.errors import ConvsmithError, FileError, RecipeError
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.starter.images import ImageKind
from convsmith.recipes.starter.mirror import mirroring, reason_of_names, recognised
from convsmith.recipes.starter.net import WIDTHS, num_halvings, starter_net
from convsmith.recipes.starter.schedule import DEFAULT_RATE, Pace, batch_size_of, learning_rate
from convsmith.recipes.starter.size import resizing
from convsmith.recipes.starter.text import why_no_validation
from convsmith.recipes.starter.toml import CommentedToml
from convsmith.training.lr_find import analyze_losses
from helpers.images import saved
from helpers.oracle import Oracle, in_process
from helpers.sources import Folder


def pictures(
    root: Path,
    counts: dict[str, int],
    shape: tuple[int, ...],
    *,
    splits: tuple[str, ...] = ("",),
    seed: int = 0,
) -> Path:
    """Write noise on a grey level that depends on the class."""
    random = np.random.default_rng(seed)
    for split in splits:
        for label, (name, count) in enumerate(counts.items()):
            for number in range(count):
                pixels = random.integers(0, 60, shape) + 180 * label // max(len(counts) - 1, 1)
                saved(root / split / name / f"{number}.png", pixels.astype(np.uint8))
    return root


def final_accuracy(*overrides: str) -> float:
    """Train mine.toml, and return the accuracy on the test images after the last epoch."""
    folder = cs.train(cs.load_recipe("mine.toml", *overrides), runs="runs").folder
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        *_, last = csv.DictReader(file)
    return float(last["test_accuracy"])


CASES = {
    "2 classes, 28x28, grey": ({"cat": 12, "dog": 12}, (28, 28)),
    "tiny and unbalanced, colour": ({"rare": 3, "usual": 30}, (20, 24, 3)),
    "100 classes, 8x8": ({f"kind {number}": 3 for number in range(100)}, (8, 8)),
    "96x128, colour": ({"a cat": 6, "a dog": 6, "a fox": 6}, (96, 128, 3)),
}


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("case", CASES)
def test_the_recipe_loads_and_trains_as_it_is(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, shape = CASES[case]
    root = pictures(tmp_path / "data", counts, shape)
    monkeypatch.chdir(tmp_path)
    starter = cs.start_recipe(str(root), minutes=0.05, range_test=False)
    Path("mine.toml").write_text(starter.text, encoding="utf-8")
    recipe = cs.load_recipe("mine.toml")
    assert recipe.model_copy(update={"name": "starter"}) == starter.recipe
    assert in_process("check", "mine.toml").code == 0
    assert recipe.data.resize is None
    assert recipe.train.class_weights == ("balanced" if "unbalanced" in case else None)
    assert 1 <= recipe.train.epochs <= 100
    assert recipe.train.epochs * starter.epoch_seconds <= max(0.05 * 60, starter.epoch_seconds)
    assert 0 <= final_accuracy("train.epochs=1") <= 1


@pytest.mark.usefixtures("without_report")
def test_digits_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built-in digits: no flip, a measured learning rate, and a net that learns in a few epochs."""
    monkeypatch.chdir(tmp_path)
    result = in_process("init", "digits", "--minutes", "1", "--out", "mine.toml")
    assert (result.code, result.out) == (0, "")
    assert "Time: about " in result.err
    assert "Next: convsmith check mine.toml, then convsmith train mine.toml" in result.err
    text = Path("mine.toml").read_text("utf-8")
    assert "# Flips: The classes are digits or letters." in text
    assert "HorizontalFlip" not in text
    recipe = cs.load_recipe("mine.toml")
    assert 0.001 <= recipe.train.optimizer.lr <= 0.02
    assert "By a range test of " in text
    assert final_accuracy("train.epochs=4") > 0.85


def test_only_the_recipe_is_on_standard_output(image_folder: Folder) -> None:
    root = image_folder({"": 6}, classes=("cat", "dog"))
    result = in_process("init", str(root), "--no-range-test", "--minutes", "0.1", "data.test_fraction=0.5")
    assert result.code == 0
    table = tomllib.loads(result.out)
    assert table["data"] == {"source": str(root), "test_fraction": 0.5}
    assert table["train"]["optimizer"]["lr"] == DEFAULT_RATE
    assert "Assumed: " in result.err
    assert "Time: " in result.err


def test_flips_by_option_and_by_an_answer(image_folder: Folder) -> None:
    root = str(image_folder({"": 6}, classes=("cat", "dog")))

    def names(**options: object) -> list[str]:
        starter = cs.start_recipe(root, minutes=0.1, range_test=False, **options)  # type: ignore[arg-type]
        return [each.name for each in starter.recipe.augment.transforms]

    asked: list[tuple[str, bool]] = []

    def no(question: str, default: bool) -> bool:
        asked.append((question, default))
        return False

    assert names(flip=True) == ["HorizontalFlip", "ShiftScaleRotate"]
    assert names(flip=False) == ["ShiftScaleRotate"]
    assert names(ask=no) == ["ShiftScaleRotate"]
    assert len(asked) == 1
    assert "Is a mirrored image still one of its class" in asked[0][0]
    # No question where an option, or the names of the classes, decide.
    names(ask=no, flip=True)
    cs.start_recipe("digits", minutes=0.1, range_test=False, ask=no)
    assert len(asked) == 1


def test_mixed_sizes_damaged_images_and_splits(tmp_path: Path) -> None:
    root = pictures(tmp_path / "mixed", {"ant": 8, "bee": 8}, (40, 60, 3), splits=("train", "val", "test"))
    for split in ("train", "val", "test"):
        pictures(root / split, {"ant": 3, "bee": 3}, (90, 30, 3), seed=1)
    (root / "train" / "ant" / "bad.png").write_bytes(b"none")
    starter = cs.start_recipe(str(root), minutes=0.1, range_test=False)
    data = starter.recipe.data
    assert (data.resize, data.resize_policy, data.skip_damaged, data.validation) == (28, "pad", True, "split")
    assert "1 image cannot be used" in starter.text
    assert "# Sizes: a tenth of the shorter sides have at most 30 pixels" in starter.text
    # The validation split selects the epoch.
    assert starter.recipe.train.keep == "best"
    assert "# The epoch that is best on the 16 validation images is kept." in starter.text
    assert "16 validation" in starter.text.splitlines()[0]
    # What the user says stays.
    data = cs.start_recipe(
        str(root), "data.resize=16", "data.validation=0", minutes=0.1, range_test=False
    ).recipe.data
    assert (data.resize, data.resize_policy, data.validation) == (16, None, 0)


def test_an_existing_file_is_kept_and_nothing_is_written_after_an_error(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("precious")
    oracle = Oracle(tmp_path)
    oracle.expect_error("init", "digits", "--out", str(mine), code="E010", names=("--force",))
    oracle.expect_error("init", str(tmp_path / "none"), "--out", str(tmp_path / "new.toml"), code="E040")
    oracle.expect_error("init", "digits", "--minutes", "0", code="E030", names=("--minutes",))
    oracle.expect_error("init", code="E030", names=("convsmith init digits", "--ci"))
    oracle.expect_error("init", "digits", "--net", "model.py:Net", code="E030", names=("--net", "--ci"))
    oracle.expect_error(
        "init", "--ci", "course-a4-mnist-8k", "--minutes", "3", code="E030", names=("--minutes",)
    )
    oracle.expect_error("init", "digits", "train.epochs=3", code="E030", names=("train.epochs=3", "[data]"))


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convsmith.recipes.starter.starter.measure", interrupted)
    assert run_command(["init", "digits", "--out", str(tmp_path / "mine.toml")]) == 130
    assert list(tmp_path.iterdir()) == []


def test_names_with_control_characters_stay_in_their_comment(tmp_path: Path) -> None:
    root = pictures(tmp_path / "odd", {"a\nb = 1": 6, 'c"#\x1b[31m': 9}, (8, 8))
    starter = cs.start_recipe(str(root), minutes=0.1, range_test=False)
    assert starter.recipe.data.source == str(root)
    assert starter.text.isprintable() or all(char.isprintable() or char == "\n" for char in starter.text)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "all" / name).mkdir(parents=True)
        (tmp_path / "all" / name / "0.png").write_bytes(b"none")
    with pytest.raises(RecipeError, match="no image can be used"):
        cs.start_recipe(str(tmp_path / "all"))


@given(
    st.integers(4, 256),
    st.integers(4, 256),
    st.sampled_from([1, 3]),
    st.integers(2, 2000),
    st.sampled_from(WIDTHS),
)
@settings(max_examples=40)
def test_every_net_fits_its_images(height: int, width: int, channels: int, classes: int, first: int) -> None:
    net = starter_net(DatasetInfo(image_shape=(channels, height, width), num_classes=classes), first)
    analysis = analyze_notation(net, (channels, height, width))
    assert analysis.num_outputs == classes
    # The last map has at least two pixels a side, and sees the shorter side of the image.
    side = min(height, width)
    assert side / 2 ** num_halvings(side) >= 2
    assert analysis.receptive_field >= side


@given(st.integers(1, 10**7))
def test_batch_sizes_are_powers_of_two(images: int) -> None:
    size = batch_size_of(images)
    assert size in {16, 32, 64, 128}
    assert batch_size_of(2 * images) >= size


@given(st.integers(1, 5000), st.floats(1e-4, 10), st.floats(0, 100), st.floats(1, 1e5))
def test_epochs_stay_in_the_budget(steps: int, step: float, evaluation: float, seconds: float) -> None:
    pace = Pace(steps=steps, step=step, evaluation=evaluation)
    epochs = pace.epochs(seconds)
    assert 1 <= epochs <= 100
    assert epochs == 1 or epochs * (steps * step + evaluation) <= seconds
    assert pace.enough <= pace.most


def test_the_reason_for_no_validation_images_is_the_right_one() -> None:
    digits = describe(DataConfig(source="digits"))
    assert why_no_validation(replace(digits, splits={"train": 400})).startswith("Few images: ")
    rare = replace(digits, balance=Balance.of({"joy": 1700, "contempt": 9}))
    assert why_no_validation(rare).startswith(
        "None are held out for validation: 'contempt' has 9 images only."
    )


def test_a_busy_machine_is_said() -> None:
    assert not Pace(steps=1, step=1.0, evaluation=0.0).is_busy
    assert Pace(steps=1, step=1.0, evaluation=0.0, load=4.0).is_busy


def test_learning_rates_of_range_tests() -> None:
    rates = np.geomspace(1e-6, 10, 100)
    falling = analyze_losses(rates, [2.3 - 2 * float(np.exp(-((np.log10(rate) + 2) ** 2))) for rate in rates])
    assert learning_rate(falling) == pytest.approx(
        float(f"{max(falling.best / 10, falling.suggestion or 0):.1e}")
    )
    assert learning_rate(None) == DEFAULT_RATE
    rising = analyze_losses(rates, [float(number) for number in range(1, 101)])
    assert learning_rate(rising) == DEFAULT_RATE


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0", "1", "9"], "digits or letters"),
        (["zero", "One"], "digits or letters"),
        (["A", "b", "ß"], "digits or letters"),
        (["letter_a", "Letter B"], "digits or letters"),
        (["digit 3", "digit 4"], "digits or letters"),
        (["turnLeft", "stop"], "'turnLeft' has a side"),
        (["arrow_right", "up"], "'arrow_right' has a side"),
        (["Greek letters", "photos"], "is that of writing"),
        (["cat", "dog"], ""),
        (["copyright", "leftover"], ""),
        ([str(number) for number in range(44)], ""),
    ],
)
def test_reasons_of_names(names: list[str], expected: str) -> None:
    reason = reason_of_names(names)
    assert expected in reason
    assert bool(expected) == bool(reason)


def digits_split(*, mirrored: bool = False) -> Split:
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)[..., None]
    return Split(images=images[:, :, ::-1] if mirrored else images, labels=digits.target.astype(np.int64))


def test_mirrored_digits_look_unlike_their_class_whatever_its_name() -> None:
    names = [f"kind {number}x" for number in range(10)]
    for split in (digits_split(), digits_split(mirrored=True)):
        judged = mirroring(split, names)
        assert (judged.allowed, judged.certain) == (False, False)
        assert "mirrored images look unlike their class" in judged.reason


def test_images_that_are_mirrored_at_random_say_nothing_against_flips() -> None:
    split = digits_split()
    images = np.array(split.images)
    flips = np.random.default_rng(0).random(len(images)) < 0.5
    images[flips] = images[flips][:, :, ::-1]
    judged = mirroring(Split(images=images, labels=split.labels), [f"kind {number}x" for number in range(10)])
    assert (judged.allowed, judged.certain) == (True, False)


def test_a_nearest_mean_classifier_by_hand() -> None:
    """Two classes, one dark at the left and one dark at the right: mirrored, each looks like the other."""
    images = np.full((40, 8, 8, 1), 200, np.uint8)
    images[:20, :, :4], images[20:, :, 4:] = 10, 10
    labels = np.repeat([0, 1], 20)
    plain, mirrored = recognised(Split(images=images, labels=labels), 2, 0)
    assert plain.sum() == len(plain) == 40
    assert not mirrored.any()
    few = recognised(Split(images=images[::8], labels=labels[::8]), 2, 0)
    assert [len(each) for each in few] == [0, 0]


def test_photos_and_drawings() -> None:
    random = np.random.default_rng(0)
    labels = np.zeros(30, dtype=np.int64)
    photos = random.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    drawings = np.full((30, 32, 32, 3), 255, np.uint8)
    drawings[:, 8:20, 8:20] = [255, 0, 0]
    assert ImageKind.of(Split(images=photos, labels=labels)) == ImageKind(photos=True, even_border=False)
    assert ImageKind.of(Split(images=drawings, labels=labels)) == ImageKind(photos=False, even_border=True)
    grey = Split(images=photos[..., :1], labels=labels)
    assert ImageKind.of(grey) == ImageKind(photos=False, even_border=False)


@given(st.dictionaries(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), st.integers(1, 50), min_size=1))
def test_a_size_that_most_images_have(counts: dict[tuple[int, int], int]) -> None:
    suggestion = resizing(Sizes.of(counts), 96)
    if suggestion is None:
        ((width, height),) = counts
        assert width * height <= 128**2
        return
    size = DataConfig(source="x", resize=suggestion.resize).size
    assert size is not None
    shorter = np.repeat([min(size) for size in counts], list(counts.values()))
    assert min(size) == 8 or (shorter < min(size)).mean() <= 0.1
    # Not square only at the cost of a square, or a third more; the size of most images is kept.
    is_kept = "of the images have" in suggestion.reason
    assert is_kept or min(size) <= 96
    assert min(size) == 8 or size[0] * size[1] <= (128**2 if is_kept else 4 / 3 * 96**2)


def test_photos_of_one_shape_keep_it_and_others_are_square() -> None:
    assert resizing(Sizes.of({(89, 100): 100}), 96) is None
    for counts, expected in (
        ({(1024, 768): 45}, "data.resize=96x128"),
        ({(768, 1024): 45}, "data.resize=128x96"),
        ({(1500, 1000): 30, (1490, 1000): 30}, "data.resize=80x120"),
        ({(400, 380): 30, (380, 400): 30}, "data.resize=96"),
        ({(400, 300): 30, (300, 400): 30}, "data.resize=96 data.resize_policy=crop"),
        ({(800, 300): 30, (300, 400): 30}, "data.resize=96 data.resize_policy=pad"),
    ):
        suggestion = resizing(Sizes.of(counts), 96)
        assert suggestion is not None
        assert suggestion.settings == expected
        assert "larger images may be more accurate" in suggestion.reason
    small = resizing(Sizes.of({(30, 40): 30, (31, 40): 30}), 96)
    assert small is not None
    assert (small.settings, "larger" in small.reason) == ("data.resize=40x28", False)


@given(
    st.text(),
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]), st.integers(-(10**6), 10**6) | st.booleans() | st.text()
    ),
)
def test_comments_never_change_the_values(text: str, table: dict[str, object]) -> None:
    toml = CommentedToml()
    toml.comment(text)
    try:
        toml.values(table)
        written = toml.text().encode().decode()
    except UnicodeEncodeError:
        return
    assert tomllib.loads(written) == table


def test_a_source_that_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(ConvsmithError, match="not UTF-8"):
        cs.start_recipe("caf\udce9")


def test_python_writes_a_file_on_request(image_folder: Folder, tmp_path: Path) -> None:
    root = str(image_folder({"": 6}, classes=("cat", "dog")))
    out = tmp_path / "new" / "mine.toml"
    starter = cs.start_recipe(root, minutes=0.1, range_test=False, out=out)
    assert out.read_text("utf-8") == starter.text
    with pytest.raises(FileError, match="another file exists"):
        cs.start_recipe("digits", minutes=0.1, range_test=False, out=out)
