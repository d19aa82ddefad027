"""Changes of levels: brightness, contrast, posterize, solarize, autocontrast and equalize, on batches.

Images are `(N, C, H, W)` uint8 and every image has its own values. Each change is a table with the new level
of each of the 256. Levels are truncated, as Pillow and albumentations do, so that they agree to the level
wherever nothing else is said. On a CPU `each_image` does the same by OpenCV.
"""

import torch
from torch import Tensor

# The share of red, green and blue in the grey of a pixel, in 32768ths: ITU-R 601, as OpenCV has it.
_RED, _GREEN, _BLUE = 9798, 19235, 3735


def grey_levels(images: Tensor) -> Tensor:
    """Return the grey of colour images as OpenCV computes it: `(N, 1, H, W)` int32, from 0 to 255.

    Images of one channel are grey already.

    Example:
        >>> grey_levels(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)).item()
        76
    """
    if images.shape[1] != 3:
        return images[:, :1].int()
    red, green, blue = images.int()[:, :, None].unbind(1)
    return (red * _RED + green * _GREEN + blue * _BLUE + 16384) >> 15


def blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Return images on the line from degenerate ones, factor 0, through the images, factor 1; it rounds.

    OpenCV's arithmetic. Pillow's `Image.blend` truncates, so its levels are the same or one less.

    Args:
        degenerate: Whole levels that broadcast to the images, of any number type.
        images: `(N, C, H, W)` uint8.
        factor: `(N,)` float32, any value from 0 on.

    Returns:
        `(N, C, H, W)` uint8.
    """
    change = (images - degenerate.float()).mul_(factor.view(-1, 1, 1, 1))
    # Halves to even, as OpenCV rounds.
    return change.add_(degenerate).round_().clamp_(0, 255).to(torch.uint8)


def brighten(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the levels by a factor `(N,)`.

    Example:
        >>> image = torch.tensor([100, 200], dtype=torch.uint8).view(1, 1, 1, 2)
        >>> brighten(image, torch.tensor([1.5])).flatten().tolist()
        [150, 255]
    """
    return _look_up(images, _linear(images, factor, torch.zeros_like(factor)))


def change_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance of each level from the image's mean grey by a factor `(N,)`.

    Albumentations' arithmetic. Pillow rounds the mean to a whole level, so its levels differ by one at most.
    """
    grey = grey_levels(images)
    # The sum of integers is exact in any order.
    mean = grey.sum((1, 2, 3), dtype=torch.int64) / (grey.shape[2] * grey.shape[3])
    return _look_up(images, _linear(images, factor, mean * (1 - factor)))


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits `(N,)`, 0 to 8, of each level.

    Example:
        >>> posterize(torch.tensor([215], dtype=torch.uint8).view(1, 1, 1, 1), torch.tensor([3.0])).item()
        192
    """
    mask = 256 - (1 << (8 - bits.round().int()))
    return images & mask.to(torch.uint8).view(-1, 1, 1, 1)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert levels from a threshold `(N,)` on; 256 changes nothing, 0 inverts all.

    Example:
        >>> image = torch.tensor([100, 200], dtype=torch.uint8).view(1, 1, 1, 2)
        >>> solarize(image, torch.tensor([128.0])).flatten().tolist()
        [100, 55]
    """
    return torch.where(images >= threshold.view(-1, 1, 1, 1), 255 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel so that its darkest level becomes 0 and its lightest 255.

    Levels are exact and rounded down; Pillow's floats may fall short of a whole level, to the one below.

    Example:
        >>> autocontrast(torch.tensor([50, 60, 70], dtype=torch.uint8).view(1, 1, 1, 3)).flatten().tolist()
        [0, 127, 255]
    """
    low, high = (extreme(images, dim=(2, 3)).int().unsqueeze(2) for extreme in (torch.amin, torch.amax))
    levels = _levels(images)
    stretched = ((levels - low).clamp_(0) * 255 // (high - low).clamp(min=1)).clamp_(max=255)
    return _look_up(images, torch.where(high > low, stretched, levels).to(torch.uint8))


def equalize(images: Tensor) -> Tensor:
    """Spread the levels of each channel so that all are about equally frequent, as Pillow does."""
    count, channels = images.shape[:2]
    places = _places(images).flatten().long()
    histogram = torch.zeros(count * channels * 256, dtype=torch.int64, device=images.device)
    histogram = histogram.scatter_add_(0, places, torch.ones_like(places)).view(count, channels, 256)
    total = images.shape[2] * images.shape[3]
    # Pillow leaves out the lightest level that is present.
    step = (total - histogram.gather(2, images.amax((2, 3)).long().unsqueeze(2))) // 255
    before = histogram.cumsum(2) - histogram
    spread = ((step // 2 + before) // step.clamp(min=1)).clamp_(max=255)
    return _look_up(images, torch.where(step > 0, spread, _levels(images)).to(torch.uint8))


def _levels(images: Tensor) -> Tensor:
    return torch.arange(256, device=images.device, dtype=torch.int32)


def _linear(images: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """Return tables `(N, 1, 256)` of `level * factor + offset`."""
    products = _levels(images) * factor.view(-1, 1, 1)
    return products.add_(offset.view(-1, 1, 1)).clamp_(0, 255).to(torch.uint8)


def _look_up(images: Tensor, tables: Tensor) -> Tensor:
    """Return the table's entry of each level; tables are `(N, C or 1, 256)` uint8."""
    places = _places(images)
    flat = tables.expand(-1, images.shape[1], -1).flatten()
    return flat.index_select(0, places.flatten()).view(places.shape).permute(0, 3, 1, 2)


def _places(images: Tensor) -> Tensor:
    """Return the place of each level in flattened tables `(N, C, 256)`: `(N, H, W, C)` int32."""
    count, channels = images.shape[:2]
    start = torch.arange(count * channels, device=images.device, dtype=torch.int32) * 256
    return images.permute(0, 2, 3, 1) + start.view(count, 1, 1, channels)
