"""What makes a step learn fast, each part against PyTorch's own or a few lines of its definition."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.dataset import ImageDataset
from convsmith.data.normalize import Normalizer
from convsmith.data.pipeline import BatchSpec, Pipeline
from convsmith.errors import RecipeError
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.system.device import torch_threads
from convsmith.system.rng import new_generator
from convsmith.training.gradients import GradientWorkers
from convsmith.training.kernels.dropout import Dropout, use_fast_dropout
from convsmith.training.optimizers.adam import AdamW
from convsmith.training.optimizers.filter_muon import FilterMuon
from convsmith.training.optimizers.muon import Muon
from convsmith.training.optimizers.sgd import SGD
from convsmith.training.profiler import PHASES, Profile
from convsmith.training.whitening import whiten_first_layer, whitening_filters
from helpers.trained import trained

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("p", [0.02, 0.5])
def test_dropout_drops_a_share_p_and_keeps_the_mean(dtype: torch.dtype, p: float) -> None:
    ones = torch.ones(40, 25, 7, 11, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    out = Dropout(p, torch.Generator().manual_seed(1))(ones)
    dropped = (out == 0).float().mean().item()
    assert abs(dropped - p) < 5 * (p * (1 - p) / ones.numel()) ** 0.5
    assert torch.equal(out[out != 0], torch.full_like(out[out != 0], 1 / (1 - p)))
    assert out.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(out.sum(), ones)
    assert torch.equal(gradient, out.detach())


def test_dropout_masks_are_independent_of_place_and_of_each_other() -> None:
    dropout = Dropout(0.5, torch.Generator().manual_seed(2))
    first, second = (dropout(torch.ones(4, 8, 64, 64)) > 0 for _ in range(2))
    for a, b in ((first, second), (first[..., 1:], first[..., :-1]), (first[1:], first[:-1])):
        assert abs((a == b).float().mean().item() - 0.5) < 0.01


def test_dropout_at_rest_and_off_is_the_identity() -> None:
    values = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


def test_only_plain_dropout_is_replaced_and_modes_stay() -> None:
    net = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Dropout2d(0.2), nn.Dropout(0.1)))
    net[1].eval()
    use_fast_dropout(net)
    found = [module for module in net.modules() if not isinstance(module, nn.Sequential)]
    assert [type(module) for module in found] == [Dropout, nn.Dropout2d, Dropout]
    assert [module.training for module in found] == [True, False, False]
    assert [module.p for module in found if isinstance(module, Dropout)] == [0.3, 0.1]


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return Session.load(load("digits")).data


def gradient_workers(
    net: nn.Module, data: ImageDataset, parts: int, augment: AugmentConfig | None = None
) -> GradientWorkers:
    return GradientWorkers(
        net.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        Pipeline(data, augment or AugmentConfig(), seed=0, device=CPU),
        label_smoothing=0.1,
        dtype=torch.float32,
        num_microbatches=parts,
        profile=Profile(),
    )


def small_net(norm: str = "batch", dropout: float = 0.0) -> nn.Module:
    settings = NetSettings.model_validate({"norm": norm, "dropout": dropout})
    return build(plan(parse("C8 S8:s2 / G F10"), (1, 8, 8), settings), generator=new_generator(1))


def batch(indices: Tensor, step: int = 0) -> BatchSpec:
    return BatchSpec(indices=indices, epoch=1, step=step)


@pytest.mark.parametrize("parts", [1, 3, 4])
def test_gradients_of_parts_are_those_of_the_whole_batch(digits: ImageDataset, parts: int) -> None:
    """Without batch norm a batch's gradient does not depend on its parts; PyTorch's own backward is asked."""
    net = small_net(norm="none")
    expected = copy.deepcopy(net)
    indices = torch.arange(50)
    images = torch.from_numpy(digits.train.images[:50]).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(digits.train.labels[:50])
    logits = expected((images - digits.mean[0]) / digits.std[0])
    loss = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    outcome = gradient_workers(net, digits, parts).compute(batch(indices))
    assert outcome.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert outcome.correct.item() == (logits.argmax(1) == labels).sum().item()
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


class TwoBiases(nn.Module):
    """Autograd gives both biases one and the same gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(10)), nn.Parameter(torch.zeros(10))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None] + (self.first + self.second)


def test_parameters_that_share_a_gradient_are_not_summed_twice(digits: ImageDataset) -> None:
    whole, halves = TwoBiases(), TwoBiases()
    for net, parts in ((whole, 1), (halves, 2)):
        gradient_workers(net, digits, parts).compute(batch(torch.arange(40)))
    for one, other in zip(whole.parameters(), halves.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, atol=1e-7)


def test_the_number_of_threads_does_not_change_a_bit(digits: ImageDataset) -> None:
    before, states = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        net = small_net(dropout=0.2)
        workers = gradient_workers(net, digits, parts=4)
        assert workers.num_workers == threads
        workers.train()
        for step in range(3):
            workers.compute(batch(torch.arange(64) + 64 * step, step))
        workers.sync_statistics()
        workers.close()
        states.append([*net.buffers(), *(parameter.grad for parameter in net.parameters())])
    torch.set_num_threads(before)
    for one, two in zip(*states, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_prepared_ahead_is_the_same_batch(
    digits: ImageDataset, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for once, whether or not it is the one that comes."""
    batches = [batch(torch.arange(64) + 64 * step, step) for step in range(3)]
    stranger = batch(torch.arange(64), 9)
    ends = []
    with torch_threads(threads):
        ways: list[list[BatchSpec | None]] = [[None] * 3, [*batches[1:], None], [stranger, stranger, None]]
        for following in ways:
            net = small_net(dropout=0.2)
            workers = gradient_workers(net, digits, parts=2)
            taken, take = list[int](), workers.pipeline.images.take
            monkeypatch.setattr(
                workers.pipeline.images,
                "take",
                lambda some, taken=taken, take=take: taken.append(len(some)) or take(some),
            )
            workers.train()
            for now, coming in zip(batches, following, strict=True):
                workers.compute(now, coming)
            workers.close()
            assert taken == [32] * 2 * (3 + following.count(stranger))
            ends.append([*(parameter.grad for parameter in net.parameters())])
    for alone, ahead, other in zip(*ends, strict=True):
        assert torch.equal(alone, ahead)
        assert torch.equal(alone, other)


def test_statistics_are_the_mean_over_the_parts(digits: ImageDataset) -> None:
    net = small_net()
    workers = gradient_workers(net, digits, parts=2)
    workers.train()
    for step in range(2):
        workers.compute(batch(torch.arange(40) + 40 * step, step))
    assert torch.equal(net.get_buffer("block1.norm1.running_mean"), torch.zeros(8))
    workers.sync_statistics()
    normalize, conv = Normalizer.of(digits, CPU), net.get_submodule("block1.conv1")
    mean = torch.zeros(8)
    for step in range(2):
        halves = [torch.arange(20) + 40 * step + 20 * half for half in range(2)]
        seen = [conv(normalize(workers.pipeline.images.take(half)[0])).mean((0, 2, 3)) for half in halves]
        mean = 0.9 * mean + 0.1 * torch.stack(seen).mean(0)
    assert torch.allclose(net.get_buffer("block1.norm1.running_mean"), mean, atol=1e-5)
    assert net.get_buffer("block1.norm1.num_batches_tracked") == 2


def test_copies_share_parameters_and_with_one_part_buffers_too(digits: ImageDataset) -> None:
    net = small_net(dropout=0.1)
    for parts in (1, 2):
        for replica in gradient_workers(net, digits, parts).replicas:
            pairs = zip(net.parameters(), replica.parameters(), strict=True)
            assert all(own is other for own, other in pairs)
            shared = [own is other for own, other in zip(net.buffers(), replica.buffers(), strict=True)]
            assert set(shared) == {parts == 1}
            assert any(isinstance(module, Dropout) for module in replica.modules())
    assert not any(isinstance(module, Dropout) for module in net.modules())


def matrices(net: nn.Module, names: list[str]) -> list[Tensor]:
    return [net.get_parameter(name).detach() for name in names]


def test_muon_takes_orthogonal_steps_and_leaves_the_rest_to_the_other() -> None:
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
        # Newton-Schulz brings singular values near 1; those of a gradient that lacks some stay small.
        values = torch.linalg.svdvals(step) / (0.1 * shape)
        assert values.max() < 1.3
        assert values.median() > 0.6
        u, _, v = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
        cosine = functional.cosine_similarity((u @ v).flatten(), step.flatten(), dim=0)
        assert cosine > 0.85


def test_muon_refuses_filters_that_it_would_only_copy() -> None:
    with pytest.raises(ValueError, match="channels-last"):
        FilterMuon([nn.Conv2d(3, 8, 3).get_parameter("weight")])


def test_norm_biases_have_a_learning_rate_of_their_own() -> None:
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


def test_frozen_parameters_are_not_learned() -> None:
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


def test_whitening_filters_whiten() -> None:
    images = functional.avg_pool2d(torch.randn(300, 3, 16, 16, generator=new_generator(0)), 3, 1)
    filters = whitening_filters(images, (3, 3))
    assert filters.shape == (27, 3, 3, 3)
    out = functional.conv2d(images, filters).transpose(0, 1).flatten(1)
    covariance = torch.cov(out)
    # The added epsilon keeps the weakest directions below 1.
    assert torch.allclose(covariance[:10, :10], torch.eye(10), atol=0.05)
    assert (covariance - covariance.diag().diag()).abs().max() < 0.01


def test_whitening_needs_filters_in_pairs_and_not_too_many() -> None:
    images = torch.randn(20, 3, 8, 8)
    for channels in (55, 56):
        with pytest.raises(RecipeError, match="expected an even number of at most 54"):
            whiten_first_layer(nn.Conv2d(3, channels, 3), images)


def test_a_whitened_first_layer_stays_as_it_is_through_training() -> None:
    _, recorder = trained(
        load("digits", ["train.epochs=2", "model.net=C8:k2:s2 C8 / G F10", "train.whitening=true"])
    )
    first, last = (weights["block1.conv1.weight"] for weights in recorder.weights)
    assert torch.equal(first, last)
    assert torch.equal(first[:4], -first[4:])
    assert not torch.equal(*(weights["block1.conv2.weight"] for weights in recorder.weights))


def test_dirac_initialisation_passes_channels_on() -> None:
    settings = NetSettings(init="dirac", norm="none", activation="none", bias=False)
    net = build(plan(parse("C4 C8 / P10 G"), (4, 6, 6), settings))
    images = torch.randn(2, 4, 6, 6)
    hidden = net.get_submodule("block1")(images)
    assert torch.allclose(hidden[:, :4], images, atol=1e-6)
    logits = net.get_submodule("block2.conv1")(hidden)
    assert not torch.allclose(logits[:, :4], hidden[:, :4], atol=0.1)


def test_smaller_images_first(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []
    forward = nn.Conv2d.forward

    def spy(self: nn.Conv2d, images: Tensor) -> Tensor:
        if self.in_channels == 1 and torch.is_grad_enabled():
            sizes.append(tuple(images.shape[2:]))
        return forward(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", spy)
    recipe = load(
        "digits",
        [
            "train.epochs=3",
            "model.net=C4 / G F10",
            "train.progressive.start_size=6",
            "train.progressive.until=0.6",
        ],
    )
    trained(recipe)
    steps = len(sizes) // 3
    small = round(0.6 * 3 * steps + 0.499)
    assert sizes == [(6, 6)] * small + [(8, 8)] * (3 * steps - small)


def test_mixing_reaches_the_loss(digits: ImageDataset) -> None:
    recipe = load("digits", ["augment.mix=mixup", "augment.mix.p=1.0"])
    losses = [
        gradient_workers(small_net(), digits, 1, augment).compute(batch(torch.arange(64))).loss.item()
        for augment in (None, AugmentConfig(mix=recipe.augment.mix))
    ]
    assert losses[0] != losses[1]


def test_a_profile_counts_every_phase() -> None:
    profile = Profile(enabled=True)
    prepared = Session.load(load("digits", ["train.epochs=1", "model.net=C4 / G F10"]))
    trained(prepared.recipe, profile=profile)
    assert set(profile.seconds) == set(PHASES) - {"teacher"}
    assert all(seconds > 0 for seconds in profile.seconds.values())
    silent = Profile()
    trained(prepared.recipe, profile=silent)
    assert not silent.seconds
