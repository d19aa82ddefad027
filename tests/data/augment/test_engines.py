"""Both engines apply transforms with the same meaning."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.registry import TRANSFORMS
from helpers.augmentation import COURSE, MEAN, Factory, make_augmentation, noise, tensor_of, varied

NAMES = [transform.__name__ for transform in TRANSFORMS]


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
        {"name": "GaussianBlur", "sigma_limit": [2.0, 1.0]},
        {"name": "GaussianBlur", "sigma_limit": [0.0, 1.0]},
        {"name": "Blur", "blur_limit": [2, 4]},
        {"name": "Blur", "blur_limit": [7, 3]},
        {"name": "RandomErasing", "scale": [0.5, 0.1]},
        {"name": "RandomErasing", "ratio": [0.0, 1.0]},
        {"name": "ColorJitter", "hue": 0.6},
        {"name": "RandAugment", "magnitude": 31},
        {"name": "RandAugment", "num_operations": 0},
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_probability_0_changes_nothing(make: Factory, name: str, channels: int) -> None:
    images = varied(5, channels=channels)
    assert np.array_equal(make({"name": name, "p": 0.0}, mean=MEAN[:channels])(images), images)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (20, 33, 3), (33, 20, 1)])
def test_both_engines_apply_every_transform(make: Factory, name: str, shape: tuple[int, int, int]) -> None:
    images = varied(64, *shape)
    before = images.copy()
    output = make({"name": name, "p": 1.0}, mean=MEAN[: shape[2]])(images)
    assert output.dtype == np.uint8
    assert output.shape == images.shape
    assert np.mean(output != images) > 0.05, name
    assert np.array_equal(images, before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_depends_on_its_own_parameters_alone(name: str, channels: int) -> None:
    (transform,) = AugmentConfig.model_validate({"transforms": [{"name": name}]}).transforms
    images = tensor_of(varied(40, channels=channels))
    parameters = transform.draw(40, (20, 33), torch.Generator().manual_seed(0))
    mean = tuple(255 * value for value in MEAN[:channels])
    together = transform.apply(images, parameters, mean)
    parts = (slice(0, 1), slice(1, 18), slice(18, 40))
    apart = torch.cat([transform.apply(images[part], select(parameters, part), mean) for part in parts])
    # OpenCV rounds places to 32nds of a pixel after the images are stacked: a decision of its own.
    limit = 1 if name == "ShiftScaleRotate" else 0
    assert (together.int() - apart.int()).abs().max() <= limit


def select(parameters: tuple[torch.Tensor, ...], part: slice) -> tuple[torch.Tensor, ...]:
    return type(parameters)(*(each[part] for each in parameters)) if parameters else parameters


@pytest.mark.parametrize("name", NAMES)
def test_threads_change_nothing(name: str) -> None:
    images, outputs = varied(64), []
    threads = torch.get_num_threads()
    for count in (1, 4):
        torch.set_num_threads(count)
        try:
            outputs.append(make_augmentation("batched", {"name": name, "p": 1.0})(images))
        finally:
            torch.set_num_threads(threads)
    assert np.array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize("name", NAMES)
def test_each_image_has_its_own_draw(make: Factory, name: str) -> None:
    """Of equal images no two or three are all alike."""
    images = np.repeat(varied(8)[6:7], 64, axis=0)
    output = make({"name": name})(images)
    assert len(np.unique(output.reshape(64, -1), axis=0)) > (1 if name.endswith("Flip") else 3)


@pytest.mark.parametrize("seed", range(4))
def test_several_transforms_keep_the_range_of_levels(seed: int) -> None:
    """A recipe with all of them, in an order of its own; the arithmetic never leaves uint8."""
    names = np.random.default_rng(seed).permutation(NAMES).tolist()
    for channels in (1, 3):
        augment = make_augmentation(
            "batched", *({"name": name} for name in names), mean=MEAN[:channels], seed=seed
        )
        assert augment(varied(40, channels=channels)).dtype == np.uint8


def test_every_transform_says_which_images_may_lose_their_class() -> None:
    risks = {
        name: AugmentConfig.model_validate({"transforms": [{"name": name}]}).transforms[0].label_risk
        for name in NAMES
    }
    risky = {name for name, risk in risks.items() if "digits" in risk}
    assert risky == {"HorizontalFlip", "VerticalFlip", "TrivialAugment"}


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({"name": "ShiftScaleRotate", "rotate_limit": 180.0}, "digits"),
        ({"name": "ColorJitter", "hue": 0.5}, "colour"),
        ({"name": "RandAugment", "magnitude": 30}, "colour"),
    ],
)
def test_strong_settings_have_risks(table: dict[str, object], word: str) -> None:
    (transform,) = AugmentConfig.model_validate({"transforms": [table]}).transforms
    assert word in transform.label_risk
