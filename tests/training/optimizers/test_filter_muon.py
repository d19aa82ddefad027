"""Muon for convolution filters."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.system.rng import new_generator
from convsmith.training.optimizers.filter_muon import FilterMuon
from convsmith.training.optimizers.muon import Muon
from convsmith.training.standardization import standardize


def matrices(net: nn.Module, names: list[str]) -> list[Tensor]:
    return [net.get_parameter(name).detach() for name in names]


def test_muon_steps_are_orthogonal() -> None:
    net = build(plan(parse("C8 S16:s2 C24 / G F10"), (3, 16, 16)), generator=new_generator(0))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = Muon(lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0).build(net)
    muon, rest = optimizers
    assert isinstance(muon, FilterMuon)
    filters = [name for name, each in net.named_parameters() if each.dim() == 4 and each.shape[1] > 1]
    assert len(filters) == 3
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert [names[id(bank)] for bank in muon.filters] == filters
    others = {names[id(each)] for group in rest.param_groups for each in group["params"]}
    assert others == {name for name, _ in net.named_parameters()} - set(filters)
    before = [bank.clone() for bank in matrices(net, filters)]
    net(torch.randn(4, 3, 16, 16)).square().sum().backward()
    gradients = [net.get_parameter(name).grad for name in filters]
    muon.step()
    for old, new, gradient in zip(before, matrices(net, filters), gradients, strict=True):
        assert gradient is not None
        step = (old - new).flatten(1)
        shape = max(1, step.shape[0] / step.shape[1]) ** 0.5
        # Newton-Schulz brings singular values near 1, except those near 0.
        values = torch.linalg.svdvals(step) / (0.1 * shape)
        assert values.max() < 1.3
        assert values.median() > 0.6
        u, _, v = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
        cosine = functional.cosine_similarity((u @ v).flatten(), step.flatten(), dim=0)
        assert cosine > 0.85


def test_the_steps_do_not_depend_on_the_memory_format() -> None:
    results = []
    for memory_format in (torch.channels_last, torch.contiguous_format):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 12, 2), nn.Flatten(), nn.Linear(48, 2)
        )
        net.to(memory_format=memory_format)  # type: ignore[call-overload]
        muon, _ = Muon(lr=0.1).build(net)
        assert isinstance(muon, FilterMuon)
        images = torch.randn(4, 3, 5, 5)
        for _ in range(3):
            net(images).square().sum().backward()
            muon.step()
        results.append([bank.detach() for bank in muon.filters])
    for one, other in zip(*results, strict=True):
        # Newton-Schulz runs in bf16.
        assert torch.allclose(one, other, atol=0.02)


def test_filters_overlapping_in_memory_are_refused() -> None:
    bank = nn.Parameter(torch.zeros(2, 3, 6, 3)[:, :, ::2])
    with pytest.raises(ValueError, match="dense"):
        FilterMuon([{"params": [bank], "lr": 0.1}])


def test_the_classifier_is_the_layer_that_runs_last() -> None:
    net = nn.Sequential(nn.Conv2d(3, 10, 1), nn.Conv2d(3, 3, 3))
    for classifier, filters in ((None, [net[0].weight]), (net[0], [net[1].weight])):
        muon, _ = Muon().build(net, classifier)
        assert isinstance(muon, FilterMuon)
        assert all(one is other for one, other in zip(muon.filters, filters, strict=True))


def test_tied_and_standardized_filters_are_stepped_once() -> None:
    first, second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    second.weight = first.weight
    net = nn.Sequential(first, second, nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))
    standardize(net)
    muon, rest = Muon().build(net)
    assert isinstance(muon, FilterMuon)
    assert len(muon.filters) == 2
    stepped = {id(each) for each in (*muon.filters, *rest.param_groups[0]["params"])}
    assert stepped == {id(each) for each in net.parameters()}
