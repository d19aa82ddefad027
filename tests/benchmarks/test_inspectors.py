"""The measured numbers of well-known nets against hand counts, and tracing against the measurements."""

import pytest
import torch
from benchmarks.inspectors import Answer, Net, course_nets, family, inspect, truth, verdict
from torch import Tensor, nn

from benchmarks import inspectors
from helpers import measured, modules

NETS = [*course_nets(), *map(family, modules.ALL)]
# Parameters and receptive field, computed by hand. ResNet-20 has 0.27 million in its paper; of its stages
# the first adds 6 * 2 pixels; in the others the first convolution moves over the finer map of the one before.
BY_HAND = {
    "cifar10-classic": (174_352, 51),
    "mnist-classic": (593_200, 16),
    "ResNet20": (272_474, 3 + 6 * 2 + (2 + 5 * 4) + (4 + 5 * 8)),
    "SharedWeights": (3 * 16 * 9 + 16 + 16 * 16 * 9 + 16 + 16 * 16 + 160 + 10, 1 + 4 * 2),
    "DirectParameters": (16 * 27 + 16 * 16 * 9 + 16 + 160 + 10, 3 + 2 * 2 * 2),
}


def identity(net: nn.Module, images: Tensor) -> Tensor:
    maps: Tensor = net(images)
    return maps


def test_measured_receptive_fields() -> None:
    cases: list[tuple[nn.Module, tuple[int, int]]] = [
        (nn.Conv2d(3, 4, (3, 5)), (3, 5)),
        (nn.Sequential(nn.Conv2d(3, 4, 3, dilation=4), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)), (14, 14)),
        # Every other output lies between two pixels, and sees both.
        (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1), (2, 2)),
    ]
    for net, expected in cases:
        assert measured.receptive_field(net, identity) == expected


def test_measuring_does_not_change_the_net() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measured.receptive_field(net, identity)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_tracing_equals_the_measurement(net: Net) -> None:
    expected = truth(net)
    assert expected.field is not None
    answer = inspect(inspectors.convsmith, net)
    assert [verdict(quantity, answer, expected) for quantity in inspectors.QUANTITIES] == ["right"] * 3
    if net.name in BY_HAND:
        assert (expected.parameters, expected.field[0]) == BY_HAND[net.name]


@pytest.mark.parametrize("module", modules.ALL, ids=lambda each: each.__name__)
def test_the_nets_give_logits(module: type[nn.Module]) -> None:
    logits = module()(torch.zeros(2, 3, 32, 32))
    assert logits.shape[:2] == (2, 10)


def test_verdicts() -> None:
    true = Answer(parameters=1000, macs=20_000, field=(9, 9))
    assert verdict("parameters", Answer(parameters=1080), true) == "+8 %"
    assert verdict("MACs", Answer(macs=20_000), true) == "right"
    assert verdict("MACs", Answer(macs=0, warned=True), true) == "-100 %, reported"
    assert verdict("MACs", Answer(macs=20_001), true) == "+0.005 %"
    assert verdict("receptive field", Answer(field=(9,)), true) == "right"
    assert verdict("receptive field", Answer(field=(9, 7)), true) == "9x7"
    assert verdict("receptive field", Answer(), true) == "none"


def test_an_inspector_that_fails_is_quoted() -> None:
    def broken(net: nn.Module, input_shape: tuple[int, int, int]) -> Answer:
        raise KeyError("no\nsuch layer")

    answer = inspect(broken, family(modules.Functional))
    assert verdict("MACs", answer, Answer(macs=1)) == r"fails: KeyError: 'no\nsuch layer'"


@pytest.mark.slow
def test_inspectors_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspectors, "installed", lambda name: False)
    monkeypatch.setattr(inspectors, "course_nets", lambda: iter(()))
    monkeypatch.setattr(modules, "ALL", (modules.DirectParameters,))
    text = inspectors.main()
    assert "Not installed: torchinfo, torchscan, ptflops, fvcore." in text
    assert text.count("| right") == 3
    assert "1 of 1" in text
