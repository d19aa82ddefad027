"""The file of predictions, and the ids and features in it."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor, nn

from convsmith.data.dataset import Split, image_ids
from convsmith.data.normalize import Normalizer
from convsmith.errors import RunError
from convsmith.evaluation import predictions
from convsmith.evaluation.predictions import Predictions
from convsmith.training.metrics import MAX_FEATURES, Outputs, compute_outputs
from helpers.evaluation import random_predictions, small_net
from helpers.hand_written import FunctionsOnly, SqueezeAndExcitation, seeded
from helpers.modules import DirectParameters


def test_predictions_round_trip(tmp_path: Path) -> None:
    base = random_predictions(count=20)
    complete = Predictions(
        logits=base.logits,
        labels=base.labels,
        ids=np.array([f"{number:016x}" for number in range(20)], dtype="S16"),
        features=np.ones((20, 3), np.float16),
    )
    for each in (base, complete):
        predictions.write(each, tmp_path / "a.npz")
        predictions.write(each, tmp_path / "b.npz")
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
        again = predictions.read(tmp_path / "a.npz")
        assert (again.logits == each.logits).all()
        assert (again.labels == each.labels).all()
        assert (again.ids is None) == (each.ids is None)
    assert again.ids is not None
    assert again.ids[3] == b"0000000000000003"


@pytest.mark.parametrize("classes", [3, 5000])
def test_probabilities_take_little_more_memory_than_the_logits(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_BLOCK_VALUES", 20_000)
    wide = random_predictions(count=200, classes=classes, sharpness=30)
    tracemalloc.start()
    probabilities = wide.probabilities
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(probabilities, softmax(wide.logits.astype(float), axis=1), atol=1e-7)
    assert highest < wide.logits.nbytes + 8 * 6 * 20_000


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
def test_damaged_predictions_are_rejected(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged") as caught:
        predictions.read(path)
    assert "convsmith evaluate" in str(caught.value)


def test_ids_depend_on_the_pixels_only() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    ids = image_ids(images)
    assert len(set(ids)) == 5
    assert (image_ids(images[::-1]) == ids[::-1]).all()


def outputs_of(net: nn.Module) -> Outputs:
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    normalize = Normalizer(mean=torch.zeros(1, 3, 1, 1), std=torch.ones(1, 3, 1, 1))
    split = Split(images=images, labels=np.zeros(30, np.int64))
    return compute_outputs(net, split, normalize, torch.float32)


@pytest.mark.parametrize(
    ("text", "width"),
    [("C8 C6:s2 / G F5", 6), ("C8 C6:s2 / C5 G", 6), ("C8:s4 / F5", 128), ("C16 / F5", None)],
)
def test_features_give_the_logits(text: str, width: int | None) -> None:
    """The last layer, applied to the saved features, gives the saved logits."""
    _, net = small_net(text, norm="none")
    outputs = outputs_of(net)
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


class Reversed(FunctionsOnly):
    """Layers after the last one, and calls of a layer for each half of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(16, 10)
        self.shared = nn.Conv2d(8, 8, 1)

    def features(self, x: Tensor) -> Tensor:
        first, second = super().features(x).chunk(2, dim=1)
        return torch.cat([self.shared(first), self.shared(second)], 1)


class OfTokens(FunctionsOnly):
    """A linear layer that runs on each position."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x).flatten(2).mT).mean(1)
        return logits


@pytest.mark.parametrize("create", [FunctionsOnly, Reversed, OfTokens, SqueezeAndExcitation])
def test_features_of_modules_give_the_logits(create: type[FunctionsOnly]) -> None:
    net = seeded(create)
    outputs = outputs_of(net)
    assert outputs.features is not None
    with torch.no_grad():
        assert torch.allclose(net.fc(outputs.features.float()), outputs.logits, atol=2e-2, rtol=1e-2)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


class Patches(FunctionsOnly):
    """The last layer runs on quarters of the images."""

    def forward(self, x: Tensor) -> Tensor:
        quarters = x.view(-1, 3, 2, 8, 2, 8).permute(0, 2, 4, 1, 3, 5).reshape(-1, 3, 8, 8)
        return super().forward(quarters).view(len(x), 4, 10).mean(1)


@pytest.mark.parametrize("create", [DirectParameters, Patches])
def test_nets_without_features(create: type[nn.Module]) -> None:
    outputs = outputs_of(seeded(create))
    assert outputs.features is None
    assert outputs.logits.shape == (30, 10)
