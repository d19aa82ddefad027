"""Rotation, scaling, shear and shifts of batches of images, with parameters per image."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from convsmith.data.augment.padding import clamp_coordinates, fill_colour, fill_pixel, reflect_coordinates

# OpenCV counts rows in 16 bits.
_MAX_ROWS = 32_000
# Borders that show the image itself, as a function of coordinates and by PyTorch's name.
_COORDINATES = {"reflect": reflect_coordinates, "replicate": clamp_coordinates}
_PADDING_MODES = {"reflect": "reflection", "replicate": "border"}


class Affine(NamedTuple):
    """Per image: an angle in radians, a scale, and a shift by whole pixels; each `(N,)` float32."""

    angle: Tensor
    scale: Tensor
    right: Tensor
    down: Tensor


def affine_images(images: Tensor, affine: Affine, border: str, mean: tuple[float, ...]) -> Tensor:
    """Rotate, scale and shift images `(N, C, H, W)` uint8 about their centres, with bilinear interpolation.

    On a CPU, OpenCV interpolates: it is faster than PyTorch, and rounds coordinates to 1/32 of a pixel.
    """
    across, down = source_coordinates(affine, (images.shape[2], images.shape[3]))
    by = _by_opencv if images.device.type == "cpu" else _by_pytorch
    return by(images, across, down, border, mean)


def warp_images(images: Tensor, matrix: Tensor, border: str, mean: tuple[float, ...]) -> Tensor:
    """Move each pixel by a matrix, with bilinear interpolation. On a CPU `each_image.warp` does the same.

    Args:
        images: `(N, C, H, W)` uint8.
        matrix: `(N, 2, 3)` float32. It maps the place of an output pixel, column, row and 1, to the column
            and the row of the image; the first pixel is at 0, 0.
        border: What is outside the image.
        mean: The mean colour, levels from 0 to 255.
    """
    height, width = images.shape[2:]
    columns = torch.arange(width, device=images.device, dtype=torch.float32).view(1, 1, -1)
    rows = torch.arange(height, device=images.device, dtype=torch.float32).view(1, -1, 1)
    across, down = (
        (line[:, :1] * columns + line[:, 2:]) + line[:, 1:2] * rows for line in matrix[..., None].unbind(1)
    )
    return _by_pytorch(images, across, down, border, mean)


def _by_opencv(images: Tensor, across: Tensor, down: Tensor, border: str, mean: tuple[float, ...]) -> Tensor:
    """Stack images vertically and remap many at once, since OpenCV remaps single images."""
    import cv2

    height, width = images.shape[2:]
    images_NHWC = images.permute(0, 2, 3, 1).contiguous()  # noqa: N806 - shape suffix
    if border in _COORDINATES:
        place = _COORDINATES[border]
        across, down = place(across, width), place(down, height)
    else:
        # A frame of one pixel: the image fades into the colour, and everything beyond is the colour.
        images_NHWC = _add_frame(images_NHWC, fill_pixel(images, border, mean))  # noqa: N806
        across, down = clamp_coordinates(across + 1, width + 2), clamp_coordinates(down + 1, height + 2)
    output = torch.empty_like(images_NHWC[:, :height, :width])
    rows = images_NHWC.shape[1]
    chunk = max(1, _MAX_ROWS // rows)
    down = down + (torch.arange(len(images)) % chunk).view(-1, 1, 1) * rows
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        remapped = cv2.remap(
            images_NHWC[part].flatten(0, 1).numpy(),
            across[part].flatten(0, 1).numpy(),
            down[part].flatten(0, 1).numpy(),
            cv2.INTER_LINEAR,
        )
        output[part] = torch.from_numpy(remapped).view(-1, height, width, images.shape[1])
    return output.permute(0, 3, 1, 2)


def _by_pytorch(images: Tensor, across: Tensor, down: Tensor, border: str, mean: tuple[float, ...]) -> Tensor:
    height, width = images.shape[2:]
    # The centres of the outermost pixels are at -1 and 1.
    grid = torch.stack((across * (2 / max(width - 1, 1)) - 1, down * (2 / max(height - 1, 1)) - 1), dim=3)
    if border in _COORDINATES:
        # Conversion to uint8 truncates, so adding one half rounds.
        values = functional.grid_sample(
            images + 0.5, grid, padding_mode=_PADDING_MODES[border], align_corners=True
        )
        return values.to(torch.uint8)
    fill = fill_colour(images, border, mean)
    values = functional.grid_sample(images - fill, grid, align_corners=True)
    return (values + (fill + 0.5)).to(torch.uint8)


def source_coordinates(affine: Affine, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return where each output pixel comes from, in pixels: the columns and the rows, each `(N, H, W)`."""
    device = affine.angle.device
    turn = torch.polar(1 / affine.scale, affine.angle)[:, None]
    down, across = (torch.linspace(1 - length, length - 1, length, device=device) / 2 for length in size)
    # Complex multiplication rotates and scales; the coordinate of a pixel is the sum of a term of its
    # column and a term of its row.
    columns = turn * (across - affine.right[:, None]) + complex((size[1] - 1) / 2, (size[0] - 1) / 2)
    rows = turn * torch.complex(torch.zeros((), device=device), down - affine.down[:, None])
    return (
        columns.real[:, None, :] + rows.real[:, :, None],
        columns.imag[:, None, :] + rows.imag[:, :, None],
    )


def _add_frame(images_NHWC: Tensor, pixel: Tensor) -> Tensor:  # noqa: N803 - shape suffix
    """Return images with a frame of one pixel in a colour."""
    count, height, width, channels = images_NHWC.shape
    framed = pixel.expand(count, height + 2, width + 2, channels).contiguous()
    framed[:, 1:-1, 1:-1] = images_NHWC
    return framed
