"""Mixing in general."""

import pytest
import torch

from convsmith.data.augment.mixes.cutmix import CutMix
from convsmith.data.augment.mixes.mixup import Mixup
from helpers.augmentation import batch


@pytest.mark.parametrize("mix", [Mixup(name="mixup", p=0.0), CutMix(name="cutmix", p=0.0)])
def test_probability_0_mixes_nothing(mix: Mixup | CutMix) -> None:
    images, targets = batch()
    mixed, labels = mix.apply(images, targets, seed=0)
    assert torch.equal(mixed, images)
    assert torch.equal(labels, targets)
