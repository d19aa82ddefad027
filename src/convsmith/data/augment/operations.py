"""The fourteen operations of RandAugment and TrivialAugment, on batches.

Each image has its own operation and value. The operations are those of AutoAugment (Cubuk et al., arXiv
1805.09501) without inversion and sample pairing.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsmith.data.augment import colour, each_image, filters, levels
from convsmith.data.augment.affine import warp_images
from convsmith.data.augment.selection import change_selected
from convsmith.data.augment.strengths import LEVELS, OPERATIONS, Strengths

# What moves pixels; the rest changes levels.
_MOVES = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
# On batches, and on single images on a CPU.
_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AutoContrast": lambda images, _: levels.autocontrast(images),
    "Equalize": lambda images, _: levels.equalize(images),
    "Solarize": levels.solarize,
    "Color": colour.saturate,
    "Posterize": levels.posterize,
    "Contrast": levels.change_contrast,
    "Brightness": levels.brighten,
    "Sharpness": filters.sharpen,
}
_OF_IMAGES: dict[str, Callable[[each_image.Pixels, float], None]] = {
    "AutoContrast": lambda image, _: each_image.autocontrast(image),
    "Equalize": lambda image, _: each_image.equalize(image),
    "Solarize": each_image.solarize,
    "Color": each_image.saturate,
    "Posterize": each_image.posterize,
    "Contrast": each_image.change_contrast,
    "Brightness": each_image.brighten,
    "Sharpness": each_image.sharpen,
}
_NUMBERS = {name: number for number, name in enumerate(OPERATIONS)}


class Operations(NamedTuple):
    """The operations of each image, in turn.

    Attributes:
        operation: `(N, n)` int64, positions in `OPERATIONS`.
        value: `(N, n)` float32, in the unit of the operation: degrees anticlockwise, shift in pixels, shear,
            factor, bits or threshold; 0 where there is none.
    """

    operation: Tensor
    value: Tensor


def draw_operations(
    shape: tuple[int, int],
    strengths: Strengths,
    magnitude: int | None,
    size: tuple[int, int],
    generator: torch.Generator,
) -> Operations:
    """Draw operations and directions uniformly, and magnitudes too unless there is a fixed one.

    Args:
        shape: `(N, n)`, the number of images and of operations in turn.
        strengths: The values at the largest magnitude.
        magnitude: From 0 to 30; None draws one for each operation.
        size: Height and width of the images.
        generator: A generator on the CPU.
    """
    operation = torch.randint(len(OPERATIONS), shape, generator=generator)
    direction = 1 - 2 * torch.randint(2, shape, generator=generator)
    magnitudes = (
        torch.randint(LEVELS, shape, generator=generator)
        if magnitude is None
        else torch.full(shape, magnitude)
    )
    return Operations(operation, operation_values(operation, magnitudes, direction, strengths, size))


def operation_values(
    operation: Tensor, magnitude: Tensor, direction: Tensor, strengths: Strengths, size: tuple[int, int]
) -> Tensor:
    """Return the values of operations at magnitudes from 0 to 30, each `(N, n)`.

    Magnitude 0 is the value that changes nothing. `direction` is 1 or -1; it has no meaning for posterize and
    solarize, whose values go one way.

    Example:
        >>> from convsmith.data.augment.strengths import AUTO_AUGMENT
        >>> operation = torch.tensor([OPERATIONS.index("Rotate"), OPERATIONS.index("Posterize")])
        >>> ones = torch.ones(2, dtype=torch.int64)
        >>> operation_values(operation, 15 * ones, -ones, AUTO_AUGMENT, (32, 32)).tolist()
        [-15.0, 6.0]
    """
    height, width = size
    # For each operation: the value at magnitude 0, the change up to the largest, whether it has directions.
    lines = {
        "Rotate": (0, strengths.rotate, True),
        "Solarize": (256, -256, False),
        "Posterize": (8, -strengths.bits, False),
        **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), (1, strengths.factor, True)),
        **dict.fromkeys(("ShearX", "ShearY"), (0, strengths.shear, True)),
        "TranslateX": (0, strengths.shift(width), True),
        "TranslateY": (0, strengths.shift(height), True),
    }
    table = torch.tensor([lines.get(name, (0, 0, False)) for name in OPERATIONS], dtype=torch.float64)
    start, change, both = table[operation].unbind(-1)
    signed = torch.where(both > 0, change * direction, change)
    value = start + signed * (magnitude / (LEVELS - 1))
    # Shifts are whole pixels; bits and thresholds are whole too.
    shifts = (operation == _NUMBERS["TranslateX"]) | (operation == _NUMBERS["TranslateY"])
    value = torch.where(shifts, value.trunc(), value)
    whole = (operation == _NUMBERS["Posterize"]) | (operation == _NUMBERS["Solarize"])
    return torch.where(whole, value.round(), value).float()


def apply_operations(images: Tensor, operations: Operations, border: str, mean: tuple[float, ...]) -> Tensor:
    """Apply the operations of each image in turn.

    On a CPU, OpenCV changes image by image. Other devices compute each operation for the batch, and its
    images take the result; levels differ by one or two, and by more beside edges that are moved.

    Args:
        images: `(N, C, H, W)` uint8.
        operations: Those of each image, on the device of the images.
        border: What is outside images that are moved.
        mean: The mean colour, levels from 0 to 255.

    Returns:
        A new tensor of the same shape.
    """
    by = _by_opencv if images.device.type == "cpu" else _by_pytorch
    return by(images, operations, border, mean)


def _by_opencv(images: Tensor, operations: Operations, border: str, mean: tuple[float, ...]) -> Tensor:
    height, width = images.shape[2:]
    turns = zip(operations.operation.unbind(1), operations.value.unbind(1), strict=True)
    matrices = torch.stack([_matrices(*turn, height, width) for turn in turns], dim=1)

    def change(
        image: each_image.Pixels, numbers: list[int], values: list[float], moves: NDArray[np.float32]
    ) -> None:
        for number, value, matrix in zip(numbers, values, moves, strict=True):
            name = OPERATIONS[number]
            if name in _MOVES:
                each_image.warp(image, matrix, border, mean)
            elif name in _OF_IMAGES:
                _OF_IMAGES[name](image, value)

    return each_image.each_image(
        images, change, operations.operation.tolist(), operations.value.tolist(), matrices.numpy()
    )


def _by_pytorch(images: Tensor, operations: Operations, border: str, mean: tuple[float, ...]) -> Tensor:
    images = images.clone(memory_format=torch.channels_last)
    height, width = images.shape[2:]
    for operation, value in zip(operations.operation.unbind(1), operations.value.unbind(1), strict=True):
        for name, change in _CHANGES.items():
            change_selected(
                images,
                operation == _NUMBERS[name],
                (value,),
                lambda some, own, change=change: change(some, own[0]),  # type: ignore[misc]
            )
        change_selected(
            images,
            torch.stack([operation == _NUMBERS[name] for name in _MOVES]).any(0),
            (_matrices(operation, value, height, width),),
            lambda some, own: warp_images(some, own[0], border, mean),
        )
    return images


def _matrices(operation: Tensor, value: Tensor, height: int, width: int) -> Tensor:
    """Return, `(N, 2, 3)`, where each pixel of a moved image comes from; the identity for other operations.

    As in Pillow: rotations are about the centre, shears about the corner at the top left.
    """

    def only(name: str) -> Tensor:
        return torch.where(operation == _NUMBERS[name], value, 0.0)

    angle = torch.deg2rad(only("Rotate"))
    cos, sin = torch.cos(angle), torch.sin(angle)
    across, down = only("ShearX"), only("ShearY")
    middle, centre = (width - 1) / 2, (height - 1) / 2
    # The corner of the first pixel is half a pixel before its centre.
    right = middle - cos * middle + sin * centre + across / 2 + only("TranslateX")
    lower = centre - sin * middle - cos * centre + down / 2 + only("TranslateY")
    first = torch.stack((cos, across - sin, right), dim=1)
    second = torch.stack((sin + down, cos, lower), dim=1)
    return torch.stack((first, second), dim=1)
