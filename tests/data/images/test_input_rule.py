"""Images of any size and mode become the net's input."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convsmith.data.dataset import load as load_data
from convsmith.data.images.input_rule import Pixels, read_pixels
from convsmith.errors import ImageError
from convsmith.models.bundle_schema import Preprocessing
from convsmith.models.image_inputs import ImageInput, image_sources
from convsmith.recipes.loader import load as load_recipe
from helpers.images import COLOUR, GREY, saved


def pixels_of(image: ImageInput, preprocessing: Preprocessing) -> Pixels:
    (source,) = image_sources(image)
    return read_pixels(source.read(), preprocessing.rule)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"]
)
@pytest.mark.parametrize("rule", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_8_bit_mode_is_converted(mode: str, rule: Preprocessing) -> None:
    image = Image.new(mode, (13, 29))
    assert pixels_of(image, rule).shape == (8, 8, rule.channels)


def test_an_image_of_the_right_size_and_mode_is_unchanged() -> None:
    random = np.random.default_rng(0)
    for rule, shape in ((GREY, (8, 8, 1)), (COLOUR, (8, 8, 3))):
        image = random.integers(0, 256, shape).astype(np.uint8)
        assert np.array_equal(pixels_of(image, rule), image)
        assert np.array_equal(pixels_of(Image.fromarray(image.squeeze()), rule), image)


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    # The upright image by orientation, as the EXIF standard defines it.
    turned = {
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1],
        5: image.transpose(1, 0, 2), 6: np.rot90(image, -1), 7: np.rot90(image, 2).transpose(1, 0, 2),
        8: np.rot90(image),
    }  # fmt: skip
    for orientation, seen in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = saved(tmp_path / f"{orientation}.png", image, exif=exif)
        assert np.array_equal(pixels_of(name, COLOUR), seen), orientation


def test_transparent_pixels_get_the_mean_colour(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[:4] = (255, 0, 0, 255)
    image[4:6, :, 3] = 128
    pixels = pixels_of(image, COLOUR)
    assert (pixels[:4] == (255, 0, 0)).all()
    assert (pixels[6:] == (51, 102, 153)).all()
    assert np.abs(pixels[4:6].astype(int) - (25, 51, 76)).max() <= 1
    palette = Image.fromarray(image[..., 0]).convert("P")
    name = saved(tmp_path / "p.gif", palette, transparency=palette.getpixel((0, 7)))
    assert (pixels_of(name, COLOUR)[6:] == (51, 102, 153)).all()
    grey = Image.new("LA", (8, 8))
    assert (pixels_of(grey, GREY) == 128).all()


@pytest.mark.parametrize(("width", "height"), [(40, 16), (16, 40), (17, 16), (8, 9), (3, 3), (1, 200)])
def test_the_centre_is_resized(width: int, height: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    expected = np.asarray(square.resize((8, 8), Image.Resampling.LANCZOS))
    assert np.array_equal(pixels_of(Image.fromarray(image), COLOUR), expected)


def test_the_crop_has_the_aspect_ratio_of_the_net() -> None:
    rule = COLOUR.model_copy(update={"width": 16})
    image = np.zeros((20, 20, 3), np.uint8)
    image[5:15] = 255
    assert (pixels_of(Image.fromarray(image), rule) == 255).all()
    image[5:15] = 0
    image[:5] = image[15:] = 255
    assert (pixels_of(Image.fromarray(image), rule) == 0).all()


def test_resizing_does_not_alias() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    inside = pixels_of(stripes, COLOUR)[1:-1, 1:-1].astype(int)
    assert np.abs(inside - 127.5).max() < 3


def test_resizing_equals_that_of_data_resize(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        for number in range(4):
            image = random.integers(0, 256, (20, 20, 3)).astype(np.uint8)
            saved(tmp_path / "data" / label / f"{number}.png", image)
    data = load_data(load_recipe("digits", [f"data.source={tmp_path / 'data'}", "data.resize=8"]).data)
    expected = {image.tobytes() for split in (data.train, data.test) for image in split.images}
    assert {
        read_pixels(item.read(), COLOUR.rule).tobytes() for item in image_sources(tmp_path / "data")
    } == expected


def test_arrays_of_other_types_and_shapes_are_refused() -> None:
    for array in (np.zeros((8, 8)), np.zeros((2, 8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"expected uint8 \(H, W\)"):
            list(image_sources(array))
