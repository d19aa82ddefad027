"""Colour jitter, against albumentations."""

import itertools

import numpy as np
import torch
from scipy import stats

from convsmith.data.augment.engines import AlbumentationsEngine
from convsmith.data.augment.transforms.color_jitter import ColorJitter, Jitter
from helpers.augmentation import MEAN, Factory, Images, photograph, tensor_of, varied

CONFIG = ColorJitter(name="ColorJitter", brightness=0.4, contrast=0.5, saturation=0.3, hue=0.2, p=1.0)


def test_parameters_have_the_distribution_of_albumentations() -> None:
    pipeline = AlbumentationsEngine((CONFIG,), MEAN).pipeline
    pipeline.set_random_seed(0)
    theirs = [pipeline.transforms[0].get_params() for _ in range(4000)]
    ours = CONFIG.draw(4000, (32, 32), torch.Generator().manual_seed(0))
    for name in ("brightness", "contrast", "saturation", "hue"):
        assert stats.ks_2samp(getattr(ours, name).numpy(), [each[name] for each in theirs]).pvalue > 1e-3
    # Each of the 24 orders is equally likely.
    orders = [*itertools.permutations(range(4))]
    places = [orders.index(tuple(order)) for order in ours.order.tolist()]
    assert stats.chisquare(np.bincount(places, minlength=24)).pvalue > 1e-3
    correlation = np.corrcoef(np.stack([values.numpy() for values in ours[:4]]))
    assert np.abs(correlation - np.eye(4)).max() < 0.08


def jittered(images: Images, parameters: Jitter, config: ColorJitter = CONFIG) -> tuple[Images, Images]:
    """Return the images of both engines, for equal parameters."""
    ours = config.apply(tensor_of(images), parameters, MEAN).permute(0, 2, 3, 1).numpy()
    oracle = config.to_albumentations(MEAN)
    values = zip(*(each.tolist() for each in parameters), strict=True)
    theirs = [
        oracle.apply(image, **dict(zip(Jitter._fields, each, strict=True)))
        for image, each in zip(images, values, strict=True)
    ]
    return np.asarray(ours), np.stack(theirs)


def test_a_single_change_equals_albumentations_to_a_level() -> None:
    images = varied(200)
    drawn = CONFIG.draw(200, (20, 33), torch.Generator().manual_seed(0))
    one = torch.ones(200)
    still = Jitter(one, one, one, 0 * one, drawn.order)
    for name in ("brightness", "contrast", "saturation", "hue"):
        ours, theirs = jittered(images, still._replace(**{name: getattr(drawn, name)}))
        assert np.abs(ours.astype(int) - theirs).max() <= 1, name
        assert (ours != images).any()


def test_all_changes_in_every_order_equal_albumentations_nearly() -> None:
    """Hues are stored in steps of two degrees: a level of difference before it may become several."""
    images = np.repeat(photograph(32)[None], 240, axis=0)
    drawn = CONFIG.draw(240, (32, 32), torch.Generator().manual_seed(0))
    orders = torch.tensor([*itertools.permutations(range(4))]).repeat(10, 1)
    ours, theirs = jittered(images, drawn._replace(order=orders))
    apart = np.abs(ours.astype(int) - theirs)
    assert apart.mean() < 0.001
    assert np.mean(apart > 1) < 1e-4
    drawn = drawn._replace(hue=torch.zeros(240), order=orders)
    ours, theirs = jittered(images, drawn)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_the_order_matters() -> None:
    images = np.repeat(photograph(32)[None], 24, axis=0)
    drawn = CONFIG.draw(1, (32, 32), torch.Generator().manual_seed(3))
    orders = torch.tensor([*itertools.permutations(range(4))])
    values = (each.repeat(24) for each in drawn[:4])
    ours, _ = jittered(images, Jitter._make((*values, orders)))
    assert len(np.unique(ours.reshape(24, -1), axis=0)) > 6


def test_zero_limits_change_nothing(make: Factory) -> None:
    images = varied(20)
    still = {
        "name": "ColorJitter", "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "p": 1.0,
    }  # fmt: skip
    assert np.array_equal(make(still)(images), images)


def test_grey_images_change_brightness_and_contrast_only(make: Factory) -> None:
    images = varied(20, channels=1)
    colour_only = {"name": "ColorJitter", "brightness": 0.0, "contrast": 0.0, "hue": 0.5, "p": 1.0}
    assert np.array_equal(make(colour_only, mean=(0.5,))(images), images)
    assert not np.array_equal(make({"name": "ColorJitter", "p": 1.0}, mean=(0.5,))(images), images)


def test_settings_in_words() -> None:
    assert CONFIG.details == "brightness 0.4, contrast 0.5, saturation 0.3, hue 0.2 to either side; p = 1"
    assert not CONFIG.inactive_reason(32, 32)
