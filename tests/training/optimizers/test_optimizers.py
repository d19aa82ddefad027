"""Optimizers and their parameter groups."""

import pytest
import torch
from torch import nn

from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.training.optimizers import Optimizer
from convsmith.training.optimizers.adam import Adam, AdamW
from convsmith.training.optimizers.muon import Muon
from convsmith.training.optimizers.rmsprop import RMSprop
from convsmith.training.optimizers.sgd import SGD


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SGD(nesterov=True, weight_decay=0.1), torch.optim.SGD),
        (RMSprop(), torch.optim.RMSprop),
        (Adam(lr=0.1), torch.optim.Adam),
        (AdamW(beta2=0.9), torch.optim.AdamW),
    ],
)
def test_optimizers_are_those_of_pytorch(config: Optimizer, expected: type[torch.optim.Optimizer]) -> None:
    (optimizer,) = config.build(nn.Linear(1, 1))
    assert type(optimizer) is expected
    (group,) = optimizer.param_groups
    for name, value in config.model_dump(exclude={"name", "beta1", "beta2", "norm_bias_lr_factor"}).items():
        assert group[name] == value
    if isinstance(config, Adam):
        assert group["betas"] == (config.beta1, config.beta2)


def test_norm_biases_have_a_separate_learning_rate() -> None:
    net = build(plan(parse("C8 C8 / G F10"), (3, 8, 8)))
    (optimizer,) = AdamW(lr=0.01, norm_bias_lr_factor=64.0).build(net)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    rates = {
        names[id(parameter)]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]
    }
    assert len(rates) == len(list(net.parameters()))
    assert {name for name, lr in rates.items() if lr == 0.64} == {
        "block1.norm1.bias",
        "block1.norm2.bias",
    }
    assert set(rates.values()) == {0.01, 0.64}


def test_frozen_parameters_are_not_optimized() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    net[0].requires_grad_(requires_grad=False)
    for config in (SGD(), Muon()):
        learned = [
            parameter
            for optimizer in config.build(net)
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]
        assert len(learned) == 2
