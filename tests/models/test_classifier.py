"""Classifiers: the logits of the evaluation, and robust batch prediction."""

import csv
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.images.input_rule import read_pixels
from convsmith.errors import BundleError, ImageError
from convsmith.evaluation import predictions
from convsmith.models.classifier import Prediction, UnreadableImage
from convsmith.models.image_blocks import ImageSource
from convsmith.system import files, reading
from helpers.images import saved


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_image_files_give_the_logits_of_the_evaluation(
    tiny_run: Path, digits_test_images: np.ndarray, tmp_path: Path, batch_size: int
) -> None:
    expected = predictions.read(tiny_run / "predictions.npz").logits[:23]
    classifier = cs.load(tiny_run)
    names = [saved(tmp_path / f"{n:03}.png", image) for n, image in enumerate(digits_test_images[:23])]
    pixels = np.stack([read_pixels(name, classifier.preprocessing.rule) for name in names])
    assert np.array_equal(pixels, digits_test_images[:23])
    assert np.array_equal(classifier.logits(pixels, batch_size), expected)
    scaled = expected.astype(np.float64) / classifier.confidence.temperature
    probabilities = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    results = classifier.predict(str(tmp_path), top_k=10, batch_size=batch_size)
    assert [each.image for each in results] == names
    for each, row in zip(results, probabilities, strict=True):
        assert dict(each.top) == pytest.approx({str(n): share for n, share in enumerate(row)}, abs=1e-9)
        assert (each.label, each.confidence) == each.top[0]
        assert each.unsure == (row.max() < classifier.confidence.unsure_below)


def test_pillow_images_arrays_and_paths_in_one_call(tmp_path: Path) -> None:
    digits = cs.load("digits")
    image = np.zeros((8, 8, 1), np.uint8)
    image[:, 3:5] = 255
    name = saved(tmp_path / "one.png", image)
    predictions = digits.predict(
        [Image.fromarray(image[..., 0]), np.stack([image, image]), image[..., 0], name]
    )
    assert [each.image for each in predictions] == ["image 0", "image 1", "image 2", "image 3", name]
    assert len({each.top for each in predictions}) == 1
    assert cs.predict(digits, image, top_k=1)[0].top[0][0] == predictions[0].label
    with pytest.raises(ImageError, match="at least 1"):
        digits.predict(image, top_k=0)


@pytest.fixture
def mixed(tmp_path: Path, digits_test_images: np.ndarray) -> Path:
    folder = tmp_path / "mixed"
    for number in range(6):
        saved(folder / f"{number}.png", digits_test_images[number])
    content = (folder / "0.png").read_bytes()
    (folder / "2.png").write_bytes(content[: len(content) // 2])
    (folder / "4.png").write_bytes(b"")
    (folder / "=cmd().png").write_text("text")
    bomb = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    import zlib

    (folder / "bomb.png").write_bytes(
        content[:12] + bomb + struct.pack(">I", zlib.crc32(bomb)) + content[33:]
    )
    Image.fromarray(np.full((8, 8), 300, np.float32)).save(folder / "wide.png", "TIFF")
    return folder


BAD = ("2.png", "4.png", "=cmd().png", "bomb.png", "wide.png")


def test_unreadable_images_are_reported_and_the_others_predicted(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: reading.sha256(path) for path in mixed.iterdir()}
    monkeypatch.chdir(mixed)
    paths = ["--csv", str(tmp_path / "a.csv"), "--jsonl", str(tmp_path / "a.jsonl")]
    assert command(["predict", "digits", *sorted(before), "--json", "--top-k", "2", *paths]) == 1
    out, err = capsys.readouterr()
    assert [line.split(": ")[1] for line in err.splitlines()] == list(BAD)
    records = json.loads(out)
    assert [each["image"] for each in records] == sorted(before)
    assert [each["image"] for each in records if "error" in each] == list(BAD)
    assert all(len(each["top"]) == 2 for each in records if "error" not in each)
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == records
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["image"].removeprefix("'") for row in rows] == sorted(before)
    assert next(row for row in rows if "cmd" in row["image"])["image"] == "'=cmd().png"
    for row, record in zip(rows, records, strict=True):
        assert row["label"] == record.get("label", "")
        assert bool(row["error"]) == ("error" in record)
    assert {path.name: reading.sha256(path) for path in mixed.iterdir()} == before


def test_predict_reports_every_unreadable_image_and_stream_skips_them(mixed: Path) -> None:
    digits = cs.load("digits")
    with pytest.raises(ImageError) as caught:
        digits.predict(mixed)
    assert [Path(problem.where).name for problem in caught.value.problems] == list(BAD)
    kinds = [type(each) for each in digits.stream(mixed, batch_size=2)]
    assert kinds.count(UnreadableImage) == len(BAD)
    assert kinds.count(Prediction) == 4


def test_one_batch_at_a_time_is_read() -> None:
    read: list[int] = []

    def item(number: int) -> ImageSource:
        def pixels() -> np.ndarray:
            read.append(number)
            return np.zeros((8, 8, 1), np.uint8)

        return ImageSource(name=str(number), read=pixels)

    results = cs.load("digits").classify((item(number) for number in range(100)), batch_size=8)
    for number, result in enumerate(results):
        assert result.image == str(number)
        assert len(read) == 8 * (number // 8 + 1) or len(read) == 100


def test_printed_lines_and_interrupted_output_files(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["predict", "digits", str(mixed / "0.png")]) == 0
    assert capsys.readouterr().out.startswith(f"{mixed / '0.png'}: ")

    def interrupted() -> None:
        with files.atomic_text(tmp_path / "rows.txt") as add:
            add("first\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "rows.txt").read_text() == "first\n"
    assert command(["predict", "digits", str(mixed / "0.png"), "--csv", str(tmp_path / "no" / "a.csv")]) == 2
    assert "error[E010]" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed", "rows.txt"]


def test_a_prediction_prints_classes_and_probabilities() -> None:
    top = (("cat", 0.9), ("dog", 0.06))
    sure = Prediction(image="a.png", label="cat", confidence=0.9, unsure=False, top=top)
    assert repr(sure) == "a.png: cat 90.0 %, dog 6.0 %"
    unsure = Prediction(image="a.png", label="cat", confidence=0.9, unsure=True, top=top)
    assert repr(unsure) == "a.png: unsure: cat 90.0 %, dog 6.0 %"


def test_logits_that_are_not_finite_are_an_error() -> None:
    digits = cs.load("digits")
    with torch.no_grad():
        for each in digits.net.parameters():
            each.fill_(1e38)
    with pytest.raises(BundleError, match="logits are not finite"):
        digits.predict(np.full((8, 8, 1), 255, np.uint8))
