"""Transforms applied to whole batches on the device that trains, with parameters of each image's own.

Each transform is a pair: `draw_...` draws the parameters of every image, `..._images` applies given ones, so
that the two can be held against albumentations apart. Images are `(N, C, H, W)` uint8 throughout; random
numbers are drawn on the CPU, the same for every device.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convsmith.data.augment.affine import affine_images, draw_affine
from convsmith.data.augment.engines import Draw
from convsmith.data.augment.padding import clamped, fill_pixel, folded, within
from convsmith.data.augment.transforms import (
    AugmentConfig,
    CoarseDropout,
    Cutout,
    HorizontalFlip,
    RandomBrightnessContrast,
    RandomCrop,
    ShiftScaleRotate,
    Transform,
)


class Batched:
    """Applies a recipe's transforms batch by batch.

    Args:
        config: The `[augment]` table.
        mean: The data set's mean per channel, 0..1.
    """

    def __init__(self, config: AugmentConfig, mean: tuple[float, ...]) -> None:
        self.transforms = config.transforms
        self.mean = tuple(255 * value for value in mean)

    def __call__(self, images_NCHW: Tensor, draw: Draw) -> Tensor:  # noqa: N803 - shape suffix
        generator = draw.generator()
        # With the channels last, an image is copied and picked in one piece.
        changed = images_NCHW.clone(memory_format=torch.channels_last)
        for transform in self.transforms:
            chosen = _chosen(transform, draw, generator)
            change = _CHANGES[type(transform)](transform, changed, self.mean, generator)
            _change_some(changed, chosen, change)
        return changed


# Takes the images and the places in the batch that they come from, so that it finds their parameters.
Change = Callable[[Tensor, Tensor], Tensor]


def _chosen(transform: Transform, draw: Draw, generator: torch.Generator) -> Tensor:
    """Which images `(N,)` are changed."""
    if isinstance(transform, HorizontalFlip) and transform.alternate:
        # The training set's order follows from hashes of the images, so odd and even are halves by chance.
        return (draw.indices + draw.epoch) % 2 == 1
    return torch.rand(len(draw.indices), generator=generator) < transform.p


def _change_some(images: Tensor, chosen: Tensor, change: Change) -> None:
    """Change the chosen images in place."""
    if images.device.type != "cpu":
        # Picking images out would wait for the device to say how many they are.
        everywhere = torch.arange(len(images), device=images.device)
        chosen = chosen.to(images.device, non_blocking=True).view(-1, 1, 1, 1)
        images.copy_(torch.where(chosen, change(images, everywhere), images))
        return
    places = chosen.nonzero().squeeze(1)
    if len(places):
        images_NHWC = images.permute(0, 2, 3, 1)  # noqa: N806 - shape suffix
        some = images_NHWC.index_select(0, places).permute(0, 3, 1, 2)
        changed = change(some, places).permute(0, 2, 3, 1).contiguous()
        _words(images_NHWC).index_copy_(0, places, _words(changed))


def _words(images_NHWC: Tensor) -> Tensor:  # noqa: N803 - shape suffix
    """The same memory as `(N, numbers)`, eight bytes a number where they fit: fewer are copied faster."""
    flat = images_NHWC.flatten(1)
    return flat.view(torch.int64) if flat.shape[1] % 8 == 0 else flat


def _flip(transform: HorizontalFlip, images: Tensor, mean: Any, generator: torch.Generator) -> Change:
    del transform, images, mean, generator
    return lambda some, _: some.flip(3)


def _shift_scale_rotate(
    transform: ShiftScaleRotate, images: Tensor, mean: tuple[float, ...], generator: torch.Generator
) -> Change:
    size = (images.shape[2], images.shape[3])
    affine = draw_affine(transform, len(images), size, generator)
    return _per_image(images, affine, lambda some, drawn: affine_images(some, drawn, transform.border, mean))


class Crop(NamedTuple):
    """Per image: how far its content moves right and down, in whole pixels `(N,)`."""

    right: Tensor
    down: Tensor


def draw_crop(transform: RandomCrop, count: int, generator: torch.Generator) -> Crop:
    limit = transform.padding
    return Crop(*torch.randint(-limit, limit + 1, (2, count), generator=generator))


def crop_images(images: Tensor, crop: Crop, border: str, mean: tuple[float, ...]) -> Tensor:
    """Move images by whole pixels, and fill what comes into view."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - crop.down.view(-1, 1)
    columns = torch.arange(width, device=images.device) - crop.right.view(-1, 1)
    inside = within(rows, height)[:, :, None] & within(columns, width)[:, None, :]
    fold = folded if border == "reflect" else clamped
    rows, columns = fold(rows, height), fold(columns, width)
    number = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    # With the channels last, so that a pixel is picked in one piece.
    picked = images.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if border in {"reflect", "replicate"}:
        return picked
    return torch.where(inside[:, None], picked, fill_pixel(images, border, mean).view(-1, 1, 1))


def _random_crop(
    transform: RandomCrop, images: Tensor, mean: tuple[float, ...], generator: torch.Generator
) -> Change:
    crop = draw_crop(transform, len(images), generator)
    return _per_image(images, crop, lambda some, drawn: crop_images(some, drawn, transform.border, mean))


class Holes(NamedTuple):
    """Rectangles `(N, holes)` in pixels, the ends not included; an empty one covers nothing."""

    top: Tensor
    left: Tensor
    bottom: Tensor
    right: Tensor


def draw_holes(
    transform: CoarseDropout, count: int, size: tuple[int, int], generator: torch.Generator
) -> Holes:
    """Holes of `count` images of a size `(H, W)`, distributed as albumentations' are: inside the image."""
    low, high = transform.num_holes_range
    wanted = torch.randint(low, high + 1, (count, 1), generator=generator)
    there = torch.arange(high) < wanted
    spans = []
    for (shortest, longest), length in zip(
        (transform.hole_height_range, transform.hole_width_range), size, strict=True
    ):
        span = torch.randint(shortest, min(longest, length) + 1, (count, high), generator=generator)
        # Whole numbers from 0 to length - span, evenly: there is a last place for each span of its own.
        start = (
            torch.rand(count, high, generator=generator, dtype=torch.float64) * (length - span + 1)
        ).long()
        spans.append((start, torch.where(there, start + span, start)))
    (top, bottom), (left, right) = spans
    return Holes(top=top, left=left, bottom=bottom, right=right)


def draw_cutout(transform: Cutout, count: int, size: tuple[int, int], generator: torch.Generator) -> Holes:
    """One square an image, its centre drawn evenly from the pixels; the edge may cut it."""
    top, left = (
        torch.randint(length, (count, 1), generator=generator) - transform.size // 2 for length in size
    )
    return Holes(top=top, left=left, bottom=top + transform.size, right=left + transform.size)


def cover_images(images: Tensor, holes: Holes, fill: str, mean: tuple[float, ...]) -> Tensor:
    """Paint the holes in the mean colour, or black."""
    channels, height, width = images.shape[1:]
    rows = torch.arange(height, device=images.device)
    # Rows of pixels with their channels side by side, as they lie in memory.
    columns = torch.arange(width, device=images.device).repeat_interleave(channels)
    down = _all_bits((rows >= holes.top[..., None]) & (rows < holes.bottom[..., None]))
    across = _all_bits((columns >= holes.left[..., None]) & (columns < holes.right[..., None]))
    covered = down[:, 0, :, None] & across[:, 0, None, :]
    for hole in range(1, down.shape[1]):
        covered |= down[:, hole, :, None] & across[:, hole, None, :]
    colour = fill_pixel(images, fill, mean).repeat(width)
    lines = images.permute(0, 2, 3, 1).reshape(len(images), height, -1)
    # Chooses as torch.where would; PyTorch's bit operations on bytes are an order of magnitude faster.
    painted = ((lines ^ colour) & covered) ^ lines
    return painted.view(-1, height, width, channels).permute(0, 3, 1, 2)


def _all_bits(chosen: Tensor) -> Tensor:
    """255 where true, else 0, as uint8."""
    return chosen.to(torch.uint8).mul_(255)


def _coarse_dropout(
    transform: CoarseDropout, images: Tensor, mean: tuple[float, ...], generator: torch.Generator
) -> Change:
    holes = draw_holes(transform, len(images), (images.shape[2], images.shape[3]), generator)
    return _per_image(images, holes, lambda some, drawn: cover_images(some, drawn, transform.fill, mean))


def _cutout(transform: Cutout, images: Tensor, mean: tuple[float, ...], generator: torch.Generator) -> Change:
    holes = draw_cutout(transform, len(images), (images.shape[2], images.shape[3]), generator)
    return _per_image(images, holes, lambda some, drawn: cover_images(some, drawn, transform.fill, mean))


class Tone(NamedTuple):
    """Per image `(N,)`: what each pixel is multiplied by, and what is added, in levels of 255."""

    factor: Tensor
    added: Tensor


def draw_tone(transform: RandomBrightnessContrast, count: int, generator: torch.Generator) -> Tone:
    contrast, brightness = torch.rand(2, count, generator=generator) * 2 - 1
    return Tone(
        factor=1 + contrast * transform.contrast_limit, added=255 * brightness * transform.brightness_limit
    )


def tone_images(images: Tensor, tone: Tone) -> Tensor:
    factor, added = (values.view(-1, 1, 1, 1) for values in tone)
    return (images * factor + added).clamp_(0, 255).to(torch.uint8)


def _brightness_contrast(
    transform: RandomBrightnessContrast, images: Tensor, mean: Any, generator: torch.Generator
) -> Change:
    del mean
    return _per_image(images, draw_tone(transform, len(images), generator), tone_images)


_CHANGES: dict[type[Any], Callable[[Any, Tensor, tuple[float, ...], torch.Generator], Change]] = {
    HorizontalFlip: _flip,
    ShiftScaleRotate: _shift_scale_rotate,
    CoarseDropout: _coarse_dropout,
    RandomCrop: _random_crop,
    Cutout: _cutout,
    RandomBrightnessContrast: _brightness_contrast,
}


def _per_image(images: Tensor, parameters: tuple[Tensor, ...], apply: Callable[..., Tensor]) -> Change:
    """A change that gives `apply` the images and the parameters that were drawn for them."""
    there = [values.to(images.device, non_blocking=True) for values in parameters]

    def change(some: Tensor, places: Tensor) -> Tensor:
        return apply(some, type(parameters)(*(values[places] for values in there)))

    return change
