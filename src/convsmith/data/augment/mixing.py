"""Mixing the images of a batch with each other, and their labels in the same shares."""

import numpy as np
import torch
from torch import Tensor

from convsmith.data.augment.transforms import Mix, Mixup


def mix_batch(mix: Mix, images_NCHW: Tensor, targets_NK: Tensor, seed: int) -> tuple[Tensor, Tensor]:  # noqa: N803
    """Mix each image with another one of the batch, in a share of its own.

    Args:
        mix: What to do, and with which probability.
        images_NCHW: `(N, C, H, W)` float32.
        targets_NK: Class probabilities `(N, num_classes)`.
        seed: Equal seeds mix equally.

    Returns:
        Images and targets of the same shapes.

    Example:
        >>> images, targets = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.eye(2)
        >>> mixed, labels = mix_batch(Mixup(name="mixup", alpha=1.0, p=1.0), images, targets, seed=0)
        >>> bool(torch.allclose(mixed.flatten(), labels[:, 1]))
        True
    """
    random = np.random.default_rng(seed)
    count, device = len(images_NCHW), images_NCHW.device
    partner = torch.from_numpy(random.permutation(count)).to(device, non_blocking=True)
    chosen = random.random(count) < mix.p
    kept = np.where(chosen, random.beta(mix.alpha, mix.alpha, count), 1.0)
    if isinstance(mix, Mixup):
        share = torch.from_numpy(kept).float().to(device, non_blocking=True)
        return _blend(images_NCHW, partner, share), _blend(targets_NK, partner, share)
    pasted = _rectangles(kept, images_NCHW.shape[2:], random).to(device, non_blocking=True)
    share = 1 - pasted.float().mean(dim=(1, 2))
    images_NCHW = torch.where(pasted[:, None], images_NCHW[partner], images_NCHW)  # noqa: N806
    return images_NCHW, _blend(targets_NK, partner, share)


def _blend(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(values[partner], values, share.view(-1, *[1] * (values.dim() - 1)))


def _rectangles(kept: np.ndarray, size: torch.Size, random: np.random.Generator) -> Tensor:
    """Where the partner shows, `(N, H, W)`: rectangles of area 1 - kept, cut off where the image ends."""
    inside = []
    for length in size:
        half = np.sqrt(1 - kept) * length / 2
        centre = random.integers(0, length, len(kept))
        places = np.arange(length)
        low, high = np.round(centre - half)[:, None], np.round(centre + half)[:, None]
        inside.append((places >= low) & (places < high))
    rows, columns = inside
    return torch.from_numpy(rows[:, :, None] & columns[:, None, :])
