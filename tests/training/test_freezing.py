"""Frozen layers and lower learning rates, against plain PyTorch."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.errors import RecipeError
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.system.memory_format import to_device
from convsmith.system.rng import new_generator
from convsmith.training.batches import batches_of
from convsmith.training.config import TrainConfig
from convsmith.training.freezing import LayerPlan
from convsmith.training.learning_rate import LearningRate
from convsmith.training.metrics import EpochMetrics, SplitMetrics
from convsmith.training.optimizers.filter_muon import FilterMuon
from convsmith.training.state import TrainerState
from convsmith.training.trainer import fit
from helpers.trained import Recorder

NET = "model.net=C4 / C8:s2 / G F10"
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "lr": 0.1, "weight_decay": 0.01},
    "nesterov": {"name": "sgd", "lr": 0.1, "nesterov": True, "norm_bias_lr_factor": 8.0},
    "rmsprop": {"name": "rmsprop", "lr": 0.01, "momentum": 0.5, "weight_decay": 0.1},
    "adam": {"name": "adam", "lr": 0.01, "weight_decay": 0.1},
    "adamw": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
    "muon": {"name": "muon", "lr": 0.02, "weight_decay": 0.1},
}
SCHEDULES = ("constant", "one-cycle", "cosine", "linear", "step", "plateau")


def session_of(*overrides: str) -> Session:
    return Session.load(load("digits", [NET, "augment.transforms=[]", "train.epochs=2", *overrides]))


def run(session: Session, state: TrainerState | None = None) -> tuple[nn.Module, nn.Module]:
    """Train; return the net before and after."""
    net = session.build_net()
    before = copy.deepcopy(net)
    session.fit(net, state=state)
    return before, net


def head_of(net: nn.Module) -> nn.Linear:
    head = net.get_submodule("block3.linear1")
    assert isinstance(head, nn.Linear)
    return head


def differing(before: nn.Module, after: nn.Module) -> set[str]:
    others = after.state_dict()
    return {name for name, tensor in before.state_dict().items() if not torch.equal(tensor, others[name])}


def layers_of(names: set[str]) -> set[str]:
    return {name.rpartition(".")[0] for name in names}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_factors_give_the_weights_of_plain_optimizers(name: str, schedule: str) -> None:
    """One optimizer of PyTorch for each layer, each with the learning rate of its layer."""
    config = TrainConfig.model_validate(
        {
            "epochs": 3,
            "optimizer": OPTIMIZERS[name],
            "schedule": {"name": schedule},
            "layer_decay": 0.5,
            "layer_rates": [{"layers": "block1.norm1", "factor": 0.1}],
        }
    )
    torch.manual_seed(0)
    net = to_device(session_of().build_net(), torch.device("cpu"))
    plain = copy.deepcopy(net)
    heads = [head_of(each) for each in (net, plain)]
    plan = LayerPlan(net, config, torch.zeros(2, 1, 8, 8))
    optimizers = config.optimizer.build(net, heads[0], plan.learning)
    alone = []
    factors = {"block1.conv1": 0.25, "block1.norm1": 0.025, "block2.conv1": 0.5, "block2.norm1": 0.5}
    for layer, module in plain.named_modules():
        if not list(module.parameters(recurse=False)):
            continue
        others = plain.requires_grad_(requires_grad=False)
        module.requires_grad_(requires_grad=True)
        factor = factors.get(layer, 1.0)
        alone += _with_rates(config.optimizer, factor).build(others, heads[1])
    plain.requires_grad_(requires_grad=True)
    rates = [
        LearningRate(config.schedule, each, epochs=3, steps_per_epoch=2)
        for each in (optimizers, [each for each in alone if each.param_groups])
    ]
    assert rates[0].lr == pytest.approx(config.optimizer.lr * _first_factor(rates[0]))
    _step_together(net, plain, rates)
    for one, other in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def _first_factor(rate: LearningRate) -> float:
    """The share of the peak at which a schedule begins."""
    return float(rate.config.model_dump().get("start_factor", 1.0))


def _with_rates(optimizer: Any, factor: float) -> Any:
    scaled = {"lr": optimizer.lr * factor}
    if optimizer.name == "muon":
        scaled["rest"] = optimizer.rest.model_copy(update={"lr": optimizer.rest.lr * factor})
    return optimizer.model_copy(update=scaled)


def _step_together(net: nn.Module, plain: nn.Module, rates: list[LearningRate]) -> None:
    generator = torch.Generator().manual_seed(1)
    metrics = EpochMetrics(
        epoch=1, lr=0.0, train=SplitMetrics(loss=1.0, correct=1, total=2), validation=None, test=None,
        train_seconds=0.0, evaluation_seconds=0.0,
    )  # fmt: skip
    for _ in range(3):
        for _ in range(2):
            for one, other in zip(net.parameters(), plain.parameters(), strict=True):
                gradient = torch.randn(one.shape, generator=generator)
                one.grad = torch.empty_like(one).copy_(gradient)
                other.grad = torch.empty_like(other).copy_(gradient)
            for rate in rates:
                for optimizer in rate.optimizers:
                    optimizer.step()
                rate.step()
        for rate in rates:
            rate.step_epoch(metrics)


def test_a_frozen_body_stays_bit_for_bit_and_the_head_learns() -> None:
    before, after = run(session_of("train.freeze=body", "train.optimizer.weight_decay=0.5"))
    assert layers_of(differing(before, after)) == {"block3.linear1"}


def test_a_frozen_body_is_a_linear_classifier_on_its_features() -> None:
    """The same batches in a loop of plain PyTorch, the body in evaluation mode without gradients."""
    session = session_of("train.freeze=body", "train.optimizer=sgd", "train.schedule=constant")
    before, after = run(session)
    data, recipe = session.data, session.recipe
    images = next(
        normalized_batches(data.train.images, Normalizer.of(data, torch.device("cpu")), len(data.train))
    )
    before.eval()
    with torch.no_grad():
        features = nn.Sequential(*list(before.children())[:2])(images).mean((2, 3))
    head = copy.deepcopy(head_of(before))
    optimizer = torch.optim.SGD(head.parameters(), lr=recipe.train.optimizer.lr, momentum=0.9)
    labels = torch.from_numpy(data.train.labels)
    for epoch in (1, 2):
        order = torch.randperm(len(labels), generator=new_generator(recipe.seed, epoch, 0))
        for batch in batches_of(order, recipe.train.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(
                head(features[batch]), labels[batch], label_smoothing=recipe.train.label_smoothing
            ).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    found = head_of(after)
    torch.testing.assert_close(found.weight, head.weight, rtol=1e-4, atol=1e-6)
    assert not torch.equal(head.weight, head_of(before).weight)


@pytest.mark.parametrize(
    "extra",
    [
        ("train.microbatch_size=32",),
        ("train.ema=0.9",),
        ("train.lookahead.k=2",),
        ("train.optimizer=muon", "train.optimizer.lr=0.02"),
        ("train.weight_standardization=true",),
        ("train.l1=0.001",),
    ],
    ids=lambda extra: extra[0].partition("=")[0],
)
def test_frozen_weights_and_statistics_stay_with_every_kind_of_training(extra: tuple[str, ...]) -> None:
    before, after = run(session_of("train.freeze=block1", *extra))
    assert layers_of(differing(before, after)) == {"block2.conv1", "block2.norm1", "block3.linear1"}


def test_averaged_weights_are_as_plain_ones_if_nothing_is_frozen() -> None:
    before, after = run(session_of("train.ema=0.9"))
    assert layers_of(differing(before, after)) > {"block1.conv1", "block1.norm1"}


def states_of(session: Session) -> tuple[list[TrainerState], list[dict[str, Tensor]]]:
    """The checkpoints of a training, copied, and the weights after each epoch."""

    class Keep(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.states: list[TrainerState] = []

        def on_checkpoint(self, state: TrainerState) -> None:
            self.states.append(copy.deepcopy(state))

    keep = Keep()
    session.fit(session.build_net(), callbacks=[keep])
    return keep.states, keep.weights


@pytest.mark.parametrize(
    "extra",
    [
        (),
        ("train.optimizer=sgd",),
        ("train.optimizer=muon",),
        ("train.optimizer=rmsprop",),
        ("train.microbatch_size=32",),
        ("train.weight_standardization=true",),
    ],
)
def test_layers_that_are_frozen_at_first_learn_afterwards_and_resume_to_the_bit(
    extra: tuple[str, ...],
) -> None:
    session = session_of("train.freeze=body", "train.freeze_epochs=2", "train.epochs=4", *extra)
    states, weights = states_of(session)
    start = session.build_net().state_dict()
    changed = [{name for name in start if not torch.equal(epoch[name], start[name])} for epoch in weights]
    if "train.weight_standardization=true" not in extra:
        # They are standardised from the beginning, since they will be learned.
        assert layers_of(changed[0]) == layers_of(changed[1]) == {"block3.linear1"}
    assert layers_of(changed[2]) == {
        "block1.conv1", "block1.norm1", "block2.conv1", "block2.norm1", "block3.linear1"
    }  # fmt: skip
    # The beginning, then after each epoch.
    for state in states[1:4]:
        net = session.build_net()
        session.fit(net, state=state)
        for name, tensor in net.state_dict().items():
            assert torch.equal(tensor, weights[-1][name]), (len(state.history), name)


def test_weights_of_a_training_without_these_fields_are_the_same() -> None:
    _, one = run(session_of())
    _, other = run(session_of('train.layer_rates=[{layers="head", factor=1}]'))
    assert differing(one, other) == set()


def test_a_net_that_freezes_its_own_layers_keeps_them_frozen() -> None:
    config = TrainConfig(epochs=3, freeze="body", freeze_epochs=1)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    net[0].requires_grad_(requires_grad=False)
    plan = LayerPlan(net, config, torch.zeros(2, 1, 8, 8))
    for epoch, expected in ((1, False), (2, True)):
        plan.set_gradients(epoch)
        assert (net[0].weight.requires_grad, net[1].weight.requires_grad) == (False, expected)
    net[3].requires_grad_(requires_grad=False)
    with pytest.raises(RecipeError, match="every weight is frozen, so that nothing is trained\n"):
        LayerPlan(net, TrainConfig(epochs=3, freeze="1"), torch.zeros(2, 1, 8, 8))
    with pytest.raises(RecipeError, match="nothing is trained in the first epochs"):
        LayerPlan(net, TrainConfig(epochs=3, freeze="1", freeze_epochs=1), torch.zeros(2, 1, 8, 8))


def test_whitening_filters_stay_frozen_after_the_first_epochs() -> None:
    whitened = ("model.net=C8:k3:n0 / C8:s2 / G F10", "train.whitening=true")
    session = session_of(*whitened, "train.freeze=body", "train.freeze_epochs=1")
    _, weights = states_of(session)
    assert torch.equal(weights[0]["block1.conv1.weight"], weights[1]["block1.conv1.weight"])
    assert not torch.equal(weights[0]["block2.conv1.weight"], weights[1]["block2.conv1.weight"])


def test_whitening_filters_alone_are_nothing_to_train() -> None:
    session = session_of("model.net=C8:k3:n0 / G F10", "train.whitening=true", "train.freeze=head")
    with pytest.raises(RecipeError, match="every weight is frozen"):
        session.fit(session.build_net())


def test_dropout_of_frozen_layers_is_active_and_norms_are_not_in_training() -> None:
    session = session_of("model.dropout=0.1", "train.freeze=body")
    net = session.build_net()
    trainer = session.trainer(net)
    trainer.gradients.train()
    modes = {name: module.training for name, module in net.named_modules()}
    trainer.close()
    assert not modes["block1.norm1"]
    assert any("dropout" in name and mode for name, mode in modes.items())


def test_a_range_test_shows_the_rate_of_the_recipe_not_of_a_slower_layer() -> None:
    session = session_of("train.optimizer=muon", "train.layer_decay=0.5")
    trainer = session.trainer(session.build_net())
    assert isinstance(trainer.optimizers[0], FilterMuon)
    groups = trainer.optimizers[0].param_groups
    assert [group["lr_factor"] for group in groups] == [0.5, 0.25]
    peak = trainer.schedule.lr / groups[0]["lr"]
    assert peak == pytest.approx(2.0)
    trainer.close()


def test_fit_refuses_a_name_that_matches_nothing() -> None:
    session = session_of()
    train = session.recipe.train.model_copy(update={"freeze": "blok1"})
    with pytest.raises(RecipeError, match="no layer with weights is called 'blok1'"):
        fit(session.build_net(), session.data, train, session.recipe.augment, seed=0)
