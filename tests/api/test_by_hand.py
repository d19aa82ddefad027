"""The net of a recipe that is written by hand: the same weights as the recipe's, bit for bit."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import convsmith as cs
from convsmith.modules.architecture import architecture_of
from convsmith.modules.config import ModuleConfig
from convsmith.system.rng import new_generator
from helpers.paths import HELPERS

SHAPE = (3, 32, 32)
RECIPE, MODULE = "cifar10-classic", f"{HELPERS / 'classic.py'}:Net"


def sorted_tensors(tensors: dict[str, torch.Tensor]) -> list[bytes]:
    return sorted(tensor.numpy().tobytes() for tensor in tensors.values())


def test_the_net_by_hand_is_that_of_the_recipe() -> None:
    architectures = [
        architecture_of(config) for config in (cs.load_recipe(RECIPE).model, ModuleConfig(module=MODULE))
    ]
    assert [each.analyze(SHAPE).parameters for each in architectures] == [174_352, 174_352]
    nets: list[nn.Module] = [each.build(SHAPE, new_generator(0)) for each in architectures]
    assert sorted_tensors(nets[0].state_dict()) == sorted_tensors(nets[1].state_dict())
    images = torch.randn(4, *SHAPE, generator=new_generator(1))
    for net in nets:
        net.eval()
    assert torch.equal(*(net(images) for net in nets))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.usefixtures("real_data", "without_report")
def test_one_epoch_gives_the_weights_of_the_recipe(tmp_path: Path) -> None:
    """Minutes: one epoch each on CIFAR-10, augmented, in parts of a batch, with dropout."""
    found = []
    for name, overrides in (("notation", []), ("module", [f"model.module={MODULE}"])):
        recipe = cs.load_recipe(RECIPE, f"name={name}", "train.stop_after=1", *overrides)
        run = cs.train(recipe, runs=tmp_path).folder
        found.append(sorted_tensors(safetensors.torch.load_file(run / "model.safetensors")))
    assert found[0] == found[1]
