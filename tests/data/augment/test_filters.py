"""Blur and sharpness, against albumentations, SciPy and Pillow, and between devices."""

import numpy as np
import pytest
import torch
from albumentations.augmentations.blur import functional as blur_oracle
from albumentations.augmentations.pixel import functional as oracle
from PIL import Image, ImageEnhance
from scipy import ndimage

from convsmith.data.augment import each_image, filters
from helpers.augmentation import changed, tensor_of, varied

SIGMAS = (0.1, 0.29, 0.5, 0.9, 1.4, 3.0, 5.1)


def test_kernels_equal_albumentations() -> None:
    kernels = filters.gaussian_kernels(torch.tensor(SIGMAS, dtype=torch.float64), radius=int(3.5 * 5.1))
    for kernel, sigma in zip(kernels.numpy(), SIGMAS, strict=True):
        theirs = blur_oracle.create_gaussian_kernel_1d(sigma)
        assert len(theirs) == np.count_nonzero(kernel) or theirs.min() == 0
        assert np.trim_zeros(kernel) == pytest.approx(np.trim_zeros(theirs), abs=1e-7)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 5, 9), (3, 1, 4)])
def test_blurred_images_equal_albumentations_and_nearly_scipy(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    images = varied(len(SIGMAS), height, width, channels)
    kernels = filters.gaussian_kernels(torch.tensor(SIGMAS, dtype=torch.float64), radius=17)
    singles = each_image.each_image(tensor_of(images), each_image.blur, kernels.numpy())
    batch = filters.blur_images(tensor_of(images), kernels)
    for image, sigma, single, ours in zip(images, SIGMAS, singles, batch, strict=True):
        theirs = oracle.separable_convolve(image, blur_oracle.create_gaussian_kernel_1d(sigma))
        # The weights are float32 here and float64 there.
        apart = np.abs(single.permute(1, 2, 0).numpy().astype(int) - theirs.reshape(image.shape))
        assert apart.max() <= 1
        assert np.mean(apart > 0) < 0.001
        values = image.astype(float)
        for axis in (0, 1):
            cut = int(3.5 * sigma)
            values = ndimage.gaussian_filter1d(values, sigma, axis=axis, mode="mirror", radius=cut)
        assert np.abs(ours.permute(1, 2, 0).numpy() - values).max() <= 0.51


def test_box_blur_by_pytorch_equals_scipy() -> None:
    images, sides = varied(6), torch.tensor([1, 3, 5, 7, 9, 21])
    batch = filters.blur_images(tensor_of(images), filters.box_kernels(sides, 21))
    for image, side, ours in zip(images, sides.tolist(), batch.permute(0, 2, 3, 1).numpy(), strict=True):
        means = ndimage.uniform_filter(image.astype(float), (side, side, 1), mode="mirror")
        assert np.abs(ours - means).max() <= 0.51


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 20, 33), (3, 3, 3), (1, 2, 9)])
def test_sharpness_equals_pillow_to_a_level(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    images = varied(20, height, width, channels)
    for factor in (0.0, 0.01, 0.5, 1.0, 1.5, 1.99):
        output = changed("sharpen", filters, images, np.full(20, factor, np.float32))
        for image, ours in zip(images, output, strict=True):
            picture = Image.fromarray(image[..., 0] if channels == 1 else image)
            theirs = np.asarray(ImageEnhance.Sharpness(picture).enhance(factor)).reshape(ours.shape)
            # Pillow truncates; at factors 0 and 1 there is nothing to truncate.
            assert np.abs(ours.astype(int) - theirs).max() <= (0 if factor in {0, 1} else 1)
        assert factor != 1 or np.array_equal(output, images)
