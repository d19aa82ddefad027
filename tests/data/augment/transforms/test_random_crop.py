"""Random crops, against numpy.pad."""

from typing import Any

import numpy as np
import pytest

from helpers.augmentation import Factory, noise


def test_crops_shift_by_whole_pixels_within_the_padding(make: Factory) -> None:
    images = np.zeros((400, 9, 9, 1), np.uint8)
    images[:, 4, 4] = 255
    output = make({"name": "RandomCrop", "padding": 2, "border": "black"}, mean=(0.5,))(images)
    places = [tuple(np.argwhere(image[..., 0])[0] - 4) for image in output]
    assert {int(value) for place in places for value in place} == {-2, -1, 0, 1, 2}
    assert len(set(places)) == 25
    assert all((image == 255).sum() == 1 for image in output)


@pytest.mark.parametrize(
    ("border", "mode"),
    [("reflect", "reflect"), ("replicate", "edge"), ("black", "constant"), ("mean", "constant")],
)
def test_crops_are_windows_of_the_image_padded_by_numpy(make: Factory, border: str, mode: Any) -> None:
    images = noise(50, size=8)
    output = make({"name": "RandomCrop", "padding": 3, "border": border})(images)
    for before, after in zip(images, output, strict=True):
        arguments = {"constant_values": -1} if mode == "constant" else {}
        padded = np.pad(before.astype(int), ((3, 3), (3, 3), (0, 0)), mode=mode, **arguments)
        colour = np.array([51, 102, 153]) if border == "mean" else np.zeros(3, int)
        padded = np.where(padded < 0, colour, padded)
        crops = [padded[y : y + 8, x : x + 8] for y in range(7) for x in range(7)]
        assert any(np.array_equal(after, crop) for crop in crops)
