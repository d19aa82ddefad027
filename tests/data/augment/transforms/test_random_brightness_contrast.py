"""Brightness and contrast are linear in the levels."""

import numpy as np
from scipy import stats

from helpers.augmentation import Factory


def test_output_levels_are_a_linear_function_of_input_levels(make: Factory) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(300, axis=0)
    tone = {"name": "RandomBrightnessContrast", "brightness_limit": 0.1, "contrast_limit": 0.2, "p": 1.0}
    factors, added = [], []
    for image in make(tone, mean=(0.5,))(ramp):
        values = image.ravel().astype(float)
        inside = (values > 0) & (values < 255)
        factor, offset = np.polyfit(np.arange(256)[inside], values[inside] + 0.5, 1)
        assert np.abs(factor * np.arange(256)[inside] + offset - values[inside] - 0.5).max() < 0.6
        factors.append(factor)
        added.append(offset)
    assert stats.kstest(factors, stats.uniform(0.8, 0.4).cdf).pvalue > 1e-4
    assert stats.kstest(added, stats.uniform(-25.5, 51).cdf).pvalue > 1e-3
