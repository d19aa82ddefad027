"""The training loop: plain PyTorch, told from top to bottom; observers see every batch and epoch."""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convsmith import runtime
from convsmith.data.augment import Augmenter
from convsmith.data.images import ImageData, Split
from convsmith.errors import DivergedError
from convsmith.training.average import WeightAverage
from convsmith.training.batches import Normalizer, num_batches, shuffled
from convsmith.training.config import Plateau, TrainConfig
from convsmith.training.dropout import use_fast_dropout
from convsmith.training.optim import LearningRate, make_optimizer
from convsmith.training.score import Score, evaluate_split
from convsmith.training.standardize import fold, load_plain, standardize

# Purposes that random numbers are drawn for, so that no two share a stream.
_ORDER, _AUGMENT, _DROPOUT = range(3)


@dataclass(frozen=True, kw_only=True)
class BatchFacts:
    """After one step: its loss, and the share of this epoch's images that were right so far."""

    index: int
    loss: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class EpochStart:
    """Before an epoch. Epochs count from 1."""

    epoch: int
    epochs: int
    num_batches: int
    lr: float


@dataclass(frozen=True, kw_only=True)
class EpochFacts:
    """After an epoch.

    `train` is measured while the net learns, with dropout and augmented images; the others after it, on
    plain images and, where there is one, with the average of the weights. `lr` is the rate that the epoch
    began with.
    """

    epoch: int
    lr: float
    train: Score
    validation: Score | None
    test: Score
    train_seconds: float
    evaluation_seconds: float


class Observer:
    """Watches a training; override what is of interest. The loop itself prints and writes nothing."""

    def run_started(self, folder: Path, opening: Sequence[str]) -> None:
        """The run's folder is made; `opening` are the lines that describe the run."""

    def epoch_started(self, start: EpochStart) -> None: ...

    def batch_done(self, batch: BatchFacts) -> None: ...

    def epoch_done(self, facts: EpochFacts, net: nn.Module) -> None: ...

    def training_done(self, seconds: float) -> None:
        """After the last epoch; `seconds` are of training and evaluation together."""

    def close(self) -> None:
        """Give back what the observer holds, a terminal for example; the training has ended, or failed."""


def fit(
    net: nn.Module,
    data: ImageData,
    config: TrainConfig,
    augment: Augmenter,
    *,
    seed: int,
    observers: Sequence[Observer] = (),
) -> tuple[EpochFacts, ...]:
    """Train a net in place; where the weights are averaged, it ends up with the average.

    Args:
        net: From images `(N, C, H, W)` to logits `(N, num_classes)`.
        data: Training, test and, where a schedule monitors it, validation images.
        config: The `[train]` table of a recipe.
        augment: Changes the training images.
        seed: Of the order of the images, augmentation and dropout. Equal seeds give equal weights on the
            same machine with the same number of threads.
        observers: Told of every batch and epoch, in this order.

    Returns:
        The facts of each epoch.

    Raises:
        DivergedError: A loss is not finite. The weights are those before that step.
    """
    trainer = _Trainer(net, data, config, augment, seed=seed, observers=observers)
    # Dropout draws from PyTorch's global generator; the caller's is left as it was.
    with torch.random.fork_rng(devices=[trainer.device] if trainer.device.type == "cuda" else []):
        try:
            history = tuple(trainer.epoch(epoch) for epoch in range(1, config.epochs_run + 1))
        finally:
            fold(net)
    net.load_state_dict(trainer.evaluated.state_dict())
    return history


class _Trainer:
    """What a training holds, and its three levels: an epoch, the epoch's steps, a step."""

    def __init__(
        self,
        net: nn.Module,
        data: ImageData,
        config: TrainConfig,
        augment: Augmenter,
        *,
        seed: int,
        observers: Sequence[Observer],
    ) -> None:
        self.data, self.config, self.augment, self.seed = data, config, augment, seed
        self.observers = observers
        self.device = runtime.choose_device(config.device)
        self.dtype = runtime.dtype_of(config.precision)
        self.normalize = Normalizer.of(data, self.device)
        self.net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plain = None
        if config.weight_standardization:
            self.plain = copy.deepcopy(net)
            standardize(net)
        self.learner = _replica(net)
        self.num_batches = num_batches(data.train, config.batch_size)
        self.optimizer = make_optimizer(config.optimizer, net.parameters())
        self.rate = LearningRate(
            config.schedule, self.optimizer, epochs=config.epochs, steps_per_epoch=self.num_batches
        )
        self.average = WeightAverage(net, config.ema) if config.ema else None
        self.evaluated: nn.Module = net
        self.criterion = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)

    def epoch(self, epoch: int) -> EpochFacts:
        """Train one epoch, evaluate, and let the schedule and the observers know."""
        start = EpochStart(
            epoch=epoch, epochs=self.config.epochs_run, num_batches=self.num_batches, lr=self.rate.value
        )
        for observer in self.observers:
            observer.epoch_started(start)
        began = time.perf_counter()
        train = self.steps(epoch)
        trained = time.perf_counter()
        self.evaluated = self.current()
        validation = None if self.data.validation is None else self.score(self.data.validation)
        test = self.score(self.data.test)
        facts = EpochFacts(
            epoch=epoch,
            lr=start.lr,
            train=train,
            validation=validation,
            test=test,
            train_seconds=trained - began,
            evaluation_seconds=time.perf_counter() - trained,
        )
        for observer in self.observers:
            observer.epoch_done(facts, self.evaluated)
        self.rate.epoch_done(_monitored(self.config, facts).accuracy)
        return facts

    def current(self) -> nn.Module:
        """The net as it stands, or the average of its weights; with plain layers in any case."""
        net: nn.Module = self.net
        if self.average:
            net = self.average.evaluated(self.data.train, self.normalize, self.dtype)
        if self.plain is None:
            return net
        load_plain(self.plain, net)
        return self.plain

    def score(self, split: Split) -> Score:
        return evaluate_split(self.evaluated, split, self.normalize, self.dtype)

    def steps(self, epoch: int) -> Score:
        """Go through the training set once."""
        # Seeded anew each epoch, so that an epoch depends on the weights and its number alone.
        self.augment.reseed(runtime.derive_seed(self.seed, epoch, _AUGMENT))
        runtime.seed_everything(runtime.derive_seed(self.seed, epoch, _DROPOUT))
        order = runtime.generator(self.seed, epoch, _ORDER)
        self.learner.train()
        loss_sum, correct, seen = 0.0, 0, 0
        for index, indices in enumerate(shuffled(len(self.data.train), self.config.batch_size, order)):
            loss, right = self.step(indices, where=f"epoch {epoch}, batch {index}")
            loss_sum += loss * len(indices)
            correct += right
            seen += len(indices)
            for observer in self.observers:
                observer.batch_done(BatchFacts(index=index, loss=loss, accuracy=correct / seen))
        return Score(loss=loss_sum / seen, correct=correct, total=seen)

    def step(self, indices: NDArray[np.int64], where: str) -> tuple[float, int]:
        """Forward, backward, update; the loss, and how many images were right."""
        images = self.normalize(self.augment(self.data.train.images[indices]))
        labels = torch.from_numpy(self.data.train.labels[indices]).to(self.device)
        with runtime.autocast(self.device, self.dtype):
            logits = self.learner(images)
        # The loss in fp32: its sum over the classes would lose digits in bf16.
        loss = self.criterion(logits.float(), labels)
        value: float = loss.item()
        if not math.isfinite(value):
            raise _diverged(where, value, self.rate.value)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.rate.step_done()
        if self.average:
            self.average.step_done(self.net)
        return value, int((logits.argmax(1) == labels).sum())


def _replica(net: nn.Module) -> nn.Module:
    """A net of the same parameters and buffers, whose layers are fit for training."""
    shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    replica = copy.deepcopy(net, shared)
    use_fast_dropout(replica)
    return replica


def _monitored(config: TrainConfig, facts: EpochFacts) -> Score:
    """What a plateau schedule looks at. The other schedules look at nothing."""
    if isinstance(config.schedule, Plateau) and config.schedule.monitor == "test":
        return facts.test
    return facts.validation or facts.train


def _diverged(where: str, loss: float, lr: float) -> DivergedError:
    return DivergedError(
        f"the loss is {loss}; training stopped before this step changed the weights",
        where=where,
        fix=f"lower the learning rate, {lr:g} here: train.optimizer.lr={lr / 10:g}",
    )
