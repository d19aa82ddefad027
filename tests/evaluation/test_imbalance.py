"""Metrics of imbalanced data, against scikit-learn's, and where they are reported."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, f1_score

import convsmith as cs
from convsmith.cli import run
from convsmith.evaluation.imbalance import ClassBalance, frequencies, is_imbalanced
from convsmith.evaluation.metrics import compute_metrics
from convsmith.evaluation.predictions import Predictions
from convsmith.training.config import TrainConfig
from convsmith.training.metrics import split_metrics

NAMES = tuple("abcd")


@settings(deadline=None, max_examples=50)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.1, 3.0]),
)
def test_balanced_accuracy_and_macro_f1_are_those_of_scikit_learn(
    labels: list[int], seed: int, scale: float
) -> None:
    import torch

    true = np.array(labels)
    logits = np.random.default_rng(seed).normal(size=(len(true), 4)).astype(np.float32)
    logits[np.arange(len(true)), true] += scale
    metrics = compute_metrics(Predictions(logits=logits, labels=true), NAMES)
    predicted = logits.argmax(1)
    of_epoch = split_metrics(torch.from_numpy(logits), torch.from_numpy(true))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if set(labels) == set(range(4)):
            expected = balanced_accuracy_score(true, predicted)
            assert metrics.balanced_accuracy == pytest.approx(expected)
            assert of_epoch.balanced_accuracy == pytest.approx(expected)
        else:
            # A mean over the remaining classes would hide the one without images.
            assert metrics.balanced_accuracy is None
            assert of_epoch.balanced_accuracy is None
        if set(labels) == set(predicted.tolist()) == set(range(4)):
            assert metrics.macro_f1 == pytest.approx(f1_score(true, predicted, average="macro"))
        else:
            assert metrics.macro_f1 is None


def test_a_split_is_imbalanced_from_twice_the_images_on() -> None:
    assert not is_imbalanced((100, 51))
    assert is_imbalanced((100, 50))
    assert is_imbalanced((1, 0))
    assert not is_imbalanced((0, 0))
    # The training set counts too: its frequencies are what the net assumes.
    assert ClassBalance(train=(100, 50), test=(10, 10)).is_imbalanced
    assert not ClassBalance(train=(100, 60), test=(10, 10)).is_imbalanced


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({}, "those of the training images (a 90.0 %, b 10.0 %). The"),
        (
            {"class_weights": "balanced"},
            "equal ones, since the training gives every class the same weight. The calibration",
        ),
        ({"sampling": "balanced"}, "equal ones"),
        ({"class_weights": {"a": 1, "b": 5}}, "times the weights of the classes (a 90.0 %, b 10.0 %)"),
        (
            {"class_weights": {"a": 1, "b": 5}, "sampling": "balanced"},
            "equal ones, of balanced sampling, times the weights of the classes. The",
        ),
        ({"epochs": 0}, "those of the images that the net was trained on, which are not known. The"),
    ],
)
def test_the_prior_follows_from_the_training(train: dict[str, object], expected: str) -> None:
    config = TrainConfig.model_validate({"epochs": 1, **train})
    sentence = ClassBalance.of(config, (90, 10), (5, 5)).prior_sentence(("a", "b"))
    assert sentence.startswith("The confidences assume class frequencies: ")
    assert expected in sentence
    assert "of the test images (equal: 50.0 % each)" in sentence


def test_of_many_classes_the_ends_are_named() -> None:
    counts = [10 + (7 * place) % 13 for place in range(13)]
    assert frequencies(counts, [f"n{place}" for place in range(13)]) == "from n0 4.8 % to n11 10.6 %"


@pytest.fixture(scope="module")
def imbalanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on bright and dark images, of which the latter are rare."""
    folder, random = tmp_path_factory.mktemp("imbalanced"), np.random.default_rng(0)
    for split, counts in (("train", (60, 12)), ("test", (30, 6))):
        for name, count, level in zip(("bright", "dark"), counts, (140, 110), strict=True):
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.normal(level, 30, (8, 8)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{number}.png")
    recipe = cs.load_recipe(
        "digits", f"data.source={folder / 'data'}", "model.net=C4 / G F2", "train.epochs=2", "name=rare"
    )
    return cs.train(recipe, runs=folder).folder


def test_each_class_comes_first(imbalanced: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = json.loads((imbalanced / "results.json").read_text())
    assert list(results)[:3] == ["imbalanced", "test", "classes"]
    assert list(results["test"])[:3] == ["balanced_accuracy", "macro_f1", "balanced_accuracy_95"]
    low, high = results["test"]["balanced_accuracy_95"]
    assert 0 < low < results["test"]["balanced_accuracy"] <= high <= 1
    recalls = [each["recall"] for each in results["classes"]]
    assert results["test"]["balanced_accuracy"] == pytest.approx(sum(recalls) / 2)
    assert (
        "The confidences assume class frequencies: those of the training images (bright 83.3 %"
        in (results["test"]["calibration"]["prior"])
    )
    assert cs.results(imbalanced) == results
    assert list(cs.results(imbalanced)) == list(results)
    log = (imbalanced / "log.txt").read_text()
    end = log[log.index("Imbalanced data: the classes have 12 to 60 training images and 6 to 30 test") :]
    interval = f"95% interval {100 * low:.2f} to {100 * high:.2f} %"
    assert f", {interval}\n" in end
    assert end.index("Balanced accuracy: ") < end.index("Accuracy of dark") < end.index("Test set: ")
    page = (imbalanced / "README.md").read_text()
    assert page.index("**Balanced test accuracy") < page.index("**Test accuracy")
    assert interval.replace("95%", "(95 %") in page
    assert page.index("### Recall of each class") < page.index("### In numbers")
    assert page.index("| balanced accuracy |") < page.index("| accuracy |")
    assert "The confidences assume class frequencies" in page
    html = (imbalanced / "report.html").read_text()
    assert html.index("Balanced accuracy, the mean recall") < html.index("are classified correctly")
    assert html.index('<section id="classes">') < html.index('<section id="training">')
    assert interval.replace("95%", "95 %") in html
    assert html.count('<section id="classes">') == 1
    assert "The confidences assume class frequencies" in html
    run(["evaluate", str(imbalanced)])
    out = capsys.readouterr().out
    assert out.index("Balanced accuracy: ") < out.index("Test set: ")
    assert out.index("Balanced test accuracy: ") < out.index("\nTest accuracy: ")


def test_a_comparison_has_both_metrics(imbalanced: Path, tiny_run: Path, tmp_path: Path) -> None:
    comparison = cs.compare([imbalanced, tiny_run], tmp_path)
    assert comparison.record["imbalanced"]
    assert [each["is_imbalanced"] for each in comparison.record["runs"]] == [True, False]
    for page in (comparison.page, comparison.markdown):
        text = page.read_text()
        assert "balanced accuracy" in text
        assert text.index("balanced accuracy") < text.index("95 % interval")
    lines = comparison.markdown.read_text().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    header = next(line for line in tables if line.startswith("| run |"))
    rows = tables[tables.index(header) :][:3]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_a_bundle_of_imbalanced_data_says_so(imbalanced: Path, tmp_path: Path) -> None:
    cs.export_bundle(imbalanced, tmp_path / "bundle")
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "**Balanced accuracy " in card
    assert "confidences assume class frequencies" in card


def test_balanced_data_is_reported_as_before(tiny_run: Path) -> None:
    results = json.loads((tiny_run / "results.json").read_text())
    assert list(results)[:3] == ["imbalanced", "train", "test"]
    assert not results["imbalanced"]
    assert results["test"]["calibration"]["prior"] == ""
    for name in ("log.txt", "README.md", "report.html"):
        assert "alanced accuracy" not in (tiny_run / name).read_text()
