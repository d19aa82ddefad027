"""The background of transparent images."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from convsmith.data.images import background
from convsmith.data.images.background import CANDIDATES, BackgroundChoice, contribution
from convsmith.data.images.decode import DecodedImage, decode_image


def icon(ink: int, alpha: np.ndarray) -> DecodedImage:
    pixels = np.full((*alpha.shape, 3), ink, np.uint8)
    return decode_image(np.dstack([pixels, alpha.astype(np.uint8)]))


def contrasts(images: list[DecodedImage]) -> dict[str, int]:
    """By the definition, pixel by pixel."""
    sums = dict.fromkeys(CANDIDATES, 0)
    for image in images:
        assert image.alpha is not None
        colours = np.asarray(image.image, int).reshape(-1, 3)
        pixels = list(zip(colours, np.asarray(image.alpha).ravel().tolist(), strict=True))
        visible = sum(alpha for _, alpha in pixels)
        for name, candidate in CANDIDATES.items():
            distance = sum(int(np.abs(colour - candidate).sum()) * alpha for colour, alpha in pixels)
            sums[name] += min(distance // (3 * visible), 32) if visible else 0
    return sums


def test_contrasts_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of any size."""
    generator = np.random.default_rng(0)
    images = [
        decode_image(generator.integers(low, low + 80, (height, 7, 4), dtype=np.uint8))
        for low, height in ((0, 1), (60, 5), (170, 9))
    ]
    images.append(icon(3, np.array([[0, 0]])))
    expected = contrasts(images)
    for block in (1, 8, 20, 2**20):
        monkeypatch.setattr(background, "_BLOCK", block)
        choice = BackgroundChoice()
        for image in images:
            choice.add(contribution(image))
        assert (choice.contrast, choice.transparent) == (expected, 4)


def test_the_mean_colour_of_opaque_images_is_exact() -> None:
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (size, 5, 3), dtype=np.uint8) for size in (2, 7)]
    choice = BackgroundChoice()
    for image in images:
        choice.add(contribution(decode_image(image)))
    mean = np.concatenate(images).reshape(-1, 3).mean(axis=0)
    assert choice.colour(3) == tuple(np.floor(mean + 0.5).astype(int).tolist())


@pytest.mark.parametrize("transparent", [False, True])
def test_a_large_image_takes_little_memory(transparent: bool) -> None:
    image = Image.new("RGB", (4000, 2000), (3, 4, 5))
    alpha = Image.new("L", image.size, 200) if transparent else None
    tracemalloc.start()
    contribution(DecodedImage(image=image, alpha=alpha, mode="RGB"))
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Eight bytes for each level would be 192 MB.
    assert highest < 100e6
