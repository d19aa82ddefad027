"""Class-activation maps, occlusion maps and block maps of nets with known answers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from convsmith.errors import RunError
from convsmith.evaluation import explanation
from helpers.evaluation import random_predictions, small_net


@pytest.mark.parametrize("text", ["C8 C6:s2 / G F5", "C8 C6:s2 / G P5", "C8 C6:s2 / P5 G"])
def test_activation_maps_have_the_logits_as_their_mean(text: str) -> None:
    net_plan, net = small_net(text, classifier_norm=True, dropout=0.2)
    images = torch.randn(4, 3, 16, 16)
    maps = explanation.class_activation_maps(net, net_plan, images)
    assert maps is not None
    assert maps.shape == (4, 5, 8, 8)
    with torch.no_grad():
        assert torch.allclose(maps.mean((2, 3)), net(images), atol=1e-5)


@pytest.mark.parametrize("text", ["C8 M2 / F5", "C8 / G F6 F5"])
def test_other_heads_have_no_activation_maps(text: str) -> None:
    net_plan, net = small_net(text)
    assert explanation.class_activation_maps(net, net_plan, torch.randn(1, 3, 16, 16)) is None


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


def test_the_mode_of_the_net_is_restored(tmp_path: Path) -> None:
    net_plan, net = small_net("C4 / G F7")
    net.train()
    predictions = random_predictions(count=40)
    indices = explanation.choose_images(predictions, np.arange(40), 8)
    assert len(indices) == len(set(indices)) == 8
    assert predictions.wrong[indices].sum() == 4
    maps = explanation.explain(net, net_plan, torch.randn(8, 3, 16, 16), predictions, indices)
    assert net.training
    assert not any(module._forward_pre_hooks for module in net.modules())
    explanation.write(maps, tmp_path / "e.npz")
    again = explanation.read(tmp_path / "e.npz", 40)
    assert again.for_predicted is not None
    assert (again.for_predicted == maps.for_predicted).all()
    with pytest.raises(RunError, match="damaged"):
        explanation.read(tmp_path / "e.npz", 3)


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


def test_block_maps_are_the_outputs_of_the_blocks() -> None:
    _, net = small_net("C12 C6:s2 / C4 M2 / G F5", activation="relu")
    image = torch.randn(3, 16, 16)
    maps = explanation.block_maps(net, image)
    assert [tuple(each.shape) for each in maps] == [(6, 8, 8), (4, 4, 4)]
    with torch.no_grad():
        first = net[0](image[None])
        assert torch.equal(maps[0], first[0])
        assert torch.equal(maps[1], net[1](first.clone())[0])
    assert not any(child._forward_hooks for child in net.children())


def test_the_most_variable_channels_keep_their_order() -> None:
    maps = torch.arange(12.0).view(12, 1, 1) * torch.tensor([[[-1.0, 1.0]]]).expand(12, 1, 2)
    assert explanation.most_variable_channels(maps)[:, 0, 1].tolist() == list(range(4, 12))
    assert len(explanation.most_variable_channels(maps[:3])) == 3
