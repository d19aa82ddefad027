"""Occlusion maps of nets with known answers, and the explanations of a run."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convsmith.errors import RunError
from convsmith.evaluation import explanation
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import analyze
from convsmith.tracing.trace import trace
from helpers.evaluation import random_predictions, small_net
from helpers.hand_written import AFFINE, ConvBlocks, Ended, seeded


def test_occlusion_finds_the_pixels_that_count() -> None:
    """The logit of a net that sums the upper left corner drops there and nowhere else."""
    weight = torch.zeros(1, 3, 16, 16)
    weight[..., :4, :4] = 1
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 1, bias=False))
    torch.nn.init.zeros_(net[1].get_parameter("weight"))
    net[1].get_parameter("weight").data[0] = weight.flatten()
    result = explanation.occlusion_map(net, torch.ones(3, 16, 16), 0)
    assert result.shape == (7, 7)
    assert result[0, 0] == 48
    assert result[0, 1] == 24
    assert result[1, 1] == 12
    assert result[2:].abs().max() == result[:, 2:].abs().max() == 0


@pytest.mark.parametrize("size", [(16, 16), (14, 14), (8, 40), (4, 70)])
def test_occlusion_in_batches_is_that_of_one_batch(size: tuple[int, int]) -> None:
    """The definition: the logits of all covered images at once."""
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    patch = max(min(size) // 4, 1)
    step = max(patch // 2, 1)
    counts = [len(range(0, side - patch + 1, step)) for side in size]
    covered = image.repeat(*counts, 1, 1, 1)
    for row in range(counts[0]):
        for column in range(counts[1]):
            top, left = row * step, column * step
            covered[row, column, :, top : top + patch, left : left + patch] = 0
    with torch.no_grad():
        expected = net(image[None])[0, 3] - net(covered.flatten(0, 1))[:, 3].view(*counts)
    found = explanation.occlusion_map(net, image, 3)
    if math.prod(counts) <= 256:
        assert torch.equal(found, expected)
    assert torch.allclose(found, expected, atol=1e-6)


def explained(net: nn.Module, analysis: Analysis) -> explanation.Explanation:
    predictions = random_predictions(count=40)
    indices = explanation.choose_images(predictions, np.arange(40), 8)
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return explanation.explain(net, analysis, images, predictions, indices)


def test_the_mode_of_the_net_is_restored(tmp_path: Path) -> None:
    net_plan, net = small_net("C4 / G F7")
    net.train()
    predictions = random_predictions(count=40)
    indices = explanation.choose_images(predictions, np.arange(40), 8)
    assert len(indices) == len(set(indices)) == 8
    assert predictions.wrong[indices].sum() == 4
    maps = explained(net, analyze(net_plan))
    assert net.training
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in net.modules())
    assert maps.names == ()
    explanation.write(maps, tmp_path / "e.npz")
    again = explanation.read(tmp_path / "e.npz", 40)
    assert again.for_predicted is not None
    assert (again.for_predicted == maps.for_predicted).all()
    with pytest.raises(RunError, match="damaged"):
        explanation.read(tmp_path / "e.npz", 3)


@pytest.mark.parametrize("create", AFFINE, ids=lambda each: each.__name__)
def test_modules_are_explained_by_logits(create: Callable[[], nn.Module], tmp_path: Path) -> None:
    net = seeded(create)
    maps = explained(net, trace(net, (3, 16, 16)))
    assert maps.for_predicted is not None
    assert maps.occlusion.shape == (8, 7, 7)
    explanation.write(maps, tmp_path / "e.npz")
    again = explanation.read(tmp_path / "e.npz", 40)
    assert again.names == maps.names
    assert [*map(np.shape, again.blocks)] == [*map(np.shape, maps.blocks)]


def test_equal_logits_have_equal_explanations() -> None:
    """Whether a net returns logits, log-probabilities or probabilities."""
    ends: list[Callable[[Tensor], Tensor]] = [lambda x: x, lambda x: x.log_softmax(1), lambda x: x.softmax(1)]
    nets = [seeded(lambda end=end: Ended(end)) for end in ends]  # type: ignore[misc]
    maps = [explained(net, trace(net, (3, 16, 16))) for net in nets]
    for each in maps[1:]:
        assert (each.occlusion == maps[0].occlusion).all()
        assert each.for_label is not None
        assert (each.for_label == maps[0].for_label).all()


def test_names_that_do_not_fit_the_blocks_are_damage(tmp_path: Path) -> None:
    net = seeded(ConvBlocks)
    maps = explained(net, trace(net, (3, 16, 16)))
    assert maps.names[0] == "convblock1"
    explanation.write(replace(maps, names=("a",)), tmp_path / "e.npz")
    with pytest.raises(RunError, match="damaged"):
        explanation.read(tmp_path / "e.npz", 40)


def test_chosen_images_are_of_as_many_classes_as_possible() -> None:
    predictions = random_predictions(count=300, classes=30)
    order = np.random.default_rng(1).permutation(300)
    chosen = explanation.choose_images(predictions, order, 40)
    right = [index for index in chosen if not predictions.wrong[index]]
    # By hand: the first correct image of each class, then the rest, in the order.
    correct = [index for index in order if predictions.predicted[index] == predictions.labels[index]]
    labels = predictions.labels[correct].tolist()
    first = [index for place, index in enumerate(correct) if labels[place] not in labels[:place]]
    assert right == [*first, *(index for index in correct if index not in first)][: len(right)]
    assert len(chosen) == len(set(chosen)) == 40


def test_the_most_variable_channels_keep_their_order() -> None:
    maps = torch.arange(12.0).view(12, 1, 1) * torch.tensor([[[-1.0, 1.0]]]).expand(12, 1, 2)
    assert explanation.most_variable_channels(maps)[:, 0, 1].tolist() == list(range(4, 12))
    assert len(explanation.most_variable_channels(maps[:3])) == 3
