"""The fourteen operations, against Pillow, and their distribution, against the papers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from convsmith.data.augment import operations as operations_module
from convsmith.data.augment import pillow_operations
from convsmith.data.augment.operations import Operations, draw_operations, operation_values
from convsmith.data.augment.strengths import AUTO_AUGMENT, LEVELS, OPERATIONS, WIDE, Strengths
from helpers.augmentation import Images, photograph, tensor_of, varied

SHAPES = [(3, 32, 32), (1, 28, 28), (3, 20, 33), (1, 33, 20)]
MEAN = (51.0, 102.0, 153.0)
MOVES = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}


def reference(strengths: Strengths) -> pillow_operations.RandomOperations:
    return pillow_operations.RandomOperations(number=1, magnitudes=(0,), **vars(strengths))


def all_of(name: str, strengths: Strengths, size: tuple[int, int]) -> tuple[Operations, list[float]]:
    """Return an operation at every magnitude and direction, and the strengths from -1 to 1."""
    magnitudes = torch.arange(LEVELS).repeat(2).view(-1, 1)
    directions = torch.tensor([1, -1]).repeat_interleave(LEVELS).view(-1, 1)
    operation = torch.full_like(magnitudes, OPERATIONS.index(name))
    value = operation_values(operation, magnitudes, directions, strengths, size)
    return Operations(operation, value), (magnitudes * directions / 30).flatten().tolist()


BY = {"opencv": operations_module._by_opencv, "pytorch": operations_module._by_pytorch}


def applied(images: Images, operations: Operations, border: str = "black", by: str = "opencv") -> Images:
    mean = MEAN[: images.shape[3]]
    return np.asarray(BY[by](tensor_of(images), operations, border, mean).permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("strengths", [AUTO_AUGMENT, WIDE], ids=["AutoAugment", "wide"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in MOVES])
@pytest.mark.parametrize("by", BY)
def test_levels_equal_pillow(name: str, shape: tuple[int, int, int], strengths: Strengths, by: str) -> None:
    channels, height, width = shape
    operations, all_strengths = all_of(name, strengths, (height, width))
    images = varied(len(all_strengths), height, width, channels)
    change = reference(strengths).change
    for image, strength, ours in zip(images, all_strengths, applied(images, operations, by=by), strict=True):
        theirs = change(image, name, strength).reshape(image.shape)
        # Pillow rounds the mean of contrast, truncates color and sharpness, and stretches with floats.
        limit = {"Contrast": 1, "AutoContrast": 1, "Color": 2, "Sharpness": 1}.get(name, 0)
        assert np.abs(ours.astype(int) - theirs).max() <= limit, strength


def by_pillow(image: Images, name: str, value: float) -> Images:
    """The calls of AutoAugment's reference, with bilinear interpolation."""
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    bilinear = Image.Resampling.BILINEAR
    if name == "Rotate":
        return np.asarray(picture.rotate(value, bilinear)).reshape(image.shape)
    shear = {"ShearX": (1, value, 0, 0, 1, 0), "ShearY": (1, 0, 0, value, 1, 0)}
    shift = {"TranslateX": (1, 0, value, 0, 1, 0), "TranslateY": (1, 0, 0, 0, 1, value)}
    moved = picture.transform(picture.size, Image.Transform.AFFINE, (shear | shift)[name], bilinear)
    return np.asarray(moved).reshape(image.shape)


@pytest.mark.parametrize("strengths", [AUTO_AUGMENT, WIDE], ids=["AutoAugment", "wide"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(MOVES))
@pytest.mark.parametrize("by", BY)
def test_moved_pixels_equal_pillow(
    name: str, shape: tuple[int, int, int], strengths: Strengths, by: str
) -> None:
    channels, height, width = shape
    operations, _ = all_of(name, strengths, (height, width))
    photo = np.ascontiguousarray(photograph(48)[:height, :width, :channels])
    images = np.repeat(np.maximum(photo, 9)[None], len(operations.value), axis=0)
    # Pillow repeats the outermost pixels for half a pixel, then cuts; ours fades into black for a pixel.
    repeated, black = (applied(images, operations, border, by) for border in ("replicate", "black"))
    for ours, faded, value in zip(repeated, black, operations.value.flatten().tolist(), strict=True):
        theirs = by_pillow(images[0], name, value)
        apart = np.abs(ours.astype(int) - theirs)[theirs > 0]
        # OpenCV rounds places to 32nds of a pixel; the photograph changes by up to 80 levels a pixel.
        assert apart.size == 0 or apart.max() <= (0 if name.startswith("Translate") else 4), value
        # As much is empty, but for that half pixel along four sides.
        assert abs(np.mean(faded < 5) - np.mean(theirs < 5)) < 4 * 0.5 / min(height, width), value


@pytest.mark.parametrize("shape", SHAPES)
def test_the_engine_of_single_images_moves_alike(shape: tuple[int, int, int]) -> None:
    """Its matrices are computed by another formula, and OpenCV's warpAffine interpolates."""
    channels, height, width = shape
    photo = np.ascontiguousarray(photograph(48)[:height, :width, :channels])
    for name in sorted(MOVES):
        operations, all_strengths = all_of(name, WIDE, (height, width))
        images = np.repeat(photo[None], len(all_strengths), axis=0)
        outputs = applied(images, operations)
        for ours, strength in zip(outputs, all_strengths, strict=True):
            theirs = reference(WIDE).change(photo, name, strength).reshape(photo.shape)
            assert np.abs(ours.astype(int) - theirs).mean() < 0.6, (name, strength)


@pytest.mark.parametrize("strengths", [AUTO_AUGMENT, WIDE], ids=["AutoAugment", "wide"])
@pytest.mark.parametrize("border", ["reflect", "replicate", "mean", "black"])
@pytest.mark.parametrize("channels", [1, 3])
def test_magnitude_0_changes_nothing(strengths: Strengths, border: str, channels: int) -> None:
    # Autocontrast and equalize have no magnitude.
    names = [name for name in OPERATIONS if name not in {"AutoContrast", "Equalize"}]
    operation = torch.tensor([OPERATIONS.index(name) for name in names]).view(-1, 1)
    for direction in (1, -1):
        zero, way = torch.zeros_like(operation), torch.full_like(operation, direction)
        value = operation_values(operation, zero, way, strengths, (20, 33))
        images = varied(len(names), channels=channels)
        for by in BY:
            assert np.array_equal(applied(images, Operations(operation, value), border, by), images)


def test_values_of_the_papers() -> None:
    """AutoAugment's table 6, with 150 pixels of 331, and TrivialAugment's wide ranges."""
    expected = {
        "Rotate": (30, 135),
        "Solarize": (0, 0),
        "Posterize": (4, 2),
        **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), (1.9, 1.99)),
        **dict.fromkeys(("ShearX", "ShearY"), (0.3, 0.99)),
        "TranslateX": (150, 32),
        "TranslateY": (75, 32),
    }
    for name, values in expected.items():
        for strengths, value in zip((AUTO_AUGMENT, WIDE), values, strict=True):
            (operations, _) = all_of(name, strengths, (166, 331))
            assert operations.value[LEVELS - 1].item() == pytest.approx(value)
            low = operations.value[-1].item()
            factor = strengths.factor if 1.5 < value < 2 else None
            one_way = name in {"Solarize", "Posterize"}
            assert low == pytest.approx(value if one_way else 1 - factor if factor else -value)


def test_bits_and_shifts_are_whole() -> None:
    for name in ("Posterize", "TranslateX", "TranslateY"):
        for strengths in (AUTO_AUGMENT, WIDE):
            value = all_of(name, strengths, (20, 33))[0].value
            assert torch.equal(value, value.round())
    # The steps of torchvision's RandAugment and TrivialAugmentWide.
    bits = all_of("Posterize", AUTO_AUGMENT, (9, 9))[0].value[:LEVELS].flatten()
    assert torch.equal(bits, 8 - (torch.arange(31) / (30 / 4)).round())
    bits = all_of("Posterize", WIDE, (9, 9))[0].value[:LEVELS].flatten()
    assert torch.equal(bits, 8 - (torch.arange(31) / (30 / 6)).round())


@pytest.mark.parametrize("seed", range(3))
def test_operations_magnitudes_and_directions_are_uniform_and_independent(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    operation, value = draw_operations((30_000, 2), WIDE, None, (200, 200), generator)
    assert stats.chisquare(np.bincount(operation.flatten(), minlength=14)).pvalue > 1e-4
    # With replacement: each of the 196 pairs is equally likely.
    pairs = np.bincount(operation[:, 0] * 14 + operation[:, 1], minlength=196)
    assert stats.chisquare(pairs).pvalue > 1e-4
    for name, step in (("Rotate", 4.5), ("ShearY", 0.033), ("Brightness", 0.033)):
        chosen = value[operation == OPERATIONS.index(name)] - (1 if name == "Brightness" else 0)
        levels = (chosen / step).round().long() + 30
        # Magnitudes 1 to 30 in either direction, and 0 in both.
        expected = np.full(61, len(chosen) / 62)
        expected[30] *= 2
        assert stats.chisquare(np.bincount(levels, minlength=61), expected).pvalue > 1e-4


def test_a_fixed_magnitude_has_two_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    operation, value = draw_operations((20_000, 1), AUTO_AUGMENT, 9, (32, 32), generator)
    degrees = value[operation == OPERATIONS.index("Rotate")]
    assert sorted(set(degrees.tolist())) == [-9.0, 9.0]
    assert stats.binomtest(int((degrees > 0).sum()), len(degrees)).pvalue > 1e-4
    thresholds = value[operation == OPERATIONS.index("Solarize")]
    assert set(thresholds.tolist()) == {179.0}


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_depends_on_no_other(channels: int) -> None:
    images = tensor_of(varied(70, channels=channels))
    generator = torch.Generator().manual_seed(1)
    operations = draw_operations((70, 3), WIDE, None, (20, 33), generator)
    mean = MEAN[:channels]
    for apply in BY.values():
        together = apply(images, operations, "mean", mean)
        for part in (slice(0, 1), slice(1, 30), slice(30, 70)):
            own = Operations(operations.operation[part], operations.value[part])
            assert torch.equal(together[part], apply(images[part], own, "mean", mean))


def test_opencv_and_pytorch_agree_on_photographs() -> None:
    images = np.repeat(photograph(32)[None], 300, axis=0)
    operations = draw_operations((300, 2), AUTO_AUGMENT, 15, (32, 32), torch.Generator().manual_seed(1))
    for border in ("reflect", "replicate", "mean", "black"):
        ours, theirs = (applied(images, operations, border, by) for by in BY)
        apart = np.abs(ours.astype(int) - theirs)
        # Two operations: a level of the first may be more after equalize or contrast.
        assert apart.mean() < 0.3
        assert np.mean(apart > 3) < 0.01


def test_operations_follow_each_other() -> None:
    images = varied(40)
    generator = torch.Generator().manual_seed(2)
    operations = draw_operations((40, 3), AUTO_AUGMENT, 20, (20, 33), generator)
    at_once = applied(images, operations)
    for turn in range(3):
        own = Operations(operations.operation[:, turn : turn + 1], operations.value[:, turn : turn + 1])
        images = applied(images, own)
    assert np.array_equal(at_once, images)


def test_the_engine_of_single_images_draws_alike() -> None:
    transform = pillow_operations.RandomOperations(number=2, magnitudes=range(LEVELS), **vars(WIDE))
    transform.set_random_seed(0)
    draws: Callable[[], list[tuple[str, float]]] = lambda: transform.get_params()["operations"]  # noqa: E731
    theirs = [each for _ in range(5000) for each in draws()]
    counts = [sum(name == each for name, _ in theirs) for each in OPERATIONS]
    assert sum(counts) == 10_000
    assert stats.chisquare(counts).pvalue > 1e-4
    strengths = np.array([strength for _, strength in theirs])
    expected = np.full(61, len(strengths) / 62)
    expected[30] *= 2
    levels = np.rint(strengths * 30).astype(int) + 30
    assert stats.chisquare(np.bincount(levels, minlength=61), expected).pvalue > 1e-4
