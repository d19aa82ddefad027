"""The training loop."""

import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, product

import torch
from torch import Tensor, nn

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.dataset import ImageDataset, Split, TrainingData
from convsmith.data.fold import TEST_SET
from convsmith.data.normalize import normalized_batches
from convsmith.data.pipeline import BatchSpec, Pipeline
from convsmith.errors import DivergedError, RecipeError, StoppedError
from convsmith.modules.behaviour import PLAIN, Behaviour
from convsmith.modules.state import Layout, copy_state, state_of
from convsmith.system.device import choose_device, dtype_of, torch_threads
from convsmith.system.memory import enough_memory, keep_freed_memory
from convsmith.system.memory_format import to_device
from convsmith.system.rng import (
    derive_seed,
    new_generator,
    own_random_state,
    random_state,
    seed_everything,
    set_random_state,
)
from convsmith.system.signals import StopRequest
from convsmith.tracing.copies import copy_module
from convsmith.training.averages import STATISTICS_IMAGES, WeightAverages
from convsmith.training.batch_sharing import BatchSharing
from convsmith.training.batches import batch_sizes, num_batches, with_next
from convsmith.training.callbacks import Callback, CallbackList, EpochStart
from convsmith.training.class_weights import loss_weights_of
from convsmith.training.classifier_layer import classifier_of
from convsmith.training.compilation import compilation_errors
from convsmith.training.config import TrainConfig
from convsmith.training.distillation import Teacher
from convsmith.training.freezing import LayerPlan
from convsmith.training.gradients import GradientWorkers
from convsmith.training.host_copy import HostCopy
from convsmith.training.learning_rate import LearningRate
from convsmith.training.metrics import BatchMetrics, EpochMetrics, SplitMetrics, evaluate_split
from convsmith.training.optimizers.state import load_optimizer_state, optimizer_state
from convsmith.training.process_group import ALONE, ProcessGroup
from convsmith.training.profiler import Profile
from convsmith.training.sampling import Sampler
from convsmith.training.selection import BestWeights, best_epoch, selection_problems, stop_reason, stops_early
from convsmith.training.standardization import copy_effective_weights, remove_standardization, standardize
from convsmith.training.state import Progress, TrainerState, copy_tensors, mismatch
from convsmith.training.whitening import IMAGES as WHITENING_IMAGES
from convsmith.training.whitening import first_convolution, whiten_first_layer

# Keys of the random streams for the order of the images, and for the images that statistics are measured on;
# `gradients` has the other keys.
_ORDER, _STATISTICS = 0, 6


@dataclass(frozen=True, kw_only=True)
class _PendingStep:
    """A step whose metrics may still be on the device: loss, gradient norm, correct."""

    batch: BatchSpec
    metrics: HostCopy


def fit(
    net: nn.Module,
    data: TrainingData,
    config: TrainConfig,
    augment: AugmentConfig,
    *,
    seed: int,
    behaviour: Behaviour = PLAIN,
    teacher: Teacher | None = None,
    callbacks: Sequence[Callback] = (),
    profile: Profile | None = None,
    state: TrainerState | None = None,
    stop: StopRequest | None = None,
    group: ProcessGroup = ALONE,
) -> tuple[EpochMetrics, ...]:
    """Train a net in place. If the weights are averaged, the net ends up with the average.

    With `train.keep = "best"` it ends up with the weights of the best epoch by the validation split.

    Args:
        net: From images `(N, C, H, W)` to logits `(N, num_classes)`.
        data: Training images, and the validation and test images for the evaluation after each epoch.
        config: The `[train]` table of a recipe.
        augment: The `[augment]` table of a recipe.
        seed: Seed of the order of the images, augmentation and dropout. Equal seeds give equal weights on the
            same machine, with several microbatches for any number of threads and processes, otherwise with
            the same number of threads.
        behaviour: What the net needs.
        teacher: Teacher for knowledge distillation.
        callbacks: Called in this order.
        profile: Collects the time of each phase.
        state: State to continue from.
        stop: Checked after every step.
        group: The processes that share the training. All call this function with equal arguments, but with
            callbacks and signals of their own.

    Returns:
        The metrics of each epoch, including those before `state`.

    Raises:
        DivergedError: A loss or gradient is not finite; the net has the weights before that step (on CUDA,
            where this is detected one step later, the weights may be invalid). Or weights are not finite at
            the end of an epoch or at a stop.
        StoppedError: `stop` was requested. `on_checkpoint` has been called.
        RunError: `state` belongs to another net or optimizer.
        RecipeError: PyTorch cannot compile the net on this machine, no weight can have the L1 penalty, the
            class weights do not fit the classes, or there is no validation split to select an epoch by.
        ModuleError: A pass of a user's own module fails.
        ProcessError: Another process has ended.
    """
    trainer = Trainer(
        net,
        data,
        config,
        augment,
        seed=seed,
        behaviour=behaviour,
        teacher=teacher,
        callbacks=callbacks,
        profile=profile,
        stop=stop,
        group=group,
    )
    # Dropout draws from PyTorch's global generator; the caller's state is restored.
    with own_random_state(trainer.device):
        try:
            trainer.start(state)
            while trainer.progress.epoch <= config.epochs_run and not trainer.stops_early:
                trainer.train_epoch()
        finally:
            trainer.close()
            remove_standardization(net)
    copy_state(trainer.eval_net, net)
    if trainer.best is not None and trainer.history:
        trainer.best.copy_to(net)
    return tuple(trainer.history)


class Trainer:
    """Trains a net epoch by epoch and step by step. `fit` is the usual way to use it.

    Attributes:
        net: The net in training.
        eval_net: The net that is evaluated: `net`, or an average of its weights.
        best: The weights of the best epoch; None if those of the last are kept.
        progress: Position within the current epoch.
        history: Metrics of the completed epochs.
    """

    def __init__(
        self,
        net: nn.Module,
        data: TrainingData,
        config: TrainConfig,
        augment: AugmentConfig,
        *,
        seed: int,
        behaviour: Behaviour = PLAIN,
        callbacks: Sequence[Callback] = (),
        profile: Profile | None = None,
        teacher: Teacher | None = None,
        stop: StopRequest | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        if problems := [*selection_problems(config, data)]:
            raise RecipeError.of(problems)
        self.data, self.config, self.seed = data, config, seed
        self.sampler = Sampler(data.train.labels, config.sampling)
        self.callbacks, self.profile = CallbackList(callbacks), profile or Profile()
        self.stop, self.group = stop or StopRequest(), group
        self.progress, self.history = Progress(), list[EpochMetrics]()
        self.start_time = time.perf_counter()
        self.device = choose_device(config.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.dtype = dtype_of(config.precision)
        self.pipeline = Pipeline(data, augment, seed=seed, device=self.device)
        self.normalize = self.pipeline.normalize
        self.net, self.behaviour = to_device(net, self.device), behaviour
        self.eval_net: nn.Module = net
        with behaviour.guard("the forward pass"):
            pair = next(normalized_batches(data.train.images[:2], self.normalize, 2))
            classifier = classifier_of(net, pair)
            self.layers = LayerPlan(net, config, pair)
        self.plain_net = self._prepare_layers(classifier)
        self.best = BestWeights(self.plain_net or net) if config.keeps_best else None
        self.layout = Layout(net)
        self.finite = {name for name, tensor in state_of(net).items() if _is_finite(tensor)}
        self.num_batches = num_batches(len(data.train), config.batch_size)
        self.optimizers = config.optimizer.build(net, classifier, self.layers.learning)
        planned = config.planned_epochs(1, 0)
        self.schedule = LearningRate(
            config.schedule, self.optimizers, epochs=planned, steps_per_epoch=self.num_batches
        )
        self.averages = WeightAverages(net, config)
        self.gradients = self._gradient_workers(teacher)
        self._freeze(1)
        self.pending, self.agreed_stop = deque[_PendingStep](), 0
        # Whitening uses the training images, so its time counts as training.
        self.progress.seconds = self.seconds

    def _gradient_workers(self, teacher: Teacher | None) -> GradientWorkers:
        return GradientWorkers(
            self.net,
            self.pipeline,
            label_smoothing=self.config.label_smoothing,
            dtype=self.dtype,
            num_microbatches=self.config.num_microbatches,
            profile=self.profile,
            teacher=teacher,
            compiled=self.config.compile,
            behaviour=self.behaviour,
            l1=self.config.l1,
            class_weights=loss_weights_of(self.config, self.data),
            group=self.group,
        )

    def _prepare_layers(self, classifier: nn.Module | None) -> nn.Module | None:
        """Apply whitening and weight standardization; return a plain copy of the net for the latter."""
        if self.config.whitening and self.config.start_from:
            # Its filters are those that the other layers of the start were trained with.
            first_convolution(self.net).requires_grad_(requires_grad=False)
        elif self.config.whitening:
            images = normalized_batches(self.data.train.images, self.normalize, WHITENING_IMAGES)
            # Sums over images are rounded in an order that depends on the number of threads.
            with torch_threads(1) if self.config.is_independent_of_threads else nullcontext():
                whiten_first_layer(self.net, next(images))
        if not self.config.weight_standardization:
            return None
        plain = copy_module(self.net)
        always = () if self.config.freeze_epochs else self.layers.layers
        standardize(self.net, classifier, [self.net.get_submodule(name) for name in always])
        return plain

    def _freeze(self, epoch: int) -> None:
        """Freeze the layers of an epoch; those of the first epochs only are learned from then on."""
        self.layers.set_gradients(epoch)
        self.gradients.freeze(self.layers.frozen_at(epoch))

    @property
    def seconds(self) -> float:
        """Training time so far, including the time before an interruption."""
        return time.perf_counter() - self.start_time

    @property
    def max_pending_steps(self) -> int:
        """Number of steps to queue before the metrics of the oldest are read.

        A GPU would be idle while the CPU waits for the metrics of its latest step.
        """
        return 1 if self.device.type == "cuda" else 0

    def state_dict(self) -> TrainerState:
        """Return the state between two steps. Its tensors are live."""
        tensors = {
            "net": self.layout.select(state_of(self.net)),
            **self.averages.state_dict(),
            **self.gradients.state_dict(),
            **(self.best.state_dict() if self.best else {}),
            "random": random_state(self.device),
        }
        for index, optimizer in enumerate(self.optimizers):
            tensors[f"optimizer{index}"] = optimizer_state(optimizer, self.net)
        return TrainerState(
            progress=replace(self.progress),
            history=tuple(self.history),
            num_batches=self.num_batches,
            seconds=self.seconds,
            tensors=tensors,
        )

    def load_state_dict(self, state: TrainerState) -> None:
        """Continue from a state.

        Raises:
            RunError: The state belongs to another net or optimizer, or lacks the weights of the best epoch.
        """
        tensors = {name: dict(each) for name, each in state.tensors.items()}
        if self.best is not None:
            expected = best_epoch(state.history, self.config)
            self.best.load_state_dict(tensors, self.plain_net or self.net, expected)
        # Of a recipe that kept the best epoch and now keeps the last.
        tensors.pop("best", None)
        copy_tensors("net", tensors.pop("net", {}), self.layout.select(state_of(self.net)))
        self.averages.load_state_dict(tensors)
        self.gradients.load_state_dict(tensors)
        for index, optimizer in enumerate(self.optimizers):
            name = f"optimizer{index}"
            load_optimizer_state(name, optimizer, self.net, tensors.pop(name, {}))
        random = tensors.pop("random", {})
        if tensors or "cpu" not in random or {*random} - {"cpu", "cuda"}:
            raise mismatch(tensors or ["random"])
        set_random_state(random, self.device)
        self.history = list(state.history)
        self.start_time = time.perf_counter() - state.seconds
        self.progress = replace(state.progress)
        if state.num_batches != self.num_batches:
            # The position within the epoch means nothing for other batches: the epoch starts again.
            self.progress = Progress(epoch=state.progress.epoch)
        self._freeze(self.progress.epoch)
        self._plan_schedule(self.progress.epoch, self.progress.step)
        if self.history and not self.progress.step:
            self.eval_net = self._export_weights()

    @property
    def stops_early(self) -> bool:
        """Whether early stopping ends the training after the last complete epoch."""
        return not self.progress.step and stops_early(self.history, self.config)

    def _kept_net(self) -> nn.Module:
        """Return the net whose weights are kept so far."""
        if self.best is None or not self.best.epoch:
            return self.eval_net
        return self.best.net(self.plain_net or self.net)

    def start(self, state: TrainerState | None = None) -> None:
        """Continue from a state, or start from the beginning."""
        if state is None:
            self.checkpoint()
        else:
            self.load_state_dict(state)
            self.callbacks.on_resume(self.state_dict(), self._kept_net())
        if self.config.compile:
            self.compile()

    def compile(self) -> None:
        """Compile the training step for every batch shape, without side effects on the training."""
        started = time.perf_counter()
        profile, self.gradients.profile = self.gradients.profile, Profile()
        self.gradients.train()
        batch_size = self.config.batch_size
        counts = sorted(batch_sizes(len(self.data.train), batch_size), reverse=True)
        progress = self.progress
        sizes = {self.config.image_size(progress.epoch, progress.step, self.num_batches), None}
        memory = enough_memory("compiling", self.device, batch_size)
        with compilation_errors(), memory, own_random_state(self.device):
            for count, size in product(counts, sizes):
                self.gradients.warm_up(count, size)
        self.gradients.profile = profile
        self.callbacks.on_compile_end(time.perf_counter() - started)

    def checkpoint(self) -> None:
        """Pass the current state to the callbacks."""
        self.callbacks.on_checkpoint(self.state_dict())

    def train_epoch(self) -> EpochMetrics:
        """Train for one epoch, or for the rest of it, and evaluate."""
        progress = self.progress
        if not progress.step:
            self._freeze(progress.epoch)
            self._begin_phase(progress.epoch, 0)
            progress.lr = self.schedule.lr
        start = EpochStart(
            epoch=progress.epoch,
            epochs=self.config.epochs_run,
            num_batches=self.num_batches,
            lr=progress.lr,
            may_stop=self.config.early_stopping is not None,
            evaluated=(self.data.evaluation_set if isinstance(self.data, ImageDataset) else TEST_SET).heading,
        )
        self.callbacks.on_epoch_start(start)
        started = time.perf_counter() - progress.seconds
        train = self._train_batches(started)
        self._check_weights()
        # The time to obtain the weights that are evaluated counts as training.
        self.eval_net = self._update_eval_net()
        trained = time.perf_counter()
        with self.profile.phase("evaluation"):
            validation = None if self.data.validation is None else self.evaluate(self.data.validation)
            test = self.evaluate(self.data.test) if isinstance(self.data, ImageDataset) else None
        metrics = EpochMetrics(
            epoch=start.epoch,
            lr=start.lr,
            train=train,
            validation=validation,
            test=test,
            train_seconds=trained - started,
            evaluation_seconds=time.perf_counter() - trained,
            clipped=progress.clipped / self.num_batches if self.config.clip_gradient_norm else None,
        )
        self.history.append(metrics)
        self._select(metrics)
        self.callbacks.on_epoch_end(metrics, self.eval_net)
        self.schedule.step_epoch(metrics)
        self.progress = Progress(epoch=start.epoch + 1)
        self.checkpoint()
        self.agreed_stop = self.group.maximum(self.stop.signal)
        self._stop_if_requested(f"after epoch {start.epoch} of {start.epochs}")
        return metrics

    def _select(self, metrics: EpochMetrics) -> None:
        """Keep the weights after an epoch if they are the best so far, and announce an early stop."""
        if self.best is not None and best_epoch(self.history, self.config) == metrics.epoch:
            self.best.keep(self.eval_net, metrics.epoch)
            self.callbacks.on_best_epoch(metrics, self.eval_net)
        if metrics.epoch < self.config.epochs_run and stops_early(self.history, self.config):
            self.callbacks.on_early_stop(stop_reason(self.history, self.config))

    def evaluate(self, split: Split) -> SplitMetrics:
        """Evaluate `eval_net`."""
        with self.behaviour.guard("the forward pass in evaluation"):
            return evaluate_split(self.eval_net, split, self.normalize, self.dtype, self._sharing)

    def _update_eval_net(self) -> nn.Module:
        """Return the net to evaluate, with the running statistics of its weights."""
        self.gradients.sync_statistics()
        if self.averages.kept:
            self.averages.kept.measure_statistics(
                self.net,
                self._statistics_split,
                self.normalize,
                self.dtype,
                frozen=self.gradients.frozen,
                sharing=self._sharing,
            )
        return self._export_weights()

    @cached_property
    def _sharing(self) -> BatchSharing | None:
        """How batches without gradients are shared out; None leaves each batch to all cores.

        With several microbatches no result depends on the number of threads or processes.
        """
        if not self.config.is_independent_of_threads:
            return None
        alone = self.behaviour.in_order or self.device.type != "cpu"
        return BatchSharing(group=self.group, workers=1 if alone else torch.get_num_threads())

    @cached_property
    def _statistics_split(self) -> Split:
        """The images that the statistics of averaged weights are measured on, as the training draws them."""
        if not self.sampler.is_balanced:
            return self.data.train
        order = self.sampler.order(new_generator(self.seed, 0, _STATISTICS))
        return self.data.train.select(order[:STATISTICS_IMAGES].numpy())

    def _export_weights(self) -> nn.Module:
        """Return the net to evaluate, in layers without parametrizations."""
        net = self.averages.kept.net if self.averages.kept else self.net
        if self.plain_net is None:
            return net
        copy_effective_weights(net, self.plain_net)
        return self.plain_net

    def _train_batches(self, started: float) -> SplitMetrics:
        """Train on all batches of the epoch that are left; `started` is the start time of the epoch."""
        progress = self.progress
        if not progress.step:
            # For layers that use the global generator: an epoch depends on its weights and number alone.
            seed_everything(derive_seed(self.seed, progress.epoch))
        order = new_generator(self.seed, progress.epoch, _ORDER)
        self.gradients.train()
        drawn = enumerate(self.sampler.batches(self.config.batch_size, order))
        batches = (self.make_batch(indices, progress.epoch, index) for index, indices in drawn)
        for batch, next_batch in with_next(islice(batches, progress.step, None)):
            self._begin_phase(batch.epoch, batch.step)
            self.pending.append(self.train_step(batch, next_batch))
            self._read_metrics(leave=self.max_pending_steps if next_batch else 0)
            # After the last batch, the epoch ends with its evaluation.
            if self._stop_signal and next_batch:
                self._read_metrics(leave=0)
                progress.seconds = time.perf_counter() - started
                self._check_weights()
                self.checkpoint()
                self._stop_if_requested(
                    f"in epoch {progress.epoch}, after {progress.step} of {self.num_batches} batches"
                )
        return SplitMetrics(
            loss=progress.loss_sum / progress.seen, correct=progress.correct, total=progress.seen
        )

    def _begin_phase(self, epoch: int, step: int) -> None:
        """Plan the schedule anew if a phase of the recipe begins at a step."""
        if self.config.planned_epochs(epoch, step) != self.schedule.epochs:
            self._plan_schedule(epoch, step)

    def _plan_schedule(self, epoch: int, step: int) -> None:
        self.schedule.plan(self.config.planned_epochs(epoch, step))
        self.schedule.replay(self._global_step(epoch, step), self.history)

    def _read_metrics(self, leave: int) -> None:
        """Read the metrics of all pending steps except the last `leave`, and call the callbacks."""
        progress = self.progress
        while len(self.pending) > leave:
            step = self.pending.popleft()
            batch, (loss, norm, correct) = step.batch, self.read_step(step)
            progress.clipped += norm > (self.config.clip_gradient_norm or math.inf)
            progress.step = batch.step + 1
            progress.loss_sum += loss * len(batch)
            progress.correct += correct
            progress.seen += len(batch)
            accuracy = progress.correct / progress.seen
            self.callbacks.on_batch_end(BatchMetrics(index=batch.step, loss=loss, accuracy=accuracy))

    @property
    def _stop_signal(self) -> int:
        """The signal that asks to stop; of several processes the one that all know of."""
        return self.agreed_stop if self.group.is_shared else self.stop.signal

    def _stop_if_requested(self, where: str) -> None:
        if self._stop_signal:
            raise StoppedError(self._stop_signal, where)

    def make_batch(self, indices: Tensor, epoch: int, step: int) -> BatchSpec:
        """Return the images of a step, with their size at that step."""
        image_size = self.config.image_size(epoch, step, self.num_batches)
        return BatchSpec(indices=indices, epoch=epoch, step=step, image_size=image_size)

    def train_step(self, batch: BatchSpec, next_batch: BatchSpec | None = None) -> _PendingStep:
        """Run forward and backward pass, and update the weights. Prepare `next_batch` meanwhile."""
        with (
            enough_memory("training", self.device, self.config.batch_size),
            self.gradients.single_threaded(),
        ):
            result = self.gradients.compute(batch, next_batch, stop=self.stop.signal)
            if self.group.is_shared:
                # All processes stop after the same step.
                self.agreed_stop = result.stop
            norm = self.gradients.norm()
            metrics = HostCopy([result.loss, norm, result.correct])
            step = _PendingStep(batch=batch, metrics=metrics)
            if not self.max_pending_steps:
                # Check before the weights change; the metrics are available at once.
                self.read_step(step)
            with self.profile.phase("optimizer"):
                if self.config.clip_gradient_norm is not None:
                    self.gradients.clip(self.config.clip_gradient_norm, norm)
                self.update_weights()
                self.schedule.step()
                self.averages.update(self.net, self._global_step(batch.epoch, batch.step) + 1)
        return step

    def read_step(self, step: _PendingStep) -> tuple[float, float, int]:
        """Return the loss of a step, its gradient norm, and the number of correctly classified images.

        Raises:
            DivergedError: The loss or the gradient is not finite.
        """
        loss, norm, correct = step.metrics.values
        if not math.isfinite(loss) or not math.isfinite(norm):
            when = "one step later" if self.max_pending_steps else "before this step changed the weights"
            what = f"the loss is {loss:g}, the gradient norm {norm:g}; training stopped {when}"
            raise self._diverged(f"epoch {step.batch.epoch}, batch {step.batch.step}", what)
        return loss, norm, int(correct)

    def _global_step(self, epoch: int, step: int) -> int:
        """Return the number of steps of the training before a step of an epoch."""
        return (epoch - 1) * self.num_batches + step

    def update_weights(self) -> None:
        """Step all optimizers."""
        for optimizer in self.optimizers:
            optimizer.step()

    def _check_weights(self) -> None:
        """Raise DivergedError if a weight is not finite: an update with a finite loss can overflow."""
        # A mask of attention, for example, is infinite from the beginning.
        for name, tensor in state_of(self.net).items():
            if name in self.finite and not _is_finite(tensor):
                where = f"epoch {self.progress.epoch}, batch {self.progress.step - 1}"
                raise self._diverged(where, f"{name} is not finite after this step, and is not saved")

    def _diverged(self, where: str, what: str) -> DivergedError:
        lr = self.schedule.lr
        fix = f"lower the learning rate, {lr:g} here: train.optimizer.lr={lr / 10:g}"
        return DivergedError(what, where=where, fix=fix)

    def close(self) -> None:
        self.gradients.close()


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
