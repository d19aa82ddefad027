"""The transforms mean what they say, in both engines: against numpy, and engine against engine."""

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from albumentations.augmentations.geometric import functional as oracle
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from convsmith.data.augment import affine
from convsmith.data.augment.affine import affine_images
from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.engines import AlbumentationsEngine, Draw, augmenter
from convsmith.data.augment.mixes.cutmix import CutMix
from convsmith.data.augment.mixes.mixup import Mixup
from convsmith.data.augment.registry import TRANSFORMS
from convsmith.data.augment.transforms.coarse_dropout import CoarseDropout
from convsmith.data.augment.transforms.shift_scale_rotate import ShiftScaleRotate

Images = NDArray[np.uint8]
Change = Callable[[Images], Images]
Make = Callable[..., Change]
MEAN = (0.2, 0.4, 0.6)
COURSE: list[dict[str, object]] = [
    {"name": "HorizontalFlip"},
    {"name": "ShiftScaleRotate", "rotate_limit": 15.0},
    {"name": "CoarseDropout"},
]


def tensor_of(images_NHWC: Images) -> Tensor:  # noqa: N803 - shape suffix
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)


def made(
    engine: str, *transforms: dict[str, object], mean: tuple[float, ...] = MEAN, seed: int = 0
) -> Change:
    """A recipe's augmentation; each call is another batch of the training."""
    augment = augmenter(
        AugmentConfig.model_validate({"engine": engine, "transforms": list(transforms)}), mean
    )
    numbers = itertools.count(1000 * seed)

    def change(images: Images) -> Images:
        draw = Draw(seed=next(numbers), epoch=1, indices=torch.arange(len(images)))
        return augment(tensor_of(images), draw).permute(0, 2, 3, 1).numpy()

    return change


@pytest.fixture(params=["batched", "albumentations"])
def make(request: pytest.FixtureRequest) -> Make:
    return lambda *transforms, **arguments: made(request.param, *transforms, **arguments)


def noise(count: int, size: int = 32, channels: int = 3) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def test_flip_mirrors_about_half_of_the_images(make: Make) -> None:
    images = noise(400)
    changed = make({"name": "HorizontalFlip"})(images)
    flipped = [np.array_equal(after, before[:, ::-1]) for before, after in zip(images, changed, strict=True)]
    kept = [np.array_equal(after, before) for before, after in zip(images, changed, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    # Five standard deviations of a fair coin thrown 400 times.
    assert abs(sum(flipped) - 200) < 50


def test_course_dropout_is_one_hole_of_16_by_16_in_the_mean_colour(make: Make) -> None:
    images = np.zeros((200, 32, 32, 3), np.uint8)
    changed = make({"name": "CoarseDropout", "p": 1.0})(images)
    corners = set()
    for image in changed:
        rows, columns = np.nonzero(image.any(-1))
        assert [int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, len(rows)] == [16, 16, 256]
        assert image[rows[0], columns[0]].tolist() == [51, 102, 153]
        assert np.unique(image[rows, columns], axis=0).shape == (1, 3)
        corners.add((rows.min(), columns.min()))
    # The whole hole lies in the image, anywhere.
    assert {min(place) for place in zip(*corners, strict=True)} <= {0, 1}
    assert len(corners) > 100


def test_dropout_ranges_are_drawn_with_both_ends(make: Make) -> None:
    changed = make(
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
        for rows, columns, *_ in (np.nonzero(image == 0) for image in changed)
    }
    assert sizes == {(2, 3), (3, 3), (4, 3)}


def test_zero_limits_change_nothing(make: Make) -> None:
    images = noise(8)
    still = {
        "name": "ShiftScaleRotate",
        "shift_limit": 0.0,
        "scale_limit": 0.0,
        "rotate_limit": 0.0,
        "p": 1.0,
    }
    assert np.array_equal(make(still)(images), images)


def centre_and_size(image: Images) -> tuple[float, float, float]:
    """Column and row of the centre of mass, and the square root of the area, of a bright shape."""
    weight = image[..., 0].astype(float) / 255
    rows, columns = np.indices(weight.shape)
    total = weight.sum()
    return float((weight * columns).sum() / total), float((weight * rows).sum() / total), float(total**0.5)


def square(count: int) -> Images:
    images = np.zeros((count, 33, 33, 1), np.uint8)
    images[:, 11:22, 11:22] = 255
    return images


def test_shift_stays_within_its_limit_and_uses_all_of_it(make: Make) -> None:
    shift = {
        "name": "ShiftScaleRotate", "shift_limit": 0.2, "scale_limit": 0.0, "rotate_limit": 0.0,
        "border": "black", "p": 1.0,
    }  # fmt: skip
    moved = np.array([centre_and_size(image)[:2] for image in make(shift, mean=(0.5,))(square(300))]) - 16
    # 0.2 of 33 pixels, and half a pixel for the rounding of the resampling.
    assert np.abs(moved).max() <= 0.2 * 33 + 0.5
    assert (np.ptp(moved, axis=0) > 11).all()
    assert np.abs(moved.mean(0)).max() < 1


def test_scale_is_one_for_both_axes(make: Make) -> None:
    zoom = {
        "name": "ShiftScaleRotate", "shift_limit": 0.0, "scale_limit": 0.3, "rotate_limit": 0.0,
        "border": "black", "p": 1.0,
    }  # fmt: skip
    changed = make(zoom, mean=(0.5,))(square(300))
    bright = changed[..., 0].astype(float) / 255
    heights, widths = bright[:, :, 16].sum(1), bright[:, 16, :].sum(1)
    assert np.abs(heights - widths).max() < 0.3
    assert 0.7 * 11 - 0.5 < heights.min() < 0.8 * 11
    assert 1.2 * 11 < heights.max() < 1.3 * 11 + 0.5


def test_rotation_keeps_the_centre_and_stays_within_its_limit(make: Make) -> None:
    turn = {
        "name": "ShiftScaleRotate", "shift_limit": 0.0, "scale_limit": 0.0, "rotate_limit": 30.0,
        "border": "black", "p": 1.0,
    }  # fmt: skip
    images = np.zeros((300, 33, 33, 1), np.uint8)
    images[:, 15:18, 4:29] = 255
    angles = []
    for image in make(turn, mean=(0.5,))(images):
        assert centre_and_size(image)[:2] == pytest.approx((16, 16), abs=0.6)
        rows, columns = np.nonzero(image[..., 0] > 128)
        angles.append(np.degrees(np.arctan(np.polyfit(columns - 16, rows - 16, 1)[0])))
    assert np.abs(angles).max() < 32
    assert np.ptp(angles) > 50


@pytest.mark.parametrize(
    ("border", "corner"), [("black", 0), ("mean", 51), ("reflect", 200), ("replicate", 200)]
)
def test_what_comes_into_view_at_the_border(make: Make, border: str, corner: int) -> None:
    images = np.full((40, 32, 32, 1), 200, np.uint8)
    turn = {"name": "ShiftScaleRotate", "rotate_limit": 45.0, "p": 1.0, "border": border}
    assert make(turn, mean=(0.2,))(images).min() in {corner, corner - 1, corner + 1}


def test_equal_seeds_change_equally_and_other_batches_otherwise(make: Make) -> None:
    images = noise(30)
    first, second, other = make(*COURSE, seed=5), make(*COURSE, seed=5), make(*COURSE, seed=6)
    once = first(images)
    assert np.array_equal(once, second(images))
    assert not np.array_equal(once, other(images))
    assert not np.array_equal(once, first(images))


def test_grey_images_keep_their_channel_and_inputs_are_left_alone(make: Make) -> None:
    images = noise(10, size=28, channels=1)
    before = images.copy()
    changed = make(*COURSE, mean=(0.3,))(images)
    assert changed.shape == images.shape
    assert changed.dtype == np.uint8
    assert np.array_equal(images, before)


def test_no_transforms_change_nothing(make: Make) -> None:
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
        {"name": "os.system"},
    ],
)
def test_wrong_arguments_are_refused_not_dropped(make: Make, transform: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(transform)


def test_alternate_flips_are_of_the_batched_engine() -> None:
    with pytest.raises(ValidationError, match="batched"):
        made("albumentations", {"name": "HorizontalFlip", "alternate": True})


def test_alternate_flips_mirror_every_image_in_every_other_epoch() -> None:
    config = AugmentConfig.model_validate({"transforms": [{"name": "HorizontalFlip", "alternate": True}]})
    images, places = tensor_of(noise(6)), torch.tensor([4, 9, 2, 3, 7, 8])
    augment = augmenter(config, MEAN)
    epochs = [augment(images, Draw(seed=epoch, epoch=epoch, indices=places)) for epoch in (1, 2, 3)]
    for index in range(6):
        first, second, third = (epoch[index] for epoch in epochs)
        assert torch.equal(first, third)
        assert torch.equal(first, second.flip(2))
    assert sum(torch.equal(image, changed) for image, changed in zip(images, epochs[0], strict=True)) == 3


def test_random_crop_moves_by_whole_pixels_within_the_padding(make: Make) -> None:
    images = np.zeros((400, 9, 9, 1), np.uint8)
    images[:, 4, 4] = 255
    changed = make({"name": "RandomCrop", "padding": 2, "border": "black"}, mean=(0.5,))(images)
    places = [tuple(np.argwhere(image[..., 0])[0] - 4) for image in changed]
    assert {int(value) for place in places for value in place} == {-2, -1, 0, 1, 2}
    assert len(set(places)) == 25
    assert all((image == 255).sum() == 1 for image in changed)


@pytest.mark.parametrize(
    ("border", "mode"),
    [("reflect", "reflect"), ("replicate", "edge"), ("black", "constant"), ("mean", "constant")],
)
def test_random_crop_shows_what_numpy_pads(make: Make, border: str, mode: Any) -> None:
    images = noise(50, size=8)
    changed = make({"name": "RandomCrop", "padding": 3, "border": border})(images)
    for before, after in zip(images, changed, strict=True):
        arguments = {"constant_values": -1} if mode == "constant" else {}
        padded = np.pad(before.astype(int), ((3, 3), (3, 3), (0, 0)), mode=mode, **arguments)
        colour = np.array([51, 102, 153]) if border == "mean" else np.zeros(3, int)
        padded = np.where(padded < 0, colour, padded)
        crops = [padded[y : y + 8, x : x + 8] for y in range(7) for x in range(7)]
        assert any(np.array_equal(after, crop) for crop in crops)


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


def test_brightness_and_contrast_are_a_line_through_the_levels(make: Make) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(300, axis=0)
    tone = {"name": "RandomBrightnessContrast", "brightness_limit": 0.1, "contrast_limit": 0.2, "p": 1.0}
    factors, added = [], []
    for image in make(tone, mean=(0.5,))(ramp):
        values = image.ravel().astype(float)
        inside = (values > 0) & (values < 255)
        factor, offset = np.polyfit(np.arange(256)[inside], values[inside] + 0.5, 1)
        assert np.abs(factor * np.arange(256)[inside] + offset - values[inside] - 0.5).max() < 0.6
        factors.append(factor)
        added.append(offset)
    assert stats.kstest(factors, stats.uniform(0.8, 0.4).cdf).pvalue > 1e-4
    assert stats.kstest(added, stats.uniform(-25.5, 51).cdf).pvalue > 1e-3


def photograph(size: int = 32) -> Images:
    """Smooth noise: like a photograph, it has neighbours that are alike."""
    rng = np.random.default_rng(3)
    return np.asarray(
        cv2.GaussianBlur(rng.integers(0, 256, (size, size, 3), dtype=np.uint8), (0, 0), 1.5), np.uint8
    )


@pytest.mark.parametrize(
    ("border", "mode"),
    [("reflect", cv2.BORDER_REFLECT_101), ("replicate", cv2.BORDER_REPLICATE), ("mean", cv2.BORDER_CONSTANT)],
)
@pytest.mark.parametrize("size", [(32, 32), (20, 33)])
def test_affine_images_are_those_of_albumentations(border: str, mode: int, size: tuple[int, int]) -> None:
    """The same drawn parameters, through the library's own matrix and OpenCV."""
    image = np.ascontiguousarray(photograph(40)[: size[0], : size[1]])
    config = ShiftScaleRotate(name="ShiftScaleRotate", scale_limit=0.2, shift_limit=0.2, rotate_limit=40.0)
    drawn = config.draw(40, size, torch.Generator().manual_seed(0))
    mean = tuple(255 * value for value in MEAN)
    images = tensor_of(image[None].repeat(40, axis=0))
    changed = affine_images(images, drawn, border, mean).permute(0, 2, 3, 1).numpy()
    for after, angle, scale, right, down in zip(changed, *(values.tolist() for values in drawn), strict=True):
        matrix = oracle.create_affine_transformation_matrix(
            {"x": right, "y": down},
            {"x": 0.0, "y": 0.0},
            {"x": scale, "y": scale},
            np.degrees(angle),
            oracle.center(size),
        )
        expected = oracle.warp_affine(image, matrix, cv2.INTER_LINEAR, mean, mode, size)
        difference = np.abs(after.astype(int) - expected)
        # OpenCV interpolates between places rounded to a 32nd of a pixel.
        assert difference.mean() < 0.5
        assert np.quantile(difference, 0.99) <= 3


@pytest.mark.parametrize("border", ["reflect", "replicate", "mean", "black"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 20, 33), (4, 7, 9), (3, 2, 8), (3, 500, 12)])
def test_affine_images_are_those_of_other_devices(border: str, shape: tuple[int, int, int]) -> None:
    """OpenCV on the CPU, PyTorch elsewhere; 70 images of 500 rows are more rows than OpenCV counts."""
    channels, *size = shape
    photo = np.resize(photograph(48), (*size, channels))
    smooth = np.asarray(cv2.GaussianBlur(photo, (0, 0), 1.5), np.uint8).reshape(*size, channels)
    images = tensor_of(smooth[None].repeat(70, axis=0))
    config = ShiftScaleRotate(name="ShiftScaleRotate", scale_limit=0.4, shift_limit=0.3, rotate_limit=60.0)
    drawn = config.draw(70, (size[0], size[1]), torch.Generator().manual_seed(0))
    mean = tuple(20.0 * (channel + 1) for channel in range(channels))
    ours, others = (
        change(images, drawn, border, mean).to(torch.int16)
        for change in (affine._by_opencv, affine._by_pytorch)
    )
    difference = (ours - others).abs().float()
    assert difference.mean() < 0.5
    assert difference.max() <= 8
    assert (ours != images).any()


def test_affine_parameters_are_distributed_as_those_of_albumentations() -> None:
    config = ShiftScaleRotate(
        name="ShiftScaleRotate", shift_limit=0.1, scale_limit=0.2, rotate_limit=20.0, p=1.0
    )
    pipeline = AlbumentationsEngine((config,), MEAN).pipeline
    (drawer,) = pipeline.transforms
    pipeline.set_random_seed(0)
    count, shape = 4000, (32, 48)
    theirs = [
        drawer.get_params_dependent_on_data({"shape": (*shape, 3)}, {})
        | {"move": drawer._get_translate_params(shape)}
        for _ in range(count)
    ]
    ours = config.draw(count, shape, torch.Generator().manual_seed(0))
    pairs = [
        (np.degrees(ours.angle.numpy()), [each["rotate"] for each in theirs]),
        (ours.scale.numpy(), [each["scale"]["x"] for each in theirs]),
        (ours.right.numpy(), [each["move"]["x"] for each in theirs]),
        (ours.down.numpy(), [each["move"]["y"] for each in theirs]),
    ]
    for mine, other in pairs:
        assert stats.ks_2samp(mine, other).pvalue > 1e-3
    assert set(ours.right.tolist()) == {each["move"]["x"] for each in theirs}
    # Drawn one by one: no parameter tells anything of another.
    correlation = np.corrcoef(np.stack([values.numpy() for values in ours]))
    assert np.abs(correlation - np.eye(4)).max() < 0.08


def test_holes_are_distributed_as_those_of_albumentations() -> None:
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


@pytest.mark.parametrize("seed", range(3))
def test_the_share_of_changed_images_is_p(make: Make, seed: int) -> None:
    images = noise(600, size=8)
    for transform in ({"name": "HorizontalFlip"}, {"name": "Cutout", "size": 3}, {"name": "RandomCrop"}):
        changed = make({**transform, "p": 0.25}, seed=seed)(images)
        share = np.mean([not np.array_equal(a, b) for a, b in zip(images, changed, strict=True)])
        # One crop in 81 and no flip of noise is where it was.
        assert abs(share - 0.25) < 5 * (0.25 * 0.75 / 600) ** 0.5


def test_a_batch_of_which_no_image_is_chosen_stays() -> None:
    images = noise(4)
    transforms: list[dict[str, object]] = [
        {"name": name, "p": 0.0} for name in ("HorizontalFlip", "ShiftScaleRotate", "Cutout")
    ]
    assert np.array_equal(made("batched", *transforms)(images), images)


def test_every_transform_is_known_to_both_engines(make: Make) -> None:
    images = noise(64)
    for transform in TRANSFORMS:
        name = transform.__name__
        changed = make({"name": name, "p": 1.0})(images)
        assert changed.dtype == np.uint8
        assert changed.shape == images.shape
        assert np.mean(changed != images) > 0.05, name


def batch(count: int = 64, size: int = 8) -> tuple[Tensor, Tensor]:
    """Images whose every pixel is their own class, of as many classes as images."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).repeat(1, 3, size, size), torch.eye(count)


def test_mixup_blends_images_and_labels_in_one_share() -> None:
    images, targets = batch()
    mixed, labels = Mixup(name="mixup", alpha=0.4, p=1.0).apply(images, targets, seed=1)
    assert torch.allclose(labels.sum(1), torch.ones(64))
    assert torch.allclose(mixed[:, 0, 0, 0], labels @ torch.arange(64.0), atol=1e-4)
    assert torch.allclose(mixed.amax((1, 2, 3)), mixed.amin((1, 2, 3)))


def test_mixup_shares_follow_the_beta_distribution() -> None:
    images, targets = batch(3000, size=1)
    _, labels = Mixup(name="mixup", alpha=0.7, p=1.0).apply(images, targets, seed=2)
    own = labels.diagonal()
    assert stats.kstest(own.numpy(), stats.beta(0.7, 0.7).cdf).pvalue > 1e-3


def test_cutmix_labels_go_by_the_pasted_area() -> None:
    images, targets = batch()
    mixed, labels = CutMix(name="cutmix", p=1.0).apply(images, targets, seed=3)
    for index, (image, label) in enumerate(zip(mixed, labels, strict=True)):
        assert set(image.unique().tolist()) <= {float(index), *label.nonzero().flatten().tolist()}
        own = (image[0] == index).float().mean()
        assert torch.isclose(label[index], own, atol=1e-6)
        rows, columns = torch.nonzero(image[0] != index, as_tuple=True)
        if len(rows):
            assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)


@pytest.mark.parametrize("mix", [Mixup(name="mixup", p=0.0), CutMix(name="cutmix", p=0.0)])
def test_no_chance_mixes_nothing(mix: Mixup | CutMix) -> None:
    images, targets = batch()
    mixed, labels = mix.apply(images, targets, seed=0)
    assert torch.equal(mixed, images)
    assert torch.equal(labels, targets)
