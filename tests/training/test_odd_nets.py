"""Nets that users write: the same weights for any number of threads, after a resumption, and in a file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from convsmith.modules.architecture import ModuleArchitecture
from convsmith.modules.state import state_of
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.runs.checkpoint import Checkpoint, load_checkpoint
from convsmith.runs.folder import RunFolder
from convsmith.system.device import torch_threads
from convsmith.training.callbacks import Callback
from convsmith.training.metrics import EpochMetrics, evaluate_split
from convsmith.training.optimizers.sgd import SGD
from convsmith.training.state import TrainerState
from helpers import odd_nets
from helpers.fast import few_fast
from helpers.odd_nets import ODD_NETS

# Old nets use the old function.
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")

FAST = ("train.epochs=2", "train.batch_size=192", "train.precision=fp32", "name=odd")
PARTS = ("train.microbatch_size=64",)


def session_of(kind: type[nn.Module], *overrides: str) -> Session:
    return Session.load(
        load("digits", [*FAST, f"model.module={odd_nets.__file__}:{kind.__name__}", *overrides])
    )


class Checkpoints(Callback):
    """Keeps each checkpoint as a file has it."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    def on_checkpoint(self, state: TrainerState) -> None:
        self.contents.append(Checkpoint(conditions={}, state=state).to_bytes())


def fitted(
    session: Session, state: TrainerState | None = None
) -> tuple[nn.Module, list[EpochMetrics], list[bytes]]:
    net, checkpoints = session.build_net(), Checkpoints()
    history = session.fit(net, state=state, callbacks=[checkpoints])
    return net, list(history), checkpoints.contents


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = [state_of(net) for net in (one, other)]
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def without_seconds(history: Sequence[EpochMetrics]) -> list[EpochMetrics]:
    return [replace(each, train_seconds=0, evaluation_seconds=0) for each in history]


@pytest.mark.parametrize("overrides", few_fast([("train.ema=0.9", *PARTS), ()], 1), ids=["parts", "whole"])
@pytest.mark.parametrize("kind", ODD_NETS, ids=lambda kind: kind.__name__)
def test_a_resumed_training_is_the_uninterrupted_one(
    kind: type[nn.Module], overrides: tuple[str, ...], tmp_path: Path
) -> None:
    session = session_of(kind, *overrides)
    net, history, checkpoints = fitted(session)
    path = tmp_path / "state.safetensors"
    path.write_bytes(checkpoints[1])
    resumed, again, _ = fitted(session, load_checkpoint(path).state)
    assert equal(net, resumed)
    assert without_seconds(history)[1:] == without_seconds(again)[1:]
    assert history[-1].train.loss < history[0].train.loss


@pytest.mark.parametrize("kind", ODD_NETS, ids=lambda kind: kind.__name__)
def test_the_weights_do_not_depend_on_the_threads(kind: type[nn.Module]) -> None:
    session, nets = session_of(kind, "train.epochs=1", *PARTS), []
    in_order = kind in {
        odd_nets.FunctionalDropout,
        odd_nets.DropPath,
        odd_nets.PythonRandom,
        odd_nets.MaxNorm,
    }
    assert session.architecture.behaviour.in_order == in_order
    for threads in (1, 3):
        with torch_threads(threads):
            net = session.build_net()
            trainer = session.trainer(net)
            assert trainer.gradients.num_workers == (1 if in_order else threads)
            trainer.train_epoch()
            trainer.close()
            nets.append(net)
    assert equal(*nets)


@pytest.mark.parametrize("kind", few_fast(ODD_NETS, 8), ids=lambda kind: kind.__name__)
def test_the_file_of_weights_gives_what_was_evaluated(kind: type[nn.Module], tmp_path: Path) -> None:
    """A new net with the weights of the file has the metrics of the last epoch, with averaged weights too."""
    for overrides in (("train.ema=0.8", *PARTS), ("train.lookahead={}",)):
        session = session_of(kind, *overrides)
        net, history, _ = fitted(session)
        folder = RunFolder(path=tmp_path)
        folder.write_weights(net)
        architecture = session.architecture
        assert isinstance(architecture, ModuleArchitecture)
        new = architecture.build(session.data.image_shape, torch.Generator().manual_seed(7))
        folder.load_weights(new)
        session.to_device(new)
        found = evaluate_split(new, session.data.test, session.normalizer, session.dtype)
        assert found == history[-1].test


@pytest.mark.parametrize("override", few_fast(["train.optimizer=muon", "train.optimizer=rmsprop"], 1))
@pytest.mark.parametrize(
    "kind",
    [
        odd_nets.View,
        odd_nets.ClassifierFirst,
        odd_nets.Tied,
        odd_nets.SpectralNorm,
        odd_nets.WeightNorm,
        odd_nets.FiveDimensions,
    ],
)
def test_other_optimizers_train_them(kind: type[nn.Module], override: str, tmp_path: Path) -> None:
    session = session_of(kind, override, "train.weight_standardization=true")
    net, history, checkpoints = fitted(session)
    path = tmp_path / "state.safetensors"
    path.write_bytes(checkpoints[1])
    resumed, _, _ = fitted(session, load_checkpoint(path).state)
    assert equal(net, resumed)
    assert history[-1].train.loss < history[0].train.loss


@pytest.mark.parametrize(
    "kind", [odd_nets.OwnStatistics, odd_nets.Tied, odd_nets.WeightNorm, odd_nets.MaxNorm, odd_nets.Mask]
)
def test_the_steps_are_those_of_plain_pytorch(kind: type[nn.Module]) -> None:
    session = session_of(kind, "train.optimizer=sgd", "train.optimizer.lr=0.05", "train.schedule=constant")
    net, plain = session.build_net(), session.to_device(session.build_net())
    trainer = session.trainer(net)
    trainer.gradients.train()
    plain.train()
    settings = session.recipe.train.optimizer
    assert isinstance(settings, SGD)
    optimizer = torch.optim.SGD(
        plain.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
    )
    for step in range(3):
        batch = trainer.make_batch(torch.arange(64) + 64 * step, 1, step)
        images, labels = trainer.pipeline(batch).images, trainer.pipeline(batch).labels
        trainer.train_step(batch)
        loss = functional.cross_entropy(plain(images), labels, label_smoothing=trainer.config.label_smoothing)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    trainer.close()
    for name, tensor in state_of(plain).items():
        assert torch.allclose(state_of(net)[name], tensor, atol=1e-5), name
