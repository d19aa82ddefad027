"""Random erasing, against albumentations and its definition."""

import numpy as np
import pytest
import torch
from scipy import stats

from convsmith.data.augment.engines import AlbumentationsEngine
from convsmith.data.augment.transforms.random_erasing import RandomErasing
from helpers.augmentation import MEAN, Factory, varied


@pytest.mark.parametrize("size", [(32, 32), (48, 20), (20, 48)])
@pytest.mark.parametrize("ratio", [(0.3, 3.3), (0.8, 1.2)])
def test_rectangles_have_the_distribution_of_albumentations(
    size: tuple[int, int], ratio: tuple[float, float]
) -> None:
    config = RandomErasing(name="RandomErasing", scale=(0.03, 0.4), ratio=ratio, p=1.0)
    pipeline = AlbumentationsEngine((config,), MEAN).pipeline
    (erasing,) = pipeline.transforms
    pipeline.set_random_seed(0)
    shape = {"shape": (*size, 3)}
    theirs = np.concatenate([erasing.get_params_dependent_on_data(shape, {})["holes"] for _ in range(3000)])
    ours = config.draw(3000, size, torch.Generator().manual_seed(0))
    left, top, right, bottom = (
        each.flatten().numpy() for each in (ours.left, ours.top, ours.right, ours.bottom)
    )
    pairs = [
        (left, theirs[:, 0]),
        (top, theirs[:, 1]),
        (right - left, theirs[:, 2] - theirs[:, 0]),
        (bottom - top, theirs[:, 3] - theirs[:, 1]),
        ((right - left) * (bottom - top), (theirs[:, 2] - theirs[:, 0]) * (theirs[:, 3] - theirs[:, 1])),
    ]
    for mine, other in pairs:
        assert stats.ks_2samp(mine, other).pvalue > 1e-3
    assert top.min() >= 0
    assert left.min() >= 0
    assert bottom.max() <= size[0]
    assert right.max() <= size[1]


def test_areas_and_ratios_are_within_their_limits(make: Factory) -> None:
    images = np.full((300, 40, 40, 3), 9, np.uint8)
    table = {"name": "RandomErasing", "fill": "black", "p": 1.0, "scale": [0.1, 0.2], "ratio": [0.5, 2.0]}
    for image in make(table)(images):
        rows, columns = np.nonzero(image[..., 0] == 0)
        height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
        assert height * width == len(rows)
        # Sides are rounded to pixels.
        assert (height - 0.5) * (width - 0.5) <= 0.2 * 1600
        assert (height + 0.5) * (width + 0.5) >= 0.1 * 1600
        assert 0.5 * 0.9 <= width / height <= 2 * 1.1


def test_the_noise_is_uniform_and_differs_between_images_and_channels(make: Factory) -> None:
    images = np.full((200, 32, 32, 3), 7, np.uint8)
    output = make({"name": "RandomErasing", "p": 1.0})(images)
    erased = output[(output != 7).any(-1)]
    # Pixels that are 7 in each channel by chance are missed, and too few to matter.
    assert stats.chisquare(np.bincount(erased.ravel(), minlength=256)).pvalue > 1e-4
    assert np.abs(np.corrcoef(erased.T) - np.eye(3)).max() < 0.03
    assert len(np.unique(output.reshape(200, -1), axis=0)) == 200


def test_noise_covers_the_rectangle_only() -> None:
    config = RandomErasing(name="RandomErasing", p=1.0)
    images = torch.full((50, 3, 24, 31), 7, dtype=torch.uint8)
    drawn = config.draw(50, (24, 31), torch.Generator().manual_seed(0))
    output = config.apply(images, drawn, MEAN)
    for image, top, left, bottom, right in zip(
        output, *(each.flatten().tolist() for each in drawn[:4]), strict=True
    ):
        inside = torch.zeros(24, 31, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert (image[:, ~inside] == 7).all()
        assert (image[:, inside] == 7).float().mean() < 0.2


def test_rectangles_that_do_not_fit_are_a_problem() -> None:
    config = RandomErasing(name="RandomErasing", scale=(0.3, 0.5), ratio=(0.3, 3.3))
    assert config.problem(32, 32) is None
    problem = config.problem(64, 8)
    assert problem is not None
    assert (
        problem.what == "rectangles of 30 % of the area with ratios from 0.3 to 3.3 do not fit images of 64x8"
    )
    assert RandomErasing(name="RandomErasing", scale=(0.001, 0.002)).inactive_reason(32, 32)


def test_rectangles_that_round_to_nothing_erase_nothing(make: Factory) -> None:
    images = varied(20, 8, 8)
    output = make({"name": "RandomErasing", "scale": [0.0001, 0.0002], "p": 1.0})(images)
    assert np.mean(output != images) < 0.02


def test_settings_in_words() -> None:
    config = RandomErasing(name="RandomErasing")
    assert config.details == "2 % to 33 % of the area, ratio 0.3 to 3.3; noise; p = 0.5"


@pytest.mark.parametrize("fill", ["mean", "black"])
def test_colours(make: Factory, fill: str) -> None:
    images = varied(40) // 2 + 128
    output = make({"name": "RandomErasing", "p": 1.0, "fill": fill})(images)
    colour = [51, 102, 153] if fill == "mean" else [0, 0, 0]
    changed = (output != images).any(-1)
    assert (output[changed] == colour).all()
    assert changed.any((1, 2)).all()
