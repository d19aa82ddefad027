"""mixup."""

import torch
from scipy import stats

from convsmith.data.augment.mixes.mixup import Mixup
from helpers.augmentation import batch


def test_images_and_labels_are_blended_in_the_same_share() -> None:
    images, targets = batch()
    mixed, labels = Mixup(name="mixup", alpha=0.4, p=1.0).apply(images, targets, seed=1)
    assert torch.allclose(labels.sum(1), torch.ones(64))
    assert torch.allclose(mixed[:, 0, 0, 0], labels @ torch.arange(64.0), atol=1e-4)
    assert torch.allclose(mixed.amax((1, 2, 3)), mixed.amin((1, 2, 3)))


def test_shares_follow_the_beta_distribution() -> None:
    images, targets = batch(3000, size=1)
    _, labels = Mixup(name="mixup", alpha=0.7, p=1.0).apply(images, targets, seed=2)
    own = labels.diagonal()
    assert stats.kstest(own.numpy(), stats.beta(0.7, 0.7).cdf).pvalue > 1e-3
