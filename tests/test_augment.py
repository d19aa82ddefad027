"""The transforms mean what they say: against numpy, and by the parameters that albumentations draws."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from convsmith.data.augment import AugmentConfig, Augmenter, augmenter

Images = NDArray[np.uint8]
MEAN = (0.2, 0.4, 0.6)
COURSE: list[dict[str, object]] = [
    {"name": "HorizontalFlip"},
    {"name": "ShiftScaleRotate", "rotate_limit": 15.0},
    {"name": "CoarseDropout"},
]


def make(*transforms: dict[str, object], mean: tuple[float, ...] = MEAN, seed: int = 0) -> Augmenter:
    return augmenter(AugmentConfig.model_validate({"transforms": list(transforms)}), mean, seed)


def noise(count: int, size: int = 32, channels: int = 3) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def test_flip_mirrors_about_half_of_the_images() -> None:
    images = noise(400)
    changed = make({"name": "HorizontalFlip"})(images)
    flipped = [np.array_equal(after, before[:, ::-1]) for before, after in zip(images, changed, strict=True)]
    kept = [np.array_equal(after, before) for before, after in zip(images, changed, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    # Five standard deviations of a fair coin thrown 400 times.
    assert abs(sum(flipped) - 200) < 50


def test_course_dropout_is_one_hole_of_16_by_16_in_the_mean_colour() -> None:
    images = np.zeros((200, 32, 32, 3), np.uint8)
    changed = make({"name": "CoarseDropout", "p": 1.0})(images)
    corners = set()
    for image in changed:
        rows, columns = np.nonzero(image.any(-1))
        assert [int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, len(rows)] == [16, 16, 256]
        assert image[rows[0], columns[0]].tolist() == [51, 102, 153]
        assert np.unique(image[rows, columns], axis=0).shape == (1, 3)
        corners.add((rows.min(), columns.min()))
    # The whole hole lies in the image, anywhere.
    assert {min(place) for place in zip(*corners, strict=True)} <= {0, 1}
    assert len(corners) > 100


def test_dropout_ranges_are_drawn_with_both_ends() -> None:
    changed = make(
        {
            "name": "CoarseDropout",
            "p": 1.0,
            "hole_height_range": [2, 4],
            "hole_width_range": [3, 3],
            "fill": "black",
        }
    )(np.full((200, 32, 32, 3), 9, np.uint8))
    sizes = {
        (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)
        for rows, columns, *_ in (np.nonzero(image == 0) for image in changed)
    }
    assert sizes == {(2, 3), (3, 3), (4, 3)}


def test_zero_limits_change_nothing() -> None:
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


def test_shift_stays_within_its_limit_and_uses_all_of_it() -> None:
    shift = {
        "name": "ShiftScaleRotate", "shift_limit": 0.2, "scale_limit": 0.0, "rotate_limit": 0.0,
        "border": "black", "p": 1.0,
    }  # fmt: skip
    moved = np.array([centre_and_size(image)[:2] for image in make(shift, mean=(0.5,))(square(300))]) - 16
    # 0.2 of 33 pixels, and half a pixel for the rounding of the resampling.
    assert np.abs(moved).max() <= 0.2 * 33 + 0.5
    assert (np.ptp(moved, axis=0) > 11).all()
    assert np.abs(moved.mean(0)).max() < 1


def test_scale_is_one_for_both_axes() -> None:
    zoom = {
        "name": "ShiftScaleRotate", "shift_limit": 0.0, "scale_limit": 0.3, "rotate_limit": 0.0,
        "border": "black", "p": 1.0,
    }  # fmt: skip
    changed = make(zoom, mean=(0.5,))(square(300))
    bright = changed[..., 0].astype(float) / 255
    heights, widths = bright[:, :, 16].sum(1), bright[:, 16, :].sum(1)
    assert np.abs(heights - widths).max() < 0.3
    assert 0.7 * 11 - 0.5 < heights.min() < 0.8 * 11
    assert 1.2 * 11 < heights.max() < 1.3 * 11 + 0.5


def test_rotation_keeps_the_centre_and_stays_within_its_limit() -> None:
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
def test_what_comes_into_view_at_the_border(border: str, corner: int) -> None:
    images = np.full((40, 32, 32, 1), 200, np.uint8)
    turn = {"name": "ShiftScaleRotate", "rotate_limit": 45.0, "p": 1.0, "border": border}
    assert make(turn, mean=(0.2,))(images).min() in {corner, corner - 1, corner + 1}


def test_equal_seeds_change_equally_and_reseeding_starts_again() -> None:
    images = noise(30)
    first, second, other = make(*COURSE, seed=5), make(*COURSE, seed=5), make(*COURSE, seed=6)
    once = first(images)
    assert np.array_equal(once, second(images))
    assert not np.array_equal(once, other(images))
    assert not np.array_equal(once, first(images))
    first.reseed(5)
    other.reseed(5)
    assert np.array_equal(first(images), other(images))
    assert np.array_equal(once, make(*COURSE, seed=5)(images))


def test_grey_images_keep_their_channel_and_inputs_are_left_alone() -> None:
    images = noise(10, size=28, channels=1)
    before = images.copy()
    changed = make(*COURSE, mean=(0.3,))(images)
    assert changed.shape == images.shape
    assert changed.dtype == np.uint8
    assert np.array_equal(images, before)


def test_no_transforms_change_nothing() -> None:
    images = noise(3)
    assert np.array_equal(make()(images), images)


@pytest.mark.parametrize(
    "transform",
    [
        {"name": "HorizontalFlip", "prob": 0.5},
        {"name": "CoarseDropout", "max_holes": 1},
        {"name": "CoarseDropout", "hole_height_range": [0, 3]},
        {"name": "CoarseDropout", "hole_height_range": [5, 3]},
        {"name": "ShiftScaleRotate", "rotate_limit": 200.0},
        {"name": "os.system"},
    ],
)
def test_wrong_arguments_are_refused_not_dropped(transform: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(transform)
