"""Wrong assumptions about images and classes are found by the accuracy on training images."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer
from convsmith.evaluation.assumptions import (
    Normalization,
    chance_note,
    input_note,
    is_near_chance,
    order_note,
    usual_normalizations,
)


class Bright(nn.Module):
    """Class 1 for images whose mean is above zero."""

    def forward(self, images: Tensor) -> Tensor:
        values = images.mean((1, 2, 3))
        return torch.stack([-values, values], 1)


class FirstChannel(nn.Module):
    """Class 1 for images whose first channel is brighter than the last."""

    def forward(self, images: Tensor) -> Tensor:
        values = (images[:, 0] - images[:, -1]).mean((1, 2))
        return torch.stack([-values, values], 1)


def split_of(images: NDArray[np.uint8], labels: NDArray[np.bool_]) -> Split:
    return Split(images=images, labels=labels.astype(np.int64))


def images_of(channels: int, count: int = 200) -> NDArray[np.uint8]:
    generator = np.random.default_rng(0)
    levels = generator.integers(0, 256, (count, 1, 1, channels))
    return np.broadcast_to(levels, (count, 4, 4, channels)).astype(np.uint8)


def normalizer(*mean: float, std: float = 0.25) -> Normalizer:
    own = Normalization(title="own", mean=mean, std=(std,) * len(mean))
    return Normalizer.of(own, torch.device("cpu"))


def note_of(net: nn.Module, split: Split, normalize: Normalizer) -> str:
    return input_note(net, split, normalize, torch.float32)


def test_another_normalization_is_found() -> None:
    images = images_of(1)
    split = split_of(images, images.mean((1, 2, 3)) > 127.5)
    right = int((images.mean((1, 2, 3)) > 0.21 * 255).sum())
    note = note_of(Bright(), split, normalizer(0.21))
    # By hand: class 1 is predicted above 0.21 instead of 0.5.
    wrong = right - int(split.labels.sum())
    assert f"of 200 training images {200 - wrong} are classified correctly, and 200 would be" in note
    assert note.endswith("add data.mean=[0.5] data.std=[0.5]")


def test_reversed_channels_are_found() -> None:
    images = images_of(3)
    split = split_of(images, images[:, 0, 0, 2] > images[:, 0, 0, 0])
    note = note_of(FirstChannel(), split, normalizer(0.5, 0.5, 0.5))
    assert "the channels in the order blue, green, red" in note
    assert "x = x.flip(1)" in note


@pytest.mark.parametrize("mean", [(0.5,), (0.5, 0.5, 0.5)])
def test_right_assumptions_are_not_questioned(mean: tuple[float, ...]) -> None:
    images = images_of(len(mean))
    split = split_of(images, images.mean((1, 2, 3)) > 127.5)
    assert note_of(Bright(), split, normalizer(*mean)) == ""


def test_differences_by_chance_are_not_named() -> None:
    images = images_of(1)
    labels = np.random.default_rng(1).integers(0, 2, len(images)).astype(bool)
    assert note_of(Bright(), split_of(images, labels), normalizer(0.3)) == ""


def test_usual_normalizations_have_a_number_for_each_channel() -> None:
    for channels in (1, 3):
        found = usual_normalizations(channels)
        assert all(len(each.mean) == len(each.std) == channels for each in found)
    assert [each.title for each in usual_normalizations(3)][-2:] == [
        "that of ImageNet",
        "one that is common for CIFAR-10",
    ]


def test_another_order_of_the_classes_is_found() -> None:
    names = ["a", "b", "c", "d"]
    labels = np.arange(400) % 4
    logits = torch.eye(4)[torch.from_numpy(labels)]
    assert order_note(logits, labels, names) == ""
    swapped = logits[:, [1, 0, 2, 3]]
    assert order_note(swapped, labels, names) == (
        "warning: with the classes in another order 100.00 % of 400 training images would be correct, not "
        "50.00 %: output 0 is 'b', output 1 is 'a'"
    )


def test_a_net_that_guesses_has_no_better_order() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(1000) % 10
    logits = torch.randn(1000, 10, generator=generator)
    assert order_note(logits, labels, list("0123456789")) == ""
    # An untrained net may answer each class in a way of its own.
    thirds = torch.where(torch.arange(1000) % 30 < 10, torch.from_numpy((labels + 1) % 10), 0)
    assert order_note(torch.eye(10)[thirds], labels, list("0123456789")) == ""
    constant = torch.eye(10)[torch.zeros(1000, dtype=torch.long)]
    assert order_note(constant, labels, list("0123456789")) == ""


def test_near_chance() -> None:
    assert is_near_chance(0.199, 10)
    assert not is_near_chance(0.2, 10)
    assert is_near_chance(0.019, 100)
    assert not is_near_chance(0.62, 2)
    assert chance_note(0.5, 10) == ""
    assert "12.00 % is near chance for 10 classes" in chance_note(0.12, 10)
    assert "data.mean, data.std" in chance_note(0.12, 10)
