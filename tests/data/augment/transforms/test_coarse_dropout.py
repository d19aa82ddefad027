"""Coarse dropout, against its definition and albumentations."""

import numpy as np
import torch
from scipy import stats

from convsmith.data.augment.engines import AlbumentationsEngine
from convsmith.data.augment.transforms.coarse_dropout import CoarseDropout
from helpers.augmentation import MEAN, Factory


def test_defaults_cover_one_hole_of_16x16_pixels_with_the_mean_colour(make: Factory) -> None:
    images = np.zeros((200, 32, 32, 3), np.uint8)
    output = make({"name": "CoarseDropout", "p": 1.0})(images)
    corners = set()
    for image in output:
        rows, columns = np.nonzero(image.any(-1))
        assert [int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, len(rows)] == [16, 16, 256]
        assert image[rows[0], columns[0]].tolist() == [51, 102, 153]
        assert np.unique(image[rows, columns], axis=0).shape == (1, 3)
        corners.add((rows.min(), columns.min()))
    # Holes are inside the image, and anywhere in it.
    assert {min(place) for place in zip(*corners, strict=True)} <= {0, 1}
    assert len(corners) > 100


def test_ranges_include_both_ends(make: Factory) -> None:
    output = make(
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
        for rows, columns, *_ in (np.nonzero(image == 0) for image in output)
    }
    assert sizes == {(2, 3), (3, 3), (4, 3)}


def test_holes_have_the_distribution_of_albumentations() -> None:
    config = CoarseDropout(
        name="CoarseDropout", num_holes_range=(1, 3), hole_height_range=(2, 5), hole_width_range=(3, 9), p=1.0
    )
    pipeline = AlbumentationsEngine((config,), MEAN).pipeline
    (dropout,) = pipeline.transforms
    pipeline.set_random_seed(0)
    count = 3000
    theirs = [dropout.get_params_dependent_on_data({"shape": (16, 24, 3)}, {})["holes"] for _ in range(count)]
    ours = config.draw(count, (16, 24), torch.Generator().manual_seed(0))
    there = ours.bottom > ours.top
    assert stats.ks_2samp(there.sum(1).numpy(), [len(holes) for holes in theirs]).pvalue > 1e-3
    boxes = np.concatenate(theirs)
    for mine, column in ((ours.left, 0), (ours.top, 1), (ours.right, 2), (ours.bottom, 3)):
        assert stats.ks_2samp(mine[there].numpy(), boxes[:, column]).pvalue > 1e-3
