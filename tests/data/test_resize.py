"""Resizing batches, against torch.nn.functional.interpolate."""

import pytest
import torch
from torch.nn import functional

from convsmith.data.resize import resize_images
from convsmith.system.rng import new_generator


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (3, 1, 8, 8), (1, 4, 7, 12)])
@pytest.mark.parametrize("size", [1, 5, 7, 20])
def test_resizing_equals_interpolation(shape: tuple[int, ...], size: int) -> None:
    images = torch.randint(0, 256, shape, generator=new_generator(0), dtype=torch.uint8)
    output = resize_images(images.contiguous(memory_format=torch.channels_last), size)
    expected = functional.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    assert torch.allclose(output, expected, atol=1e-4)
    assert output.is_contiguous(memory_format=torch.channels_last)
