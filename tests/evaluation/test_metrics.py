"""Facts from predictions, each against an independent way to the same number."""

import io
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

import convsmith as cs
from convsmith.data.dataset import Split, image_ids
from convsmith.data.dataset import load as load_data
from convsmith.data.normalize import Normalizer
from convsmith.errors import MissingExtraError, RunError
from convsmith.evaluation import explanation, predictions
from convsmith.evaluation.calibration import best_temperature, calibration, risk_coverage
from convsmith.evaluation.duplicates import duplicate_pairs
from convsmith.evaluation.label_errors import label_error_indices
from convsmith.evaluation.metrics import (
    compute_metrics,
    confused_pairs,
    highest_losses,
    mistakes,
    mistakes_of_each_class,
    wilson,
)
from convsmith.evaluation.predictions import Predictions
from convsmith.evaluation.results import results_of
from convsmith.evaluation.robustness import CORRUPTIONS, STRENGTHS, corrupted
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import Plan, plan
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load
from convsmith.training.metrics import MAX_FEATURES, SplitMetrics, outputs_of

NAMES = tuple(f"class {number}" for number in range(7))
# Drawn ones, and what the nets of the zoo say of their real test images.
SOURCES = (
    "drawn 0",
    "drawn 1",
    "drawn 2",
    "digits",
    pytest.param("cifar10-sprint", marks=[pytest.mark.slow, pytest.mark.real_data]),
)


def drawn(seed: int = 0, count: int = 500, classes: int = 7, sharpness: float = 1.5) -> Predictions:
    """Predictions of a net that is right more often than not, and surer than it should be."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    logits = generator.standard_normal((count, classes))
    logits[np.arange(count), labels] += 1.5
    return Predictions(logits=(sharpness * logits).astype(np.float32), labels=labels)


@cache
def predictions_of(source: str) -> Predictions:
    if source.startswith("drawn"):
        return drawn(int(source.removeprefix("drawn ")))
    test = load_data(load(source).data).test
    return Predictions(logits=cs.load(source).logits(test.images), labels=test.labels)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(float))
    result: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return result


def test_the_interval_is_wilsons() -> None:
    for correct, total in ((0, 10), (7, 10), (10, 10), (8379, 10_000)):
        z, share = 1.959963984540054, correct / total
        centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
        half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
        found = wilson(correct, total)
        assert found.low == pytest.approx(max(centre - half, 0), abs=1e-9)
        assert found.high == pytest.approx(min(centre + half, 1), abs=1e-9)


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("source", SOURCES)
def test_facts_agree_with_scikit_learn(source: str) -> None:
    found = predictions_of(source)
    classes = range(found.logits.shape[1])
    facts = compute_metrics(found, tuple(f"class {number}" for number in classes))
    probabilities = softmax(found.logits)
    predicted = probabilities.argmax(1)
    precision, recall, f1, support = precision_recall_fscore_support(found.labels, predicted, labels=classes)
    assert [each.precision for each in facts.classes] == pytest.approx(precision)
    assert [each.accuracy for each in facts.classes] == pytest.approx(recall)
    assert [each.f1 for each in facts.classes] == pytest.approx(f1)
    assert [each.total for each in facts.classes] == support.tolist()
    assert facts.macro_f1 == pytest.approx(f1.mean())
    assert (facts.confusion == confusion_matrix(found.labels, predicted)).all()
    assert facts.loss == pytest.approx(log_loss(found.labels, probabilities), rel=1e-6)
    for k, share in facts.top.items():
        assert share == pytest.approx(top_k_accuracy_score(found.labels, probabilities, k=k))


def test_equal_logits_rank_as_argmax_has_them() -> None:
    found = Predictions(logits=np.zeros((4, 4), np.float32), labels=np.arange(4))
    facts = compute_metrics(found, NAMES[:4])
    assert facts.top == {1: 0.25, 2: 0.5, 3: 0.75}
    assert facts.accuracy == facts.top[1]


def test_what_is_not_defined_is_none() -> None:
    """Class 1 is never predicted, class 2 has no image, class 3 neither."""
    logits = np.array([[2, 0, 0, 0], [2, 0, 0, 0], [0, 0, 3, 0]], dtype=np.float32)
    found = Predictions(logits=logits, labels=np.array([0, 1, 0]))
    facts = compute_metrics(found, NAMES[:4])
    shown = [(each.precision, each.accuracy, each.f1) for each in facts.classes]
    assert shown == [(0.5, 0.5, 0.5), (None, 0.0, None), (0.0, None, None), (None, None, None)]
    assert facts.macro_f1 is None
    train = SplitMetrics(loss=1.0, correct=1, total=2)
    results = results_of(facts, found, NAMES[:4], train=train, test_loss=facts.loss)
    records = results.model_dump(mode="json")
    assert [record["recall"] for record in records["classes"]] == [0.5, 0.0, None, None]
    assert records["test"]["macro_f1"] is None


def test_pairs_are_counted() -> None:
    found = drawn(4)
    counts = [
        (true, guess, int(((found.labels == true) & (found.predicted == guess)).sum()))
        for true in range(7)
        for guess in range(7)
        if true != guess
    ]
    best = sorted(counts, key=lambda entry: -entry[2])[:10]
    pairs = confused_pairs(compute_metrics(found, NAMES).confusion, NAMES)
    assert [pair.count for pair in pairs] == [count for _, _, count in best]
    assert {(pair.true, pair.predicted, pair.count) for pair in pairs[:3]} <= {
        (NAMES[true], NAMES[guess], count) for true, guess, count in counts
    }


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("source", SOURCES)
def test_calibration_error_by_a_loop(source: str) -> None:
    found = predictions_of(source)
    confidence, right = softmax(found.logits).max(1), found.predicted == found.labels
    error = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration(found).ece == pytest.approx(error)
    assert sum(each.count for each in calibration(found).bins) == len(found)


def test_the_temperature_undoes_a_known_one() -> None:
    """Labels are drawn from the softmax of logits that are then multiplied by 2.5."""
    generator = np.random.default_rng(0)
    logits = 2 * generator.standard_normal((20_000, 5))
    shares = softmax(logits.astype(np.float32)).cumsum(1)
    labels = (generator.random((20_000, 1)) > shares).sum(1).clip(0, 4)
    found = Predictions(logits=(2.5 * logits).astype(np.float32), labels=labels)
    temperature = best_temperature(found)
    assert temperature == pytest.approx(2.5, rel=0.03)
    by_gradient = minimize(
        lambda t: log_loss(labels, softmax(found.logits / t[0])),
        x0=[1.0],
        method="L-BFGS-B",
        bounds=[(0.1, 9)],
    )
    assert temperature == pytest.approx(float(by_gradient.x[0]), rel=1e-2)
    mended = calibration(found)
    assert mended.ece_at_temperature is not None
    assert mended.ece_at_temperature < 0.02 < mended.ece


def test_no_temperature_where_all_is_right() -> None:
    found = Predictions(logits=4 * np.eye(3, dtype=np.float32), labels=np.arange(3))
    assert calibration(found).temperature is None
    assert calibration(found).ece_at_temperature is None


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("source", SOURCES)
def test_risk_by_coverage_by_a_loop(source: str) -> None:
    found = predictions_of(source)
    confidence, wrong = softmax(found.logits).max(1), found.predicted != found.labels
    equal = [confidence == value for value in np.unique(confidence)[::-1]]
    shared = np.concatenate([np.full(each.sum(), wrong[each].mean()) for each in equal])
    risks = shared.cumsum() / np.arange(1, len(found) + 1)
    curve = risk_coverage(found)
    assert curve.risk == pytest.approx(risks)
    assert curve.area == pytest.approx(np.mean(risks))
    assert curve.risk_at(1.0) == pytest.approx(wrong.mean())
    assert curve.risk_at(0.5) == pytest.approx(risks[math.ceil(len(found) / 2) - 1])
    assert curve.best_area <= curve.area


def test_equal_confidences_do_not_depend_on_the_order() -> None:
    logits = np.array([[1, 0]] * 4, dtype=np.float32)
    areas = {
        risk_coverage(Predictions(logits=logits, labels=np.array(labels))).area
        for labels in ([0, 0, 1, 1], [1, 1, 0, 0])
    }
    assert areas == {0.5}


def test_mistakes_are_in_order() -> None:
    found = drawn(6)
    wrong = mistakes(found)
    confidence, losses = softmax(found.logits).max(1), found.losses
    assert set(wrong) == set(np.flatnonzero(found.predicted != found.labels))
    assert (np.diff(confidence[wrong]) <= 0).all()
    hardest = highest_losses(found, 9)
    assert losses[hardest] == pytest.approx(np.sort(losses)[::-1][:9])
    spread = mistakes_of_each_class(found, 14)
    assert len(spread) == 14
    assert np.bincount(found.labels[spread], minlength=7).tolist() == [2] * 7
    assert (np.diff(confidence[spread]) <= 0).all()
    assert len(mistakes_of_each_class(found, 10_000)) == len(wrong)


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    base = drawn(count=20)
    whole = Predictions(
        logits=base.logits,
        labels=base.labels,
        ids=np.array([f"{number:016x}" for number in range(20)], dtype="S16"),
        features=np.ones((20, 3), np.float16),
    )
    for found in (base, whole):
        predictions.write(found, tmp_path / "a.npz")
        predictions.write(found, tmp_path / "b.npz")
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
        again = predictions.read(tmp_path / "a.npz")
        assert (again.logits == found.logits).all()
        assert (again.labels == found.labels).all()
        assert (again.ids is None) == (found.ids is None)
    assert again.ids is not None
    assert again.ids[3] == b"0000000000000003"


def archive(**arrays: object) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


LOGITS, LABELS = np.zeros((2, 3), np.float32), np.zeros(2, np.int64)


@pytest.mark.parametrize(
    "content",
    [
        b"no archive",
        archive(logits=LOGITS)[:-30],
        archive(logits=LOGITS),
        archive(logits=LOGITS, labels=np.zeros(3, np.int64)),
        archive(logits=LOGITS, labels=np.array([0, 3])),
        archive(logits=LOGITS * np.nan, labels=LABELS),
        archive(logits=LOGITS, labels=LABELS, ids=np.array([b"x"])),
        archive(logits=LOGITS, labels=np.array([{}, {}], dtype=object)),
    ],
)
def test_damaged_predictions_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged") as caught:
        predictions.read(path)
    assert "convsmith evaluate" in str(caught.value)


def test_ids_follow_from_pixels_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    ids = image_ids(images)
    assert len(set(ids)) == 5
    assert (image_ids(images[::-1]) == ids[::-1]).all()


def small_net(text: str, **settings: object) -> tuple[Plan, torch.nn.Sequential]:
    made = plan(parse(text), (3, 16, 16), NetSettings.model_validate(settings))
    net = build(made, generator=torch.Generator().manual_seed(1))
    return made, net.eval()


@pytest.mark.parametrize(
    ("text", "width"),
    [("C8 C6:s2 / G F5", 6), ("C8 C6:s2 / C5 G", 6), ("C8:s4 / F5", 128), ("C16 / F5", None)],
)
def test_features_lead_to_the_logits(text: str, width: int | None) -> None:
    """The last layer, applied to the saved features, gives the saved logits."""
    _, net = small_net(text, norm="none")
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    normalize = Normalizer(mean=torch.zeros(1, 3, 1, 1), std=torch.ones(1, 3, 1, 1))
    outputs = outputs_of(net, Split(images=images, labels=np.zeros(30, np.int64)), normalize, torch.float32)
    if width is None:
        assert outputs.features is None
        assert MAX_FEATURES < 16**3
        return
    assert outputs.features is not None
    assert outputs.features.shape == (30, width)
    last = [module for module in net.modules() if isinstance(module, torch.nn.Linear)]
    if last:
        again = last[-1](outputs.features.float())
        assert torch.allclose(again, outputs.logits, atol=2e-2)


@pytest.mark.parametrize("text", ["C8 C6:s2 / G F5", "C8 C6:s2 / G P5", "C8 C6:s2 / P5 G"])
def test_activation_maps_have_the_logits_as_their_mean(text: str) -> None:
    made, net = small_net(text, classifier_norm=True, dropout=0.2)
    images = torch.randn(4, 3, 16, 16)
    maps = explanation.class_activation_maps(net, made, images)
    assert maps is not None
    assert maps.shape == (4, 5, 8, 8)
    with torch.no_grad():
        assert torch.allclose(maps.mean((2, 3)), net(images), atol=1e-5)


@pytest.mark.parametrize("text", ["C8 M2 / F5", "C8 / G F6 F5"])
def test_other_heads_have_no_activation_maps(text: str) -> None:
    made, net = small_net(text)
    assert explanation.class_activation_maps(net, made, torch.randn(1, 3, 16, 16)) is None


def test_occlusion_finds_what_counts() -> None:
    """A net that adds up the upper left corner falls there and nowhere else."""
    weight = torch.zeros(1, 3, 16, 16)
    weight[..., :4, :4] = 1
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 1, bias=False))
    torch.nn.init.zeros_(net[1].get_parameter("weight"))
    net[1].get_parameter("weight").data[0] = weight.flatten()
    found = explanation.occlusion_map(net, torch.ones(3, 16, 16), 0)
    assert found.shape == (7, 7)
    assert found[0, 0] == 48
    assert found[0, 1] == 24
    assert found[1, 1] == 12
    assert found[2:].abs().max() == found[:, 2:].abs().max() == 0


def test_the_net_is_left_as_it_was(tmp_path: Path) -> None:
    made, net = small_net("C4 / G F7")
    net.train()
    found = drawn(count=40)
    indices = explanation.chosen(found, np.arange(40), 8)
    assert len(indices) == len(set(indices)) == 8
    assert found.wrong[indices].sum() == 4
    maps = explanation.explain(net, made, torch.randn(8, 3, 16, 16), found, indices)
    assert net.training
    assert not any(module._forward_pre_hooks for module in net.modules())
    explanation.write(maps, tmp_path / "e.npz")
    again = explanation.read(tmp_path / "e.npz", 40)
    assert again.for_predicted is not None
    assert (again.for_predicted == maps.for_predicted).all()
    with pytest.raises(RunError, match="damaged"):
        explanation.read(tmp_path / "e.npz", 3)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(6, 8, 8, 1), (4, 32, 32, 3), (3, 20, 28, 3)])
def test_corruptions_grow_and_repeat(name: str, shape: tuple[int, ...]) -> None:
    ramp = np.linspace(0, 255, shape[1] * shape[2]).reshape(1, *shape[1:3], 1)
    rough = 60 * np.sin(np.arange(shape[0] * shape[1] * shape[2] * shape[3])).reshape(shape)
    images = (ramp * 0.6 + 50 + rough * 0.6).clip(0, 255).astype(np.uint8)
    before = images.copy()
    changed = [corrupted(name, images, strength) for strength in STRENGTHS]
    assert (images == before).all()
    assert all(each.shape == shape and each.dtype == np.uint8 for each in changed)
    assert (corrupted(name, images, 3) == changed[2]).all()
    if name in {"gaussian noise", "gaussian blur", "contrast"}:
        differences = [np.abs(each.astype(int) - images).mean() for each in changed]
        assert differences == sorted(differences)
        assert differences[0] > 0


def test_corruptions_by_other_ways() -> None:
    images = np.random.default_rng(1).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
    grey = np.full((200, 16, 16, 3), 128, np.uint8)
    assert corrupted("gaussian noise", grey, 5).std() == pytest.approx(25.5, rel=0.02)
    assert (corrupted("shift", images, 5)[:, 3:, 3:] == images[:, :-3, :-3]).all()
    flat = images.reshape(200, -1, 3).astype(float)
    spoiled = corrupted("contrast", images, 2).reshape(200, -1, 3)
    centre = flat.mean(1, keepdims=True)
    assert np.abs(spoiled - ((flat - centre) / 2 + centre)).max() <= 0.5


def test_near_duplicates_are_found() -> None:
    generator = np.random.default_rng(0)
    train = generator.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    test = generator.integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    test[2] = train[40]
    test[5] = (train[7].astype(int) + generator.integers(-5, 6, train[7].shape)).clip(0, 255)
    labels, test_labels = np.arange(60) % 3, np.arange(10) % 3
    found = duplicate_pairs(Split(images=train, labels=labels), Split(images=test, labels=test_labels))
    assert [(each.test, each.train) for each in found] == [(2, 40), (5, 7)]
    assert found[0].difference == 0
    assert [each.same_label for each in found] == [40 % 3 == 2, 7 % 3 == 5 % 3]


def test_label_errors_are_found_or_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtraError, match="cleanlab"):
        label_error_indices(drawn())


def test_planted_label_errors_are_found() -> None:
    pytest.importorskip("cleanlab")
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, 400)
    logits = generator.standard_normal((400, 4)).astype(np.float32)
    logits[np.arange(400), truth] += 6
    labels = truth.copy()
    planted = np.arange(0, 400, 40)
    labels[planted] = (truth[planted] + 1) % 4
    found = label_error_indices(Predictions(logits=logits, labels=labels))
    assert set(planted) <= set(found)
    assert len(found) <= len(planted) + 8


def test_block_maps_are_the_blocks_outputs() -> None:
    _, net = small_net("C12 C6:s2 / C4 M2 / G F5", activation="relu")
    image = torch.randn(3, 16, 16)
    maps = explanation.block_maps(net, image)
    assert [tuple(each.shape) for each in maps] == [(6, 8, 8), (4, 4, 4)]
    with torch.no_grad():
        first = net[0](image[None])
        assert torch.equal(maps[0], first[0])
        assert torch.equal(maps[1], net[1](first.clone())[0])
    assert not any(child._forward_hooks for child in net.children())


def test_the_most_varied_channels_are_kept_in_order() -> None:
    maps = torch.arange(12.0).view(12, 1, 1) * torch.tensor([[[-1.0, 1.0]]]).expand(12, 1, 2)
    assert explanation.most_varied(maps)[:, 0, 1].tolist() == list(range(4, 12))
    assert len(explanation.most_varied(maps[:3])) == 3
