"""Cutout."""

import numpy as np

from helpers.augmentation import Factory


def test_the_square_may_extend_beyond_the_edge(make: Factory) -> None:
    images = np.full((600, 16, 16, 1), 9, np.uint8)
    output = make({"name": "Cutout", "size": 6, "p": 1.0, "fill": "black"}, mean=(0.5,))(images)
    sizes, centres = set(), set()
    for image in output:
        rows, columns = np.nonzero(image[..., 0] == 0)
        height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
        assert len(rows) == height * width
        sizes |= {height, width}
        centres.add((rows.min(), columns.min()))
    assert sizes == {3, 4, 5, 6}
    assert len(centres) > 100
