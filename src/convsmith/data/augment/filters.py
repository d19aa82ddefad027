"""Filters of batches of images `(N, C, H, W)` uint8: blur and sharpness, with values per image.

On a CPU `each_image` does the same by OpenCV.
"""

import torch
from torch import Tensor

from convsmith.data.augment.levels import blend
from convsmith.data.augment.padding import reflect_coordinates


def gaussian_kernels(sigma: Tensor, radius: int) -> Tensor:
    """Return normal densities at whole pixels, cut at 3.5 sigma and normalised, one kernel per image.

    A kernel has `2 * int(3.5 * sigma) + 1` values other than 0, as in albumentations.

    Args:
        sigma: `(N,)` float64 on the CPU, in pixels.
        radius: The largest distance from the centre; `int(3.5 * max(sigma))` cuts none.

    Returns:
        `(N, 2 * radius + 1)` float32; each kernel has the sum 1.

    Example:
        >>> gaussian_kernels(torch.tensor([0.5], dtype=torch.float64), radius=2)
        tensor([[0.0000, 0.1065, 0.7870, 0.1065, 0.0000]])
    """
    distance = torch.arange(-radius, radius + 1, dtype=torch.float64)
    sigma = sigma.view(-1, 1)
    density = torch.exp(-0.5 * (distance / sigma) ** 2)
    density = torch.where(distance.abs() <= (3.5 * sigma).floor(), density, 0.0)
    return (density / density.sum(1, keepdim=True)).float()


def box_kernels(sides: Tensor, largest: int) -> Tensor:
    """Return equal weights of odd sides `(N,)`, one kernel per image: `(N, largest)` float32.

    Example:
        >>> box_kernels(torch.tensor([1, 3]), largest=3).mul(3).tolist()
        [[0.0, 3.0, 0.0], [1.0, 1.0, 1.0]]
    """
    distance = torch.arange(-(largest // 2), largest // 2 + 1, device=sides.device)
    return (distance.abs() <= sides.view(-1, 1) // 2) / sides.view(-1, 1)


def blur_images(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve rows and columns with the kernel of each image; the border reflects the image.

    Args:
        images: `(N, C, H, W)` uint8.
        kernels: `(N, K)` float32 with an odd K.

    Example:
        >>> image = torch.tensor([0, 0, 90, 0, 0], dtype=torch.uint8).view(1, 1, 1, 5)
        >>> blur_images(image, torch.full((1, 3), 1 / 3)).flatten().tolist()
        [0, 30, 30, 30, 0]
    """
    values = images.float()
    offsets = range(-(kernels.shape[1] // 2), kernels.shape[1] // 2 + 1)
    for axis in (2, 3):
        places = torch.arange(images.shape[axis], device=images.device)
        # Sums of shifted images: a result does not depend on the other images of the batch.
        blurred = torch.zeros_like(values)
        for weight, offset in zip(kernels.unbind(1), offsets, strict=True):
            shifted = values.index_select(axis, reflect_coordinates(places + offset, images.shape[axis]))
            blurred += weight.view(-1, 1, 1, 1) * shifted
        values = blurred
    return (values + 0.5).clamp_(0, 255).to(torch.uint8)


def sharpen(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance of each pixel from the smoothed image by a factor `(N,)`.

    Factor 0 gives the smoothed image, 1 the image, 2 a sharper one. Pixels at the edge stay as they are, as
    in Pillow's `ImageEnhance.Sharpness`, which truncates levels that are rounded here.
    """
    if min(images.shape[2:]) < 3:
        return images
    values = images.float()
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = images.clone()
    # Pillow's SMOOTH: the centre counts five times, its neighbours once, of 13.
    smooth[:, :, 1:-1, 1:-1] = ((box + 4 * values[:, :, 1:-1, 1:-1]) / 13 + 0.5).to(torch.uint8)
    return blend(smooth, images, factor)
