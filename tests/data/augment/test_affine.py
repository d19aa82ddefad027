"""Affine images, against albumentations and between devices."""

import cv2
import numpy as np
import pytest
import torch
from albumentations.augmentations.geometric import functional as oracle

from convsmith.data.augment import affine
from convsmith.data.augment.affine import affine_images, source_coordinates
from convsmith.data.augment.transforms.shift_scale_rotate import ShiftScaleRotate
from helpers.augmentation import MEAN, photograph, tensor_of


@pytest.mark.parametrize(
    ("border", "mode"),
    [("reflect", cv2.BORDER_REFLECT_101), ("replicate", cv2.BORDER_REPLICATE), ("mean", cv2.BORDER_CONSTANT)],
)
@pytest.mark.parametrize("size", [(32, 32), (20, 33)])
def test_affine_images_equal_albumentations(border: str, mode: int, size: tuple[int, int]) -> None:
    """Compare with the matrix and OpenCV call of albumentations for the same parameters."""
    image = np.ascontiguousarray(photograph(40)[: size[0], : size[1]])
    config = ShiftScaleRotate(name="ShiftScaleRotate", scale_limit=0.2, shift_limit=0.2, rotate_limit=40.0)
    parameters = config.draw(40, size, torch.Generator().manual_seed(0))
    mean = tuple(255 * value for value in MEAN)
    images = tensor_of(image[None].repeat(40, axis=0))
    output = affine_images(images, parameters, border, mean).permute(0, 2, 3, 1).numpy()
    for after, angle, scale, right, down in zip(
        output, *(values.tolist() for values in parameters), strict=True
    ):
        matrix = oracle.create_affine_transformation_matrix(
            {"x": right, "y": down},
            {"x": 0.0, "y": 0.0},
            {"x": scale, "y": scale},
            np.degrees(angle),
            oracle.center(size),
        )
        expected = oracle.warp_affine(image, matrix, cv2.INTER_LINEAR, mean, mode, size)
        difference = np.abs(after.astype(int) - expected)
        # OpenCV interpolates between places rounded to a 32nd of a pixel.
        assert difference.mean() < 0.5
        assert np.quantile(difference, 0.99) <= 3


@pytest.mark.parametrize("border", ["reflect", "replicate", "mean", "black"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 20, 33), (4, 7, 9), (3, 2, 8), (3, 500, 12)])
def test_opencv_and_pytorch_agree(border: str, shape: tuple[int, int, int]) -> None:
    """70 images of 500 rows exceed OpenCV's limit of rows."""
    channels, *size = shape
    photo = np.resize(photograph(48), (*size, channels))
    smooth = np.asarray(cv2.GaussianBlur(photo, (0, 0), 1.5), np.uint8).reshape(*size, channels)
    images = tensor_of(smooth[None].repeat(70, axis=0))
    config = ShiftScaleRotate(name="ShiftScaleRotate", scale_limit=0.4, shift_limit=0.3, rotate_limit=60.0)
    parameters = config.draw(70, (size[0], size[1]), torch.Generator().manual_seed(0))
    mean = tuple(20.0 * (channel + 1) for channel in range(channels))
    across, down = source_coordinates(parameters, (size[0], size[1]))
    ours, others = (
        change(images, across, down, border, mean).to(torch.int16)
        for change in (affine._by_opencv, affine._by_pytorch)
    )
    difference = (ours - others).abs().float()
    assert difference.mean() < 0.5
    assert difference.max() <= 8
    assert (ours != images).any()
