"""Gaussian blur, against albumentations."""

import numpy as np
import torch
from scipy import stats

from convsmith.data.augment.engines import AlbumentationsEngine
from convsmith.data.augment.transforms.gaussian_blur import Blur, GaussianBlur
from helpers.augmentation import MEAN, Factory, tensor_of, varied


def widths(kernels: torch.Tensor) -> torch.Tensor:
    """The standard deviation of each kernel, which is that of its normal density, nearly."""
    distance = torch.arange(kernels.shape[1]) - kernels.shape[1] // 2
    return (kernels * distance**2).sum(1).sqrt()


def test_kernels_have_the_distribution_of_albumentations() -> None:
    config = GaussianBlur(name="GaussianBlur", sigma_limit=(0.7, 2.0), p=1.0)
    pipeline = AlbumentationsEngine((config,), MEAN).pipeline
    (blur,) = pipeline.transforms
    pipeline.set_random_seed(0)
    theirs = torch.zeros(3000, 15)
    for row in theirs:
        kernel = torch.from_numpy(blur.get_params_dependent_on_data({}, {})["kernel"])
        row[7 - len(kernel) // 2 : 8 + len(kernel) // 2] = kernel
    ours = config.draw(3000, (32, 32), torch.Generator().manual_seed(0)).kernel
    assert stats.ks_2samp(widths(ours).numpy(), widths(theirs).numpy()).pvalue > 1e-3
    lengths = [np.bincount((each > 0).sum(1), minlength=16) for each in (ours, theirs)]
    assert stats.chi2_contingency(np.stack(lengths)[:, lengths[1] > 0]).pvalue > 1e-3


def test_equal_kernels_give_equal_pixels() -> None:
    config = GaussianBlur(name="GaussianBlur", p=1.0)
    images = varied(20)
    parameters = config.draw(20, (20, 33), torch.Generator().manual_seed(0))
    output = config.apply(tensor_of(images), parameters, MEAN).permute(0, 2, 3, 1).numpy()
    theirs = config.to_albumentations(MEAN)
    for image, kernel, ours in zip(images, parameters.kernel.numpy(), output, strict=True):
        expected = theirs.apply(image, kernel=np.trim_zeros(kernel))
        assert np.array_equal(ours, expected)


def test_a_kernel_of_one_pixel_changes_nothing(make: Factory) -> None:
    images = varied(10)
    assert np.array_equal(
        make({"name": "GaussianBlur", "sigma_limit": [0.1, 0.28], "p": 1.0})(images), images
    )
    assert "one pixel" in GaussianBlur(name="GaussianBlur", sigma_limit=(0.1, 0.28)).inactive_reason(32, 32)


def test_the_mean_level_stays(make: Factory) -> None:
    images = varied(30, 32, 32)
    output = make({"name": "GaussianBlur", "p": 1.0})(images)
    apart = np.abs(output.mean((1, 2)) - images.mean((1, 2)))
    assert np.median(apart) < 1
    assert (output.std((1, 2)) <= images.std((1, 2)) + 1).all()


def test_parameters_are_kernels() -> None:
    config = GaussianBlur(name="GaussianBlur", sigma_limit=(1.0, 1.0))
    parameters = config.draw(2, (8, 8), torch.Generator())
    assert isinstance(parameters, Blur)
    assert parameters.kernel.shape == (2, 7)
    assert config.details == "sigma 1 pixels; p = 0.5"
