"""Changes of colour: saturation and hue of batches of images `(N, C, H, W)` uint8, each with its own values.

Grey images, of one channel, have neither and stay as they are. On a CPU `each_image` does the same by OpenCV.
"""

import torch
from torch import Tensor

from convsmith.data.augment.levels import blend, grey_levels


def saturate(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance of each pixel from its grey by a factor `(N,)`: 0 gives grey, 1 the image.

    Albumentations' arithmetic, which rounds. Pillow truncates and has other greys, by less than a level, so
    its levels differ by one, seldom by two.

    Example:
        >>> pixel = torch.tensor([200, 100, 0], dtype=torch.uint8).view(1, 3, 1, 1)
        >>> saturate(pixel, torch.tensor([0.0])).flatten().tolist()
        [119, 119, 119]
    """
    return blend(grey_levels(images), images, factor) if images.shape[1] == 3 else images


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a share `(N,)` of the circle, in steps of two degrees.

    The integers of OpenCV: hue from 0 to 179, saturation and value from 0 to 255.

    Example:
        >>> red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
        >>> turn_hue(red, torch.tensor([1 / 3])).flatten().tolist()
        [0, 255, 0]
    """
    if images.shape[1] != 3:
        return images
    red, green, blue = images.int()[:, :, None].unbind(1)
    value = images.amax(1, keepdim=True).int()
    spread = value - images.amin(1, keepdim=True)
    # OpenCV divides by tables of 4096ths.
    per_value, per_spread = (
        torch.tensor([0, *(round(4096 * full / level) for level in range(1, 256))]).int().to(images.device)
        for full in (255, 30)
    )
    saturation = (spread * per_value[value.long()] + 2048) >> 12
    sector = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    hue = (sector * per_spread[spread.long()] + 2048) >> 12
    # Truncated after the turn, as in albumentations.
    hue = torch.remainder(hue + torch.remainder(180 * turn, 180).int().view(-1, 1, 1, 1), 180)
    turned = _levels_of(hue * (6 / 180), saturation / 255, value.float())
    # The way to hues and back loses levels, so no turn is no change.
    return torch.where(turn.view(-1, 1, 1, 1) == 0, images, turned)


def _levels_of(sextant: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return red, green and blue from hue in sextants, saturation from 0 to 1 and value from 0 to 255."""
    channels = []
    for start in (5, 3, 1):
        distance = torch.remainder(sextant + start, 6)
        channels.append(value - value * saturation * torch.minimum(distance, 4 - distance).clamp_(0, 1))
    return (torch.cat(channels, dim=1) + 0.5).to(torch.uint8)
