"""Corruptions: deterministic, stronger with strength, and compared with direct computations."""

import numpy as np
import pytest

from convsmith.evaluation.robustness import CORRUPTIONS, STRENGTHS, corrupt


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(6, 8, 8, 1), (4, 32, 32, 3), (3, 20, 28, 3)])
def test_corruptions_grow_with_strength_and_repeat(name: str, shape: tuple[int, ...]) -> None:
    ramp = np.linspace(0, 255, shape[1] * shape[2]).reshape(1, *shape[1:3], 1)
    rough = 60 * np.sin(np.arange(shape[0] * shape[1] * shape[2] * shape[3])).reshape(shape)
    images = (ramp * 0.6 + 50 + rough * 0.6).clip(0, 255).astype(np.uint8)
    before = images.copy()
    changed = [corrupt(name, images, strength) for strength in STRENGTHS]
    assert (images == before).all()
    assert all(each.shape == shape and each.dtype == np.uint8 for each in changed)
    assert (corrupt(name, images, 3) == changed[2]).all()
    if name in {"gaussian noise", "gaussian blur", "contrast"}:
        differences = [np.abs(each.astype(int) - images).mean() for each in changed]
        assert differences == sorted(differences)
        assert differences[0] > 0


def test_corruptions_computed_independently() -> None:
    images = np.random.default_rng(1).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
    grey = np.full((200, 16, 16, 3), 128, np.uint8)
    assert corrupt("gaussian noise", grey, 5).std() == pytest.approx(25.5, rel=0.02)
    assert (corrupt("shift", images, 5)[:, 3:, 3:] == images[:, :-3, :-3]).all()
    flat = images.reshape(200, -1, 3).astype(float)
    result = corrupt("contrast", images, 2).reshape(200, -1, 3)
    centre = flat.mean(1, keepdims=True)
    assert np.abs(result - ((flat - centre) / 2 + centre)).max() <= 0.5
