"""Class-activation maps of nets in the notation, and of nets that are written by hand."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn
from torch.nn import functional

from convsmith.evaluation.class_activation import class_activation_maps
from convsmith.net.module import build
from convsmith.net.plan import Plan
from convsmith.net.settings import NetSettings
from helpers.evaluation import small_net
from helpers.hand_written import AFFINE, ConvBlocks, Ended, FunctionsOnly, Pooled, SmallWindow, seeded
from helpers.nets import examples, legal, net_settings, notations

_AFFINE = {"Conv2d", "Linear", "BatchNorm2d", "Flatten", "Dropout"}


def images(count: int = 4, size: int = 16) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def by_layers(net: nn.Module, planned: Plan, batch: Tensor) -> Tensor | None:
    """The definition for the notation: the layers after `G`, applied to each position of the input of `G`."""
    operations = list(planned.operations())
    pools = [number for number, each in enumerate(operations) if each.operation == "GlobalAvgPool2d"]
    if not pools or any(each.operation not in _AFFINE for each in operations[pools[-1] + 1 :]):
        return None
    maps: list[Tensor] = []
    pool = net.get_submodule(operations[pools[-1]].name)
    handle = pool.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    net(batch)
    handle.remove()
    count, channels, height, width = maps[0].shape
    places = maps[0].permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
    for each in operations[pools[-1] + 1 :]:
        places = net.get_submodule(each.name)(places)
    return places.reshape(count, height, width, -1).permute(0, 3, 1, 2)


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations(), net_settings)
def test_maps_of_the_notation_are_those_of_its_layers_to_the_bit(text: str, config: NetSettings) -> None:
    planned = legal(text, config)
    net = build(planned, generator=torch.Generator().manual_seed(1)).eval()
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = torch.randn(3, 2, 40, 40, generator=torch.Generator().manual_seed(0))
    batch = batch.to(memory_format=torch.channels_last)
    found, expected = class_activation_maps(net, batch), by_layers(net, planned, batch)
    assert (found is None) == (expected is None)
    assert found is None or expected is None or torch.equal(found, expected)


def assert_mean_is(maps: Tensor | None, logits: Tensor) -> None:
    assert maps is not None
    assert torch.allclose(maps.mean((2, 3)), logits, atol=1e-4)


@pytest.mark.parametrize("create", AFFINE, ids=lambda each: each.__name__)
@torch.no_grad()
def test_maps_of_modules_are_the_logits_of_each_position(create: Callable[[], nn.Module]) -> None:
    net = seeded(create)
    batch = images()
    before = batch.clone()
    maps = class_activation_maps(net, batch)
    features = net.features(batch)  # type: ignore[operator]
    assert maps is not None
    assert maps.shape == (4, 10, *features.shape[2:])
    outputs = net(batch)
    # Log-probabilities are logits minus the same number for each class.
    shift = (maps.mean((2, 3)) - outputs).mean(1, keepdim=True)
    assert torch.allclose(maps.mean((2, 3)) - shift, outputs, atol=1e-4)
    assert torch.equal(batch, before)
    # By hand: the last layer, on the features of a position.
    last = [each for each in net.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    if last[-1] is getattr(net, "fc", None):
        assert torch.allclose(maps[2, :, 1, 0], last[-1](features[2, :, 1, 0]), atol=1e-4)


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "adaptive": lambda x: functional.adaptive_avg_pool2d(x, (1, 1)),
    "mean": lambda x: x.mean((2, 3)),
    "mean, named": lambda x: torch.mean(input=x, dim=(-1, -2), keepdim=True),
    "mean, twice": lambda x: x.mean(3).mean(2),
    "mean, twice, kept": lambda x: x.mean(3, keepdim=True).mean(2, keepdim=True),
    "of tokens": lambda x: x.view(x.size(0), x.size(1), -1).mean(2),
    "1d": lambda x: functional.adaptive_avg_pool1d(x.flatten(2), 1),
    "sum": lambda x: x.sum((2, 3)) / 64,
    "sum alone": lambda x: x.sum((2, 3)),
    "window": lambda x: functional.avg_pool2d(x, x.shape[2:]),
    "window, named": lambda x: functional.avg_pool2d(kernel_size=8, input=x),
    "padding": lambda x: functional.avg_pool2d(x, 10, padding=1),
    "rows, then columns": lambda x: functional.avg_pool2d(functional.avg_pool2d(x, (8, 1)), (1, 8)),
    "twice": lambda x: functional.adaptive_avg_pool2d(functional.avg_pool2d(x, 8), 1),
}


@pytest.mark.parametrize("name", POOLS)
@torch.no_grad()
def test_global_average_pooling_in_any_spelling(name: str) -> None:
    net = seeded(lambda: Pooled(POOLS[name]))
    maps = class_activation_maps(net, images())
    assert maps is not None
    assert maps.shape == (4, 10, 8, 8)
    assert_mean_is(maps, net(images()))


@torch.no_grad()
def test_positions_that_a_window_leaves_out_have_the_logits_of_zeros() -> None:
    net = seeded(SmallWindow)
    maps = class_activation_maps(net, images())
    assert maps is not None
    assert maps.shape == (4, 10, 6, 6)
    logits = net.convblock4(net.gap(net.features(images()))).flatten(1)
    assert_mean_is(maps, logits)
    assert maps[:, :, 5].abs().max() == maps[:, :, :, 5].abs().max() == 0
    within = net.convblock4(net.features(images()))[:, :, :5, :5]
    assert torch.allclose(maps[:, :, :5, :5] * 25 / 36, within, atol=1e-4)


ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "log-softmax": lambda x: functional.log_softmax(x, dim=1),
    "log-softmax, viewed": lambda x: torch.log_softmax(x[:, :, None, None], 1).view(-1, 10),
    "softmax": lambda x: x.softmax(1),
    "logarithm of a softmax": lambda x: nn.Softmax(dim=1)(x).float().clamp_min(1e-38).log(),
}


@pytest.mark.parametrize("name", ENDS)
@torch.no_grad()
def test_maps_are_of_the_logits_before_a_softmax(name: str) -> None:
    net = seeded(lambda: Ended(ENDS[name]))
    assert_mean_is(class_activation_maps(net, images()), FunctionsOnly.forward(net, images()))


HEADS: dict[str, Callable[[], nn.Module]] = {
    "maximum": lambda: Pooled(lambda x: functional.adaptive_max_pool2d(x, 1)),
    "log-sum-exp": lambda: Pooled(lambda x: x.logsumexp((2, 3))),
    "mean and maximum": lambda: Pooled(lambda x: (x.mean((2, 3)) + x.amax((2, 3))) / 2),
    "squared": lambda: Pooled(lambda x: x.mean((2, 3)).square()),
    "normalized": lambda: Pooled(lambda x: functional.normalize(x.mean((2, 3)))),
    "layer norm": lambda: Pooled(lambda x: functional.layer_norm(x.mean((2, 3)), (16,))),
    "activation": lambda: Pooled(lambda x: functional.gelu(x.mean((2, 3)))),
    "tanh of the logits": lambda: Ended(torch.tanh),
    "bounded logits": lambda: Ended(lambda x: x.clamp(-50, 50)),
    "a path around the pooling": lambda: Pooled(lambda x: x.mean((2, 3)) + x[:, :, 0, 0]),
    "a pooled map without use": lambda: Pooled(lambda x: (x.mean((2, 3)), x[:, :, 0, 0])[1]),
    "random": lambda: Pooled(lambda x: functional.dropout(x.mean((2, 3)))),
    "quarters": lambda: Pooled(lambda x: functional.avg_pool2d(x[:, :4], 4)),
    "flattened": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 10)),
    "two layers": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 8),
        nn.ReLU(),
        nn.Linear(8, 10),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_other_heads_have_no_maps(name: str) -> None:
    assert class_activation_maps(seeded(HEADS[name]), images()) is None


def test_an_activation_that_is_linear_for_these_features_is_none_of_an_affine_head() -> None:
    """The pooled features are positive, so that only other features show the ReLU."""
    net = seeded(lambda: Pooled(lambda x: x.mean((2, 3)).relu()))
    assert class_activation_maps(net, images()) is None


def test_a_net_that_writes_into_its_input() -> None:
    class Net(ConvBlocks):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.sub_(0.5))

    batch = images()
    assert class_activation_maps(seeded(Net), batch) is not None
    assert torch.equal(batch, images())


def test_a_net_of_half_precision() -> None:
    net = seeded(FunctionsOnly).bfloat16()
    maps = class_activation_maps(net, images().bfloat16())
    assert maps is not None
    assert maps.dtype == torch.bfloat16


@pytest.mark.parametrize(("text", "size"), [("C8 A16 / F5", 16), ("C8 A16 G F5", 16), ("C8 M16 / G F5", 1)])
def test_windows_over_the_full_map_in_the_notation(text: str, size: int) -> None:
    _, net = small_net(text)
    maps = class_activation_maps(net, images())
    assert maps is not None
    assert maps.shape == (4, 5, size, size)
    with torch.no_grad():
        assert_mean_is(maps, net(images()))
