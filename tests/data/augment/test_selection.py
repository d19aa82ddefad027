"""Selected images are changed in place, with their own parameters."""

import pytest
import torch
from torch import Tensor

from convsmith.data.augment.selection import change_selected
from helpers.augmentation import noise, tensor_of


@pytest.mark.parametrize("shape", [(3, 8), (1, 8), (3, 5), (1, 7)])
def test_selected_images_are_changed_and_others_kept(shape: tuple[int, int]) -> None:
    channels, size = shape
    before = tensor_of(noise(10, size, channels))
    images = before.clone(memory_format=torch.channels_last)
    selected, values = torch.arange(10) % 3 == 1, torch.arange(10)

    def add(some: Tensor, parameters: tuple[Tensor]) -> Tensor:
        assert len(some) == 3
        return (some + parameters[0].view(-1, 1, 1, 1)).to(torch.uint8)

    change_selected(images, selected, (values,), add)
    expected = torch.where(selected.view(-1, 1, 1, 1), before + values.view(-1, 1, 1, 1), before) % 256
    assert torch.equal(images, expected.to(torch.uint8))


def test_nothing_selected_calls_nothing() -> None:
    images = tensor_of(noise(3)).clone(memory_format=torch.channels_last)
    before = images.clone()
    change_selected(images, torch.zeros(3, dtype=torch.bool), (), lambda some, _: some[5])
    assert torch.equal(images, before)
