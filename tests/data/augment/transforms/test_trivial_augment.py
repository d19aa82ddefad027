"""TrivialAugment: one operation of any magnitude. The operations have tests of their own."""

import torch
from scipy import stats

from convsmith.data.augment.strengths import OPERATIONS
from convsmith.data.augment.transforms.trivial_augment import TrivialAugment


def test_one_operation_with_a_uniform_magnitude() -> None:
    config = TrivialAugment(name="TrivialAugment")
    operation, value = config.draw(50_000, (32, 32), torch.Generator().manual_seed(0))
    assert operation.shape == (50_000, 1)
    assert stats.chisquare(operation.flatten().bincount(minlength=14)).pvalue > 1e-3
    bits = value[operation == OPERATIONS.index("Posterize")].long().bincount(minlength=9)
    # 31 magnitudes, rounded to whole bits: each number of bits takes five, the two ends three.
    share = torch.tensor([3, 5, 5, 5, 5, 5, 3]) / 31
    assert stats.chisquare(bits[2:], share.double() / share.double().sum() * bits.sum()).pvalue > 1e-3
    degrees = value[operation == OPERATIONS.index("Rotate")].abs()
    assert degrees.max() == 135
    assert len(set(degrees.tolist())) == 31
    assert TrivialAugment(name="TrivialAugment").details == (
        "one operation of a random magnitude, wide ranges; p = 1"
    )
