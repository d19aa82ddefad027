"""Box blur, against albumentations and SciPy."""

import numpy as np
import torch
from scipy import ndimage, stats

from convsmith.data.augment.engines import AlbumentationsEngine
from convsmith.data.augment.transforms.blur import Blur
from helpers.augmentation import MEAN, tensor_of, varied


def test_sides_have_the_distribution_of_albumentations() -> None:
    config = Blur(name="Blur", blur_limit=(3, 9), p=1.0)
    pipeline = AlbumentationsEngine((config,), MEAN).pipeline
    pipeline.set_random_seed(0)
    theirs = [pipeline.transforms[0].get_params()["kernel"] for _ in range(3000)]
    ours = config.draw(3000, (32, 32), torch.Generator().manual_seed(0)).side
    assert set(ours.tolist()) == set(theirs) == {3, 5, 7, 9}
    counts = [np.bincount(each, minlength=10)[3::2] for each in (ours.numpy(), np.array(theirs))]
    assert stats.chi2_contingency(counts).pvalue > 1e-3


def test_equal_sides_give_equal_pixels() -> None:
    config = Blur(name="Blur", p=1.0)
    for channels in (1, 3):
        images = varied(30, channels=channels)
        parameters = config.draw(30, (20, 33), torch.Generator().manual_seed(0))
        output = config.apply(tensor_of(images), parameters, MEAN).permute(0, 2, 3, 1).numpy()
        theirs = config.to_albumentations(MEAN)
        for image, side, ours in zip(images, parameters.side.tolist(), output, strict=True):
            expected = theirs.apply(image, kernel=side).reshape(ours.shape)
            assert np.array_equal(ours, expected)
            means = ndimage.uniform_filter(image.astype(float), (side, side, 1), mode="mirror")
            assert np.abs(ours - means).max() <= 1
