"""Shift, scale and rotate, against measurements on bright shapes."""

import numpy as np
import pytest
import torch
from scipy import stats

from convsmith.data.augment.engines import AlbumentationsEngine
from convsmith.data.augment.transforms.shift_scale_rotate import ShiftScaleRotate
from helpers.augmentation import MEAN, Factory, Images, noise


def test_zero_limits_change_nothing(make: Factory) -> None:
    images = noise(8)
    still = {
        "name": "ShiftScaleRotate",
        "shift_limit": 0.0,
        "scale_limit": 0.0,
        "rotate_limit": 0.0,
        "p": 1.0,
    }
    assert np.array_equal(make(still)(images), images)


def centre_and_size(image: Images) -> tuple[float, float, float]:
    """Column and row of the centre of mass, and the square root of the area, of a bright shape."""
    weight = image[..., 0].astype(float) / 255
    rows, columns = np.indices(weight.shape)
    total = weight.sum()
    return float((weight * columns).sum() / total), float((weight * rows).sum() / total), float(total**0.5)


def square(count: int) -> Images:
    images = np.zeros((count, 33, 33, 1), np.uint8)
    images[:, 11:22, 11:22] = 255
    return images


def test_shifts_cover_the_range_of_their_limit(make: Factory) -> None:
    shift = {
        "name": "ShiftScaleRotate", "shift_limit": 0.2, "scale_limit": 0.0, "rotate_limit": 0.0,
        "border": "black", "p": 1.0,
    }  # fmt: skip
    moved = np.array([centre_and_size(image)[:2] for image in make(shift, mean=(0.5,))(square(300))]) - 16
    # 0.2 of 33 pixels, and half a pixel for the rounding of the resampling.
    assert np.abs(moved).max() <= 0.2 * 33 + 0.5
    assert (np.ptp(moved, axis=0) > 11).all()
    assert np.abs(moved.mean(0)).max() < 1


def test_both_axes_have_the_same_scale(make: Factory) -> None:
    zoom = {
        "name": "ShiftScaleRotate", "shift_limit": 0.0, "scale_limit": 0.3, "rotate_limit": 0.0,
        "border": "black", "p": 1.0,
    }  # fmt: skip
    output = make(zoom, mean=(0.5,))(square(300))
    bright = output[..., 0].astype(float) / 255
    heights, widths = bright[:, :, 16].sum(1), bright[:, 16, :].sum(1)
    assert np.abs(heights - widths).max() < 0.3
    assert 0.7 * 11 - 0.5 < heights.min() < 0.8 * 11
    assert 1.2 * 11 < heights.max() < 1.3 * 11 + 0.5


def test_rotations_keep_the_centre_and_stay_within_their_limit(make: Factory) -> None:
    turn = {
        "name": "ShiftScaleRotate", "shift_limit": 0.0, "scale_limit": 0.0, "rotate_limit": 30.0,
        "border": "black", "p": 1.0,
    }  # fmt: skip
    images = np.zeros((300, 33, 33, 1), np.uint8)
    images[:, 15:18, 4:29] = 255
    angles = []
    for image in make(turn, mean=(0.5,))(images):
        assert centre_and_size(image)[:2] == pytest.approx((16, 16), abs=0.6)
        rows, columns = np.nonzero(image[..., 0] > 128)
        angles.append(np.degrees(np.arctan(np.polyfit(columns - 16, rows - 16, 1)[0])))
    assert np.abs(angles).max() < 32
    assert np.ptp(angles) > 50


@pytest.mark.parametrize(
    ("border", "corner"), [("black", 0), ("mean", 51), ("reflect", 200), ("replicate", 200)]
)
def test_borders_fill_the_area_outside_the_image(make: Factory, border: str, corner: int) -> None:
    images = np.full((40, 32, 32, 1), 200, np.uint8)
    turn = {"name": "ShiftScaleRotate", "rotate_limit": 45.0, "p": 1.0, "border": border}
    assert make(turn, mean=(0.2,))(images).min() in {corner, corner - 1, corner + 1}


def test_parameters_have_the_distribution_of_albumentations() -> None:
    config = ShiftScaleRotate(
        name="ShiftScaleRotate", shift_limit=0.1, scale_limit=0.2, rotate_limit=20.0, p=1.0
    )
    pipeline = AlbumentationsEngine((config,), MEAN).pipeline
    (drawer,) = pipeline.transforms
    pipeline.set_random_seed(0)
    count, shape = 4000, (32, 48)
    theirs = [
        drawer.get_params_dependent_on_data({"shape": (*shape, 3)}, {})
        | {"move": drawer._get_translate_params(shape)}
        for _ in range(count)
    ]
    ours = config.draw(count, shape, torch.Generator().manual_seed(0))
    pairs = [
        (np.degrees(ours.angle.numpy()), [each["rotate"] for each in theirs]),
        (ours.scale.numpy(), [each["scale"]["x"] for each in theirs]),
        (ours.right.numpy(), [each["move"]["x"] for each in theirs]),
        (ours.down.numpy(), [each["move"]["y"] for each in theirs]),
    ]
    for mine, other in pairs:
        assert stats.ks_2samp(mine, other).pvalue > 1e-3
    assert set(ours.right.tolist()) == {each["move"]["x"] for each in theirs}
    # The parameters are independent.
    correlation = np.corrcoef(np.stack([values.numpy() for values in ours]))
    assert np.abs(correlation - np.eye(4)).max() < 0.08
