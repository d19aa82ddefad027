"""Cutout."""

import numpy as np

from helpers.augmentation import Make


def test_cutout_covers_a_square_that_the_edge_may_cut(make: Make) -> None:
    images = np.full((600, 16, 16, 1), 9, np.uint8)
    changed = make({"name": "Cutout", "size": 6, "p": 1.0, "fill": "black"}, mean=(0.5,))(images)
    sizes, centres = set(), set()
    for image in changed:
        rows, columns = np.nonzero(image[..., 0] == 0)
        height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
        assert len(rows) == height * width
        sizes |= {height, width}
        centres.add((rows.min(), columns.min()))
    assert sizes == {3, 4, 5, 6}
    assert len(centres) > 100
