"""Metrics of predictions, each compared with an independent computation."""

import numpy as np
import pytest
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from convsmith.evaluation.metrics import (
    compute_metrics,
    confused_pairs,
    highest_losses,
    mean_recall_interval,
    mistakes,
    mistakes_of_each_class,
    wilson_interval,
)
from convsmith.evaluation.predictions import Predictions
from convsmith.evaluation.results import results_of
from convsmith.evaluation.schema import ClassMetrics
from convsmith.training.metrics import SplitMetrics
from helpers.evaluation import NAMES, SOURCES, predictions_of, random_predictions, softmax


def test_the_interval_is_that_of_wilson() -> None:
    for correct, total in ((0, 10), (7, 10), (10, 10), (8379, 10_000)):
        z, share = 1.959963984540054, correct / total
        centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
        half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
        result = wilson_interval(correct, total)
        assert result.low == pytest.approx(max(centre - half, 0), abs=1e-9)
        assert result.high == pytest.approx(min(centre + half, 1), abs=1e-9)


def test_the_interval_of_the_balanced_accuracy_covers_it() -> None:
    """Classes of very different sizes, drawn a thousand times; the true mean recall is known."""
    recalls, totals = np.array([0.95, 0.8, 0.6]), np.array([500, 60, 8])
    correct = np.random.default_rng(0).binomial(totals, recalls, size=(1000, 3))
    intervals = [
        mean_recall_interval(
            [
                ClassMetrics(name="", correct=int(count), total=int(total), predicted=0)
                for count, total in zip(counts, totals, strict=True)
            ]
        )
        for counts in correct
    ]
    covered = np.mean([each.low <= recalls.mean() <= each.high for each in intervals])
    # 95 %, with the chance of a thousand draws and of few images.
    assert 0.93 < covered < 0.98
    # Wider than if the images were one sample of that accuracy.
    assert np.mean([each.high - each.low for each in intervals]) > 0.15


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("source", SOURCES)
def test_metrics_agree_with_scikit_learn(source: str) -> None:
    predictions = predictions_of(source)
    classes = range(predictions.logits.shape[1])
    metrics = compute_metrics(predictions, tuple(f"class {number}" for number in classes))
    probabilities = softmax(predictions.logits)
    predicted = probabilities.argmax(1)
    labels = predictions.labels
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes)
    assert [each.precision for each in metrics.classes] == pytest.approx(precision)
    assert [each.accuracy for each in metrics.classes] == pytest.approx(recall)
    assert [each.f1 for each in metrics.classes] == pytest.approx(f1)
    assert [each.total for each in metrics.classes] == support.tolist()
    assert metrics.macro_f1 == pytest.approx(f1.mean())
    assert (metrics.confusion == confusion_matrix(predictions.labels, predicted)).all()
    assert metrics.loss == pytest.approx(log_loss(predictions.labels, probabilities), rel=1e-6)
    for k, share in metrics.top_accuracy.items():
        assert share == pytest.approx(top_k_accuracy_score(predictions.labels, probabilities, k=k))


def test_equal_logits_rank_as_argmax_has_them() -> None:
    predictions = Predictions(logits=np.zeros((4, 4), np.float32), labels=np.arange(4))
    metrics = compute_metrics(predictions, NAMES[:4])
    assert metrics.top_accuracy == {1: 0.25, 2: 0.5, 3: 0.75}
    assert metrics.accuracy == metrics.top_accuracy[1]


def test_undefined_metrics_are_none() -> None:
    """Class 1 is never predicted, class 2 has no image, class 3 neither."""
    logits = np.array([[2, 0, 0, 0], [2, 0, 0, 0], [0, 0, 3, 0]], dtype=np.float32)
    predictions = Predictions(logits=logits, labels=np.array([0, 1, 0]))
    metrics = compute_metrics(predictions, NAMES[:4])
    shown = [(each.precision, each.accuracy, each.f1) for each in metrics.classes]
    assert shown == [(0.5, 0.5, 0.5), (None, 0.0, None), (0.0, None, None), (None, None, None)]
    assert metrics.macro_f1 is None
    train = SplitMetrics(loss=1.0, correct=1, total=2)
    results = results_of(metrics, predictions, NAMES[:4], train=train, test_loss=metrics.loss)
    records = results.model_dump(mode="json")
    assert [record["recall"] for record in records["classes"]] == [0.5, 0.0, None, None]
    assert records["test"]["macro_f1"] is None


def test_confused_pairs_are_counted() -> None:
    predictions = random_predictions(4)
    counts = [
        (label, other, int(((predictions.labels == label) & (predictions.predicted == other)).sum()))
        for label in range(7)
        for other in range(7)
        if label != other
    ]
    best = sorted(counts, key=lambda entry: -entry[2])[:10]
    pairs = confused_pairs(predictions, NAMES)
    assert [pair.count for pair in pairs] == [count for _, _, count in best]
    assert {(pair.true, pair.predicted, pair.count) for pair in pairs[:3]} <= {
        (NAMES[label], NAMES[other], count) for label, other, count in counts
    }


@pytest.mark.parametrize("classes", [3, 100, 101, 700])
def test_metrics_do_not_depend_on_blocks(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = random_predictions(3, count=400, classes=classes)
    names = tuple(map(str, range(classes)))
    whole = compute_metrics(one, names)
    # Blocks of one image, some of them, and an odd rest.
    for size in (1, 7 * classes):
        monkeypatch.setattr("convsmith.evaluation.predictions._BLOCK_VALUES", size)
        again = compute_metrics(Predictions(logits=one.logits, labels=one.labels), names)
        assert again.loss == whole.loss
        assert (again.calibration, again.top_accuracy) == (whole.calibration, whole.top_accuracy)
        assert (again.classes, again.confused_pairs) == (whole.classes, whole.confused_pairs)
    shares = softmax(one.logits)
    assert one.confidence == pytest.approx(shares.max(1))
    assert one.losses == pytest.approx(-np.log(shares[np.arange(400), one.labels]))
    halved = softmax((one.logits / 2).astype(np.float32))
    assert one.confidence_at(2.0) == pytest.approx(halved.max(1))
    assert one.losses_at(2.0) == pytest.approx(-np.log(halved[np.arange(400), one.labels]))
    # Computed once, and no matrix that grows with the square of many classes.
    assert one.predicted is one.predicted
    assert one.confidence is one.confidence
    assert (whole.confusion is None) == (classes > 100)
    assert len(whole.confused_pairs) <= (30 if classes > 100 else 10)


def test_many_classes_are_summarised() -> None:
    names = tuple(f"class {number}" for number in range(200))
    lines = compute_metrics(random_predictions(classes=200, count=900), names).class_lines()
    assert len(lines) == 31
    recalls = [float(line.split(" : ")[1].split(" %")[0]) for line in lines[:-1]]
    assert recalls == sorted(recalls)
    assert lines[-1] == "(the other 170 classes are in results.json)"


def test_mistakes_are_ordered() -> None:
    predictions = random_predictions(6)
    wrong = mistakes(predictions)
    confidence, losses = softmax(predictions.logits).max(1), predictions.losses
    assert set(wrong) == set(np.flatnonzero(predictions.predicted != predictions.labels))
    assert (np.diff(confidence[wrong]) <= 0).all()
    hardest = highest_losses(predictions, 9)
    assert losses[hardest] == pytest.approx(np.sort(losses)[::-1][:9])
    spread = mistakes_of_each_class(predictions, 14)
    assert len(spread) == 14
    assert np.bincount(predictions.labels[spread], minlength=7).tolist() == [2] * 7
    assert (np.diff(confidence[spread]) <= 0).all()
    assert len(mistakes_of_each_class(predictions, 10_000)) == len(wrong)
