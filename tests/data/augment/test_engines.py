"""Both engines apply transforms with the same meaning."""

import numpy as np
import pytest
from pydantic import ValidationError

from convsmith.data.augment.registry import TRANSFORMS
from helpers.augmentation import COURSE, Factory, make_augmentation, noise


def test_equal_seeds_give_equal_images_and_other_batches_differ(make: Factory) -> None:
    images = noise(30)
    first, second, other = make(*COURSE, seed=5), make(*COURSE, seed=5), make(*COURSE, seed=6)
    once = first(images)
    assert np.array_equal(once, second(images))
    assert not np.array_equal(once, other(images))
    assert not np.array_equal(once, first(images))


def test_grey_images_keep_their_channel_and_inputs_are_not_modified(make: Factory) -> None:
    images = noise(10, size=28, channels=1)
    before = images.copy()
    output = make(*COURSE, mean=(0.3,))(images)
    assert output.shape == images.shape
    assert output.dtype == np.uint8
    assert np.array_equal(images, before)


def test_no_transforms_change_nothing(make: Factory) -> None:
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
def test_invalid_arguments_are_errors(make: Factory, transform: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(transform)


def test_alternate_flips_need_the_batched_engine() -> None:
    with pytest.raises(ValidationError, match="batched"):
        make_augmentation("albumentations", {"name": "HorizontalFlip", "alternate": True})


@pytest.mark.parametrize("seed", range(3))
def test_the_share_of_transformed_images_is_p(make: Factory, seed: int) -> None:
    images = noise(600, size=8)
    for transform in ({"name": "HorizontalFlip"}, {"name": "Cutout", "size": 3}, {"name": "RandomCrop"}):
        output = make({**transform, "p": 0.25}, seed=seed)(images)
        share = np.mean([not np.array_equal(a, b) for a, b in zip(images, output, strict=True)])
        # One crop in 81 does not shift the image.
        assert abs(share - 0.25) < 5 * (0.25 * 0.75 / 600) ** 0.5


def test_probability_0_changes_nothing() -> None:
    images = noise(4)
    transforms: list[dict[str, object]] = [
        {"name": name, "p": 0.0} for name in ("HorizontalFlip", "ShiftScaleRotate", "Cutout")
    ]
    assert np.array_equal(make_augmentation("batched", *transforms)(images), images)


def test_both_engines_apply_every_transform(make: Factory) -> None:
    images = noise(64)
    for transform in TRANSFORMS:
        name = transform.__name__
        output = make({"name": name, "p": 1.0})(images)
        assert output.dtype == np.uint8
        assert output.shape == images.shape
        assert np.mean(output != images) > 0.05, name
