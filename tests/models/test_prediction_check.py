"""After a training, `predict` is compared with the evaluation, file by file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.dataset import image_ids
from convsmith.data.images.input_rule import InputRule, Pixels, read_pixels
from convsmith.evaluation import predictions
from convsmith.models import prediction_check
from convsmith.models.classifier import Classifier
from convsmith.recipes.loader import load
from convsmith.reports.report import Result
from helpers.images import saved

TINY = [
    "brief=false", "augment=false", "train.epochs=2", "model.net=C8:s2 C8:s2 / G F10", "train.batch_size=32",
]  # fmt: skip
NUM_IMAGES = 240


def sideways(digit: np.ndarray) -> Image.Image:
    image = Image.fromarray(digit).transpose(Image.Transpose.ROTATE_90)
    image.getexif()[0x0112] = 6
    return image


def wide(digit: np.ndarray) -> Image.Image:
    return Image.fromarray(np.hstack([digit, np.zeros((16, 32), np.uint8)]))


def window(digit: np.ndarray) -> Image.Image:
    alpha = np.zeros((16, 16), np.uint8)
    alpha[4:12, 4:12] = 255
    return Image.fromarray(np.dstack([digit, digit, digit, alpha]))


def black_ink(digit: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([np.zeros((16, 16, 3), np.uint8), digit]))


def white_ink(digit: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([np.full((16, 16, 3), 255, np.uint8), digit]))


MAKERS = {each.__name__: each for each in (sideways, wide, window, black_ink, white_ink)}


def write(folder: Path, kind: str, *, own_test: bool = True) -> Path:
    """Write digits as images of a kind."""
    digits = load_digits()
    for number in range(NUM_IMAGES):
        pixels = np.kron(np.rint(digits.images[number] * 255 / 16), np.ones((2, 2))).astype(np.uint8)
        image = MAKERS[kind](pixels)
        split = ("test" if number % 4 == 0 else "train") if own_test else ""
        place = folder / split / str(digits.target[number]) / f"{number}.png"
        saved(place, image, exif=image.getexif())
    return folder


def trained(folder: Path, kind: str) -> Result:
    overrides = [f"data.source={folder / 'data'}", *TINY, *(["data.resize=16"] if kind == "wide" else [])]
    return cs.train(load("digits", overrides), runs=folder / "runs")


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_the_test_files_give_the_logits_of_the_evaluation(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "data", kind)
    result = trained(tmp_path, kind)
    check = result.prediction_check
    assert check is not None
    assert (check.files, check.missing, check.agrees) == (prediction_check.NUM_FILES, 0, True)
    classifier = cs.load(result.folder)
    answers = classifier.predict(tmp_path / "data" / "test")
    right = sum(each.label == Path(each.image).parent.name for each in answers)
    assert (right, len(answers)) == (result.test.correct, result.test.total) == (right, NUM_IMAGES // 4)
    saved_predictions = predictions.read(result.folder / "predictions.npz")
    assert saved_predictions.ids is not None
    logits = dict(zip(saved_predictions.ids.tolist(), saved_predictions.logits, strict=True))
    # Different files stay different images.
    assert len(logits) == NUM_IMAGES // 4
    for each in answers:
        pixels = read_pixels(each.image, classifier.preprocessing.rule)[None]
        expected = logits[image_ids(pixels)[0]]
        np.testing.assert_allclose(classifier.logits(pixels)[0], expected, atol=1e-5, err_msg=each.image)


@pytest.mark.parametrize("kind", ["black_ink", "white_ink", "window"])
def test_icons_whose_shape_is_in_the_alpha_channel_are_told_apart(kind: str, tmp_path: Path) -> None:
    verification = cs.verify_data(str(write(tmp_path, kind)))
    digits = load_digits().images[:NUM_IMAGES]
    seen = digits[:, 2:6, 2:6] if kind == "window" else digits
    assert verification.counts.get("duplicate", 0) == NUM_IMAGES - len(np.unique(seen, axis=0)) == 0
    assert not verification.counts


@pytest.mark.slow
def test_another_rule_than_that_of_the_training_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "data", "black_ink", own_test=False)
    run = trained(tmp_path, "black_ink").folder
    assert "Warning" not in (run / "log.txt").read_text()
    check = cs.results(run)["prediction_check"]
    assert (check["files"], check["missing"], check["agrees"]) == (4, 0, True)
    assert check["largest_difference"] < 1e-5

    def other(encoded: str, rule: InputRule) -> Pixels:
        return read_pixels(encoded, replace(rule, background=(9, 9, 9)))

    monkeypatch.setattr(prediction_check, "read_pixels", other)
    capsys.readouterr()
    assert command(["evaluate", str(run)]) == 0
    warning = "Warning: predict does not give the logits of the evaluation"
    assert warning in capsys.readouterr().out
    assert warning in (run / "log.txt").read_text()
    assert cs.results(run)["prediction_check"]["agrees"] is False
    # A report without inference keeps the result.
    cs.report(run)
    assert cs.results(run)["prediction_check"]["agrees"] is False


def test_other_logits_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(*_: object, **__: object) -> np.ndarray:
        return np.full((4, 10), 9e9, np.float32)

    monkeypatch.setattr(Classifier, "logits", shifted)
    result = cs.train(load("digits", TINY), runs=tmp_path)
    check = result.prediction_check
    assert check is not None
    assert (check.files, check.missing, check.agrees) == (4, 0, False)
    assert "largest difference 9e+09" in (result.folder / "log.txt").read_text()
