"""The training loop: plain PyTorch, told from top to bottom; observers see every batch and epoch."""

import copy
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from convsmith.data.augment.transforms import AugmentConfig
from convsmith.data.dataset import ImageData, Split, TrainingData
from convsmith.data.normalize import normalized
from convsmith.data.pipeline import BatchSpec, Pipeline
from convsmith.errors import DivergedError, StoppedError
from convsmith.system.device import choose_device, dtype_of
from convsmith.system.memory import enough_memory, keep_freed_memory
from convsmith.system.rng import derive_seed, new_generator, own_random_state, seed_everything
from convsmith.system.signals import StopRequest
from convsmith.training.averages import WeightAverages
from convsmith.training.batches import followed, num_batches, shuffled
from convsmith.training.compilation import compilable
from convsmith.training.config import Plateau, TrainConfig
from convsmith.training.distillation import Teacher
from convsmith.training.gradients import GradientWorkers
from convsmith.training.metrics import SplitMetrics, evaluate_split
from convsmith.training.optimizers import LearningRate, make_optimizers
from convsmith.training.profiler import Profile
from convsmith.training.reading import Reading
from convsmith.training.standardization import fold, load_plain, standardize
from convsmith.training.whitening import IMAGES as WHITENING_IMAGES
from convsmith.training.whitening import whiten_first_layer

if TYPE_CHECKING:
    from convsmith.runs.checkpoint import TrainingState

# A purpose that random numbers are drawn for; `learner` has the others.
_ORDER = 0


@dataclass(frozen=True, kw_only=True)
class BatchMetrics:
    """After one step: its loss, and the share of this epoch's images that were right so far."""

    index: int
    loss: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """What a step found; on the device until it is read."""

    batch: BatchSpec
    found: Reading


@dataclass(frozen=True, kw_only=True)
class EpochStart:
    """Before an epoch. Epochs count from 1."""

    epoch: int
    epochs: int
    num_batches: int
    lr: float


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """After an epoch.

    `train` is measured while the net learns, with dropout and augmented images; the others after it, on
    plain images and, where there is one, with the average of the weights. `lr` is the rate that the epoch
    began with.
    """

    epoch: int
    lr: float
    train: SplitMetrics
    validation: SplitMetrics | None
    test: SplitMetrics | None
    train_seconds: float
    evaluation_seconds: float


@dataclass(kw_only=True)
class Progress:
    """How far the epoch in progress is.

    Attributes:
        epoch: Its number, from 1; one more than the last where the training is complete.
        step: How many of its batches are done.
        lr: The learning rate that it began with.
        loss_sum: Of the images of those batches.
        correct: How many of these images were right.
        seen: How many there were.
        seconds: What the epoch took until it was interrupted.
    """

    epoch: int = 1
    step: int = 0
    lr: float = 0.0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0


class Callback:
    """Watches a training; override what is of interest. The loop itself prints and writes nothing."""

    def run_started(self, folder: Path, opening: Sequence[str]) -> None:
        """The run's folder is made; `opening` are the lines that describe the run."""

    def resumed(self, trainer: "Trainer") -> None:
        """The training goes on from a saved state; `trainer` is brought to it."""

    def compiled(self, seconds: float) -> None:
        """The net's steps are compiled, which took `seconds`; no epoch's time has them."""

    def checkpoint(self, trainer: "Trainer") -> None:
        """The training could go on from what `trainer` holds now: at its start, after an epoch, at a stop."""

    def epoch_started(self, start: EpochStart) -> None: ...

    def batch_done(self, batch: BatchMetrics) -> None: ...

    def epoch_done(self, facts: EpochMetrics, net: nn.Module) -> None: ...

    def training_done(self, seconds: float) -> None:
        """After the last epoch; `seconds` are of training and evaluation together."""

    def close(self) -> None:
        """Give back what the observer holds, a terminal for example; the training has ended, or failed."""


def fit(
    net: nn.Module,
    data: TrainingData,
    config: TrainConfig,
    augment: AugmentConfig,
    *,
    seed: int,
    teacher: Teacher | None = None,
    callbacks: Sequence[Callback] = (),
    profile: Profile | None = None,
    state: "TrainingState | None" = None,
    stop: StopRequest | None = None,
) -> tuple[EpochMetrics, ...]:
    """Train a net in place; where the weights are averaged, it ends up with the average.

    Args:
        net: From images `(N, C, H, W)` to logits `(N, num_classes)`.
        data: Training images, and those that the net is scored by after each epoch: validation and test
            images, where there are any.
        config: The `[train]` table of a recipe.
        augment: The `[augment]` table of a recipe.
        seed: Of the order of the images, augmentation and dropout. Equal seeds give equal weights on the
            same machine with the same number of threads.
        teacher: What the net learns from beside the labels.
        callbacks: Told of every batch and epoch, in this order.
        profile: Where one is given, it collects where the time goes.
        state: Where to go on from; the beginning if left out.
        stop: Looked at after every step; the training ends there once it is asked to.

    Returns:
        The facts of each epoch, those before `state` included.

    Raises:
        DivergedError: A loss or gradient is not finite; the weights are those before that step, or on CUDA,
            where it shows a step later, spoilt. Or weights are not finite, at the end of an epoch or at a
            stop.
        StoppedError: `stop` was asked for. The observers have seen a last checkpoint.
        RunError: `state` is that of another net or optimiser.
        RecipeError: The net is to be compiled, and PyTorch cannot do so here.
    """
    trainer = Trainer(
        net,
        data,
        config,
        augment,
        seed=seed,
        teacher=teacher,
        callbacks=callbacks,
        profile=profile or Profile(),
        stop=stop or StopRequest(),
    )
    # Dropout draws from PyTorch's global generator; the caller's is left as it was.
    with own_random_state(trainer.device):
        try:
            trainer.start(state)
            while trainer.progress.epoch <= config.epochs_run:
                trainer.epoch()
        finally:
            trainer.close()
            fold(net)
    net.load_state_dict(trainer.evaluated.state_dict())
    return tuple(trainer.history)


class Trainer:
    """What a training holds, and its three levels: an epoch, the epoch's steps, a step."""

    def __init__(
        self,
        net: nn.Module,
        data: TrainingData,
        config: TrainConfig,
        augment: AugmentConfig,
        *,
        seed: int,
        callbacks: Sequence[Callback],
        profile: Profile,
        teacher: Teacher | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        self.data, self.config, self.seed = data, config, seed
        self.callbacks, self.profile = callbacks, profile
        self.stop = stop or StopRequest()
        self.progress, self.history = Progress(), list[EpochMetrics]()
        self.began = time.perf_counter()
        self.device = choose_device(config.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.dtype = dtype_of(config.precision)
        self.pipeline = Pipeline(data, augment, seed=seed, device=self.device)
        self.normalize = self.pipeline.normalize
        self.net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.evaluated: nn.Module = net
        self.plain = self.prepare_layers()
        self.num_batches = num_batches(data.train, config.batch_size)
        self.optimizers = make_optimizers(config.optimizer, net)
        self.rate = LearningRate(
            config.schedule, self.optimizers, epochs=config.epochs, steps_per_epoch=self.num_batches
        )
        self.averages = WeightAverages(net, config)
        self.learner = GradientWorkers(
            net,
            self.pipeline,
            label_smoothing=config.label_smoothing,
            dtype=self.dtype,
            parts=config.num_microbatches,
            profile=profile,
            teacher=teacher,
            compiled=config.compile,
        )
        self.unread = deque[StepMetrics]()
        # Whitening is learning from images, and belongs to the first epoch's time.
        self.progress.seconds = self.seconds

    def prepare_layers(self) -> nn.Module | None:
        """Whiten and standardise where the recipe says so; a copy in plain layers if the net's are not."""
        if self.config.whitening:
            images = normalized(self.data.train.images, self.normalize, WHITENING_IMAGES)
            whiten_first_layer(self.net, next(images))
        if not self.config.weight_standardization:
            return None
        plain: nn.Module = copy.deepcopy(self.net)
        standardize(self.net)
        return plain

    @property
    def seconds(self) -> float:
        """What the training took so far, before an interruption too."""
        return time.perf_counter() - self.began

    @property
    def steps_unread(self) -> int:
        """How many steps are ahead of the one whose numbers are read.

        A GPU works through a queue, and would stand idle while its last step's are waited for.
        """
        return 1 if self.device.type == "cuda" else 0

    def start(self, state: "TrainingState | None") -> None:
        """Go to where a training stopped, or to its beginning."""
        if state is None:
            self.checkpoint()
        else:
            state.restore(self)
            if self.history and not self.progress.step:
                self.evaluated = self.in_plain_layers()
            for callback in self.callbacks:
                callback.resumed(self)
        if self.config.compile:
            self.compile()

    def compile(self) -> None:
        """Compile for every shape of batch to come, and change nothing that the training depends on."""
        began = time.perf_counter()
        profile, self.learner.profile = self.learner.profile, Profile()
        self.learner.train()
        total, batch_size = len(self.data.train), self.config.batch_size
        counts = {min(batch_size, total), total - (self.num_batches - 1) * batch_size}
        sizes = {self.image_size(self.progress.epoch, self.progress.step), None}
        memory = enough_memory("compiling", self.device, batch_size)
        with compilable(), memory, own_random_state(self.device):
            for count, size in product(counts, sizes):
                self.learner.rehearse(count, size)
        self.learner.profile = profile
        for callback in self.callbacks:
            callback.compiled(time.perf_counter() - began)

    def checkpoint(self) -> None:
        for callback in self.callbacks:
            callback.checkpoint(self)

    def epoch(self) -> EpochMetrics:
        """Train an epoch, or what is left of it, evaluate, and let the schedule and the observers know."""
        progress = self.progress
        if not progress.step:
            progress.lr = self.rate.value
        start = EpochStart(
            epoch=progress.epoch, epochs=self.config.epochs_run, num_batches=self.num_batches, lr=progress.lr
        )
        for callback in self.callbacks:
            callback.epoch_started(start)
        began = time.perf_counter() - progress.seconds
        train = self.steps(began)
        self.check_weights()
        # What it takes to have the weights that are evaluated and kept is training.
        self.evaluated = self.current()
        trained = time.perf_counter()
        with self.profile.phase("evaluation"):
            validation = None if self.data.validation is None else self.score(self.data.validation)
            test = self.score(self.data.test) if isinstance(self.data, ImageData) else None
        facts = EpochMetrics(
            epoch=start.epoch,
            lr=start.lr,
            train=train,
            validation=validation,
            test=test,
            train_seconds=trained - began,
            evaluation_seconds=time.perf_counter() - trained,
        )
        self.history.append(facts)
        for callback in self.callbacks:
            callback.epoch_done(facts, self.evaluated)
        self.rate.epoch_done(self.monitored(facts))
        self.progress = Progress(epoch=start.epoch + 1)
        self.checkpoint()
        self.stop_if_asked(f"after epoch {start.epoch} of {start.epochs}")
        return facts

    def current(self) -> nn.Module:
        """The net as it stands, or weights that follow it, with statistics that belong to them."""
        self.learner.gather_statistics()
        if self.averages.kept:
            self.averages.kept.measure_statistics(self.data.train, self.normalize, self.dtype)
        return self.in_plain_layers()

    def in_plain_layers(self) -> nn.Module:
        """What is evaluated and kept, with the statistics that were last measured for it."""
        net = self.averages.kept.net if self.averages.kept else self.net
        if self.plain is None:
            return net
        load_plain(self.plain, net)
        return self.plain

    def score(self, split: Split) -> SplitMetrics:
        return evaluate_split(self.evaluated, split, self.normalize, self.dtype)

    def steps(self, began: float) -> SplitMetrics:
        """Go through the training set once, or through what is left of it; `began` is the epoch's begin."""
        progress = self.progress
        if not progress.step:
            # For layers that draw from the global generator: an epoch depends on weights and number alone.
            seed_everything(derive_seed(self.seed, progress.epoch))
        order = new_generator(self.seed, progress.epoch, _ORDER)
        self.learner.train()
        shuffle = enumerate(shuffled(len(self.data.train), self.config.batch_size, order))
        batches = (self.batch(indices, progress.epoch, index) for index, indices in shuffle)
        for batch, following in followed(islice(batches, progress.step, None)):
            self.unread.append(self.step(batch, following))
            self.read(leave=self.steps_unread if following else 0)
            # After the last batch only the evaluation is left, which ends the epoch.
            if self.stop.signal and following:
                self.read(leave=0)
                progress.seconds = time.perf_counter() - began
                self.check_weights()
                self.checkpoint()
                self.stop_if_asked(
                    f"in epoch {progress.epoch}, after {progress.step} of {self.num_batches} batches"
                )
        return SplitMetrics(
            loss=progress.loss_sum / progress.seen, correct=progress.correct, total=progress.seen
        )

    def read(self, leave: int) -> None:
        """Note what the steps found, but for the last ones, and let the observers know."""
        progress = self.progress
        while len(self.unread) > leave:
            facts = self.unread.popleft()
            loss, right = self.checked(facts)
            progress.step = facts.batch.step + 1
            progress.loss_sum += loss * len(facts.batch.indices)
            progress.correct += right
            progress.seen += len(facts.batch.indices)
            accuracy = progress.correct / progress.seen
            for callback in self.callbacks:
                callback.batch_done(BatchMetrics(index=facts.batch.step, loss=loss, accuracy=accuracy))

    def stop_if_asked(self, where: str) -> None:
        if self.stop.signal:
            raise StoppedError(self.stop.signal, where)

    def batch(self, indices: Tensor, epoch: int, step: int) -> BatchSpec:
        """The images of a step, at the size that they have by then."""
        return BatchSpec(indices=indices, epoch=epoch, step=step, image_size=self.image_size(epoch, step))

    def step(self, batch: BatchSpec, following: BatchSpec | None = None) -> StepMetrics:
        """Forward, backward, update.

        The images of the batch that follows are prepared meanwhile, where one is named.
        """
        with enough_memory("training", self.device, self.config.batch_size), self.learner.one_core():
            outcome = self.learner.learn(batch, following)
            found = Reading([outcome.loss, self.learner.gradient_norm(), outcome.correct])
            facts = StepMetrics(batch=batch, found=found)
            if not self.steps_unread:
                # The weights stay as they are if the numbers, which are there already, are not finite.
                self.checked(facts)
            with self.profile.phase("optimizer"):
                self.update()
                self.rate.step_done()
                self.averages.step_done(self.net, self.steps_before(batch.epoch, batch.step) + 1)
        return facts

    def checked(self, facts: StepMetrics) -> tuple[float, int]:
        """A step's loss, and how many images were right.

        Raises:
            DivergedError: The loss or the gradient is not finite.
        """
        loss, norm, correct = facts.found.values
        if not math.isfinite(loss) or not math.isfinite(norm):
            when = "one step later" if self.steps_unread else "before this step changed the weights"
            what = f"the loss is {loss:g}, the gradient's norm {norm:g}; training stopped {when}"
            raise self.diverged(f"epoch {facts.batch.epoch}, batch {facts.batch.step}", what)
        return loss, int(correct)

    def update(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def image_size(self, epoch: int, step: int) -> int | None:
        """What the images of a step are brought to; None for their own size."""
        return self.config.image_size(epoch, step, self.num_batches)

    def steps_before(self, epoch: int, step: int) -> int:
        """How many steps of the training come before a step of an epoch."""
        return (epoch - 1) * self.num_batches + step

    def check_weights(self) -> None:
        """Before weights are kept: an update by a finite loss can still have spoilt them."""
        for name, tensor in self.net.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                place = f"epoch {self.progress.epoch}, batch {self.progress.step - 1}"
                raise self.diverged(place, f"{name} is not finite after this step, and is not kept")

    def diverged(self, where: str, what: str) -> DivergedError:
        lr = self.rate.value
        fix = f"lower the learning rate, {lr:g} here: train.optimizer.lr={lr / 10:g}"
        return DivergedError(what, where=where, fix=fix)

    def monitored(self, facts: EpochMetrics) -> float:
        """The accuracy that a plateau schedule looks at. The other schedules look at nothing."""
        if isinstance(self.config.schedule, Plateau) and self.config.schedule.monitor == "test":
            chosen = facts.test or facts.validation
        else:
            chosen = facts.validation
        return (chosen or facts.train).accuracy

    def close(self) -> None:
        self.learner.close()
