"""Sessions: a recipe with its data, and the device, precision and number of threads to run it with."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import nn

from convsmith.briefs.checks import Check
from convsmith.briefs.metrics import RunMetrics
from convsmith.data.dataset import ImageDataset, TrainingData, load, with_absolute_source
from convsmith.data.normalize import Normalizer
from convsmith.errors import RecipeError
from convsmith.modules.architecture import Architecture, LoadWeights, architecture_of
from convsmith.net.analysis import Analysis
from convsmith.net.tables import course_summary, receptive_field_table
from convsmith.recipes.fit import analyze_recipe, check_recipe
from convsmith.recipes.schema import Recipe
from convsmith.system.device import choose_device, choose_precision, dtype_of, threads_for
from convsmith.system.memory_format import to_device
from convsmith.system.rng import new_generator
from convsmith.system.signals import StopRequest
from convsmith.text import plural
from convsmith.training.callbacks import Callback
from convsmith.training.class_weights import class_weights_of, weights_line
from convsmith.training.distillation import Teacher
from convsmith.training.lr_find import RangeTest, range_test
from convsmith.training.metrics import EpochMetrics
from convsmith.training.process_group import ALONE, ProcessGroup
from convsmith.training.profiler import Profile
from convsmith.training.schedules.plateau import Plateau
from convsmith.training.selection import monitor_title, selection_problems
from convsmith.training.state import TrainerState
from convsmith.training.trainer import Trainer, fit

_MAX_LISTED_ISSUES = 5
_REPORT_BYTES = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class TrainingSession:
    """A recipe with the data to train on.

    Device and precision are chosen on first use, so that a session of a run that was trained on a GPU can be
    reported on a machine without one.

    Attributes:
        recipe: The recipe.
        data: Training images, and validation images if the recipe has them.
        architecture: The net without weights.
        analysis: Analysis of the net.
        begin: Loads the weights that a training begins with, instead of the initial ones.
    """

    recipe: Recipe
    data: TrainingData
    architecture: Architecture
    analysis: Analysis
    begin: LoadWeights | None = None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        data: Any,
        architecture: Architecture | None = None,
        load_weights: LoadWeights | None = None,
    ) -> Self:
        """Return the session of a recipe with its data, after checking that they fit.

        Args:
            recipe: The recipe.
            data: `TrainingData`, for a `Session` an `ImageDataset`.
            architecture: The net of the recipe; by default the one that it names.
            load_weights: Loads the weights of a net that is not to be trained.

        Raises:
            RecipeError: Net, augmentation, class weights or the monitored metric do not fit the images.
            ModuleError: The module of the recipe cannot be loaded, or used as a classifier of such images.
        """
        architecture = architecture or architecture_of(recipe.model)
        architecture = architecture.probe(data.image_shape, len(data.class_names), load_weights)
        analysis = analyze_recipe(recipe, data.info, len(data.train), architecture)
        if not recipe.is_trained_elsewhere:
            class_weights_of(recipe.train, data)
            if problems := [*selection_problems(recipe.train, data)]:
                raise RecipeError.of(problems)
        recipe = recipe.model_copy(update={"model": architecture.config})
        return cls(recipe=recipe, data=data, architecture=architecture, analysis=analysis)

    @cached_property
    def device(self) -> torch.device:
        """The device; raises RecipeError if the recipe names one that this machine does not have."""
        return choose_device(self.recipe.train.device)

    @cached_property
    def resolved_recipe(self) -> Recipe:
        """The recipe with its precision chosen for this machine, and its module in the run folder."""
        train = self.recipe.train
        precision = choose_precision(train.precision, self.device, self._macs_per_step)
        model = self.architecture.recorded_config
        return self.recipe.model_copy(
            update={"model": model, "train": train.model_copy(update={"precision": precision})}
        )

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the forward pass."""
        return dtype_of(self.resolved_recipe.train.precision)

    @cached_property
    def normalizer(self) -> Normalizer:
        """Normalizes images on the device."""
        return Normalizer.of(self.data, self.device)

    @property
    def _macs_per_step(self) -> int:
        return self.analysis.known_macs * self.recipe.train.batch_size

    def threads(self) -> AbstractContextManager[None]:
        """Return a context with the number of threads for the net and its batch size."""
        return threads_for(self._macs_per_step)

    def build_net(self) -> nn.Module:
        """Return the net with the weights that a training begins with, on the CPU."""
        net = self.architecture.build(self.data.image_shape, new_generator(self.recipe.seed))
        if self.begin is not None:
            self.begin(net)
        return net

    def to_device(self, net: nn.Module) -> nn.Module:
        """Move a net to the device, in place, and return it."""
        return to_device(net, self.device)

    def fit(
        self,
        net: nn.Module,
        *,
        teacher: Teacher | None = None,
        callbacks: Sequence[Callback] = (),
        profile: Profile | None = None,
        state: TrainerState | None = None,
        stop: StopRequest | None = None,
        group: ProcessGroup = ALONE,
    ) -> tuple[EpochMetrics, ...]:
        """Train a net in place; see `convsmith.training.trainer.fit`."""
        recipe = self.resolved_recipe
        with self.threads():
            return fit(
                net,
                self.data,
                recipe.train,
                recipe.augment,
                seed=recipe.seed,
                behaviour=self.architecture.behaviour,
                teacher=teacher,
                callbacks=callbacks,
                profile=profile,
                state=state,
                stop=stop,
                group=group,
            )

    def trainer(self, net: nn.Module, *, profile: Profile | None = None) -> Trainer:
        """Return a trainer, to run single steps within `threads()`."""
        recipe = self.resolved_recipe
        return Trainer(
            net,
            self.data,
            recipe.train,
            recipe.augment,
            seed=recipe.seed,
            behaviour=self.architecture.behaviour,
            profile=profile,
        )

    def range_test(self, net: nn.Module, *, steps: int, teacher: Teacher | None = None) -> RangeTest:
        """Run a learning-rate range test on a net; see `convsmith.training.lr_find.range_test`."""
        recipe = self.resolved_recipe
        with self.threads():
            return range_test(
                net,
                self.data,
                recipe.train,
                recipe.augment,
                seed=recipe.seed,
                behaviour=self.architecture.behaviour,
                steps=steps,
                teacher=teacher,
            )


@dataclass(frozen=True, kw_only=True)
class Session(TrainingSession):
    """A recipe with all of its data, test images included.

    Example:
        >>> from convsmith.recipes.loader import load
        >>> session = Session.load(load("digits"))
        >>> len(session.data.train), session.analysis.num_outputs
        (1198, 10)
    """

    data: ImageDataset

    @classmethod
    def load(
        cls,
        recipe: Recipe,
        *,
        architecture: Architecture | None = None,
        load_weights: LoadWeights | None = None,
        refresh: bool = False,
    ) -> "Session":
        """Load the data of a recipe, and check that net and augmentation fit it.

        Args:
            recipe: The recipe.
            architecture: Its net; by default the one that it names.
            load_weights: Loads the weights of a net that is not to be trained.
            refresh: Decode the images again, even if the cache has them.

        Raises:
            DataError: The data set does not exist or cannot be read.
            RecipeError: Net or augmentation do not fit the images.
            ModuleError: The module of the recipe cannot be loaded, or used as a classifier of such images.
        """
        # Before the data is read, which can take minutes.
        architecture = architecture or architecture_of(recipe.model)
        architecture.check_constructor()
        data = load(recipe.data, refresh=refresh)
        recipe = recipe.model_copy(update={"data": with_absolute_source(recipe.data)})
        return cls.of(recipe, data, architecture, load_weights)

    def judge(self, metrics: RunMetrics) -> tuple[Check, ...]:
        """Check the trained net against the brief."""
        return check_recipe(self.recipe, self.analysis, metrics)

    def summary(self) -> str:
        """Return layer table, receptive-field table and totals."""
        parts = (course_summary, receptive_field_table, Analysis.totals_line)
        return "\n\n".join(part(self.analysis) for part in parts)

    def space(self) -> int:
        """Return an upper estimate of the size of the run folder in bytes, temporary files included.

        A checkpoint has the weights, up to two values per weight of the optimizer, and averaged weights.
        Predictions have one logit per class, and features. The report takes a few megabytes.
        """
        weights = 4 * self.analysis.parameters
        train = self.recipe.train
        checkpoint = weights * (3 + bool(train.ema) + bool(train.lookahead) + train.keeps_best)
        predictions = len(self.data.test) * (4 * len(self.data.class_names) + 512)
        return 2 * (checkpoint + weights) + predictions + _REPORT_BYTES

    def describe(self, *more: str) -> list[str]:
        """Return the first lines of the log; `more` are appended."""
        data = self.data
        kind = data.evaluation_set.kind
        validation = f"{len(data.validation):,} validation, " if data.validation else ""
        return [
            f"Recipe: {self.recipe.name}, seed {self.recipe.seed}",
            f"Data: {data.identity}, fingerprint {data.fingerprint[:12]}",
            f"      {len(data.train):,} training, {validation}{len(data.test):,} {kind} images",
            *([f"      layout: {data.layout.description}"] if data.layout.description else []),
            f"Net: {self.architecture.text}",
            f"     {self.analysis.totals_line()}",
            *(f"Note: {note}" for note in self.notes()),
            *more,
            "",
        ]

    def notes(self) -> list[str]:
        """Return caveats about the accuracy."""
        recipe, dropped, layout = self.recipe, self.data.dropped, self.data.layout
        notes = [*self._fold_notes(), *self.architecture.notes, *layout.notes]
        if layout.left_out:
            reasons = "; ".join(f"{reason}: {count:,}" for reason, count in layout.left_out.items())
            count = sum(layout.left_out.values())
            files = "file or page" if count == 1 else "files or pages"
            notes.append(f"not read: {count:,} {files}: {reasons}")
        if dropped:
            first = "; ".join(issue.line() for issue in dropped[:_MAX_LISTED_ISSUES])
            notes.append(
                f"damaged images left out: {len(dropped):,}, all of them in data.json: {first}"
                f"{'; ...' if len(dropped) > _MAX_LISTED_ISSUES else ''}"
            )
        notes += self._split_notes()
        schedule = recipe.train.schedule
        if isinstance(schedule, Plateau):
            notes.append(schedule.note())
        if recipe.train.l1:
            notes.append(
                f"an L1 penalty of {recipe.train.l1:g} times the sum of the absolute weights of convolutions "
                "and linear layers is minimised with the loss; the losses are shown without it"
            )
        notes += self._fitting_notes()
        if phases := recipe.train.phases:
            parts = (
                f"{phase.planned} epochs up to epoch {phase.epochs}"
                f"{f' and {phase.batches} batches' if phase.batches else ''}"
                for phase in phases
            )
            notes.append(
                f"extended: the schedule was planned for {', '.join(parts)}, then for "
                f"{recipe.train.epochs}; the recipe records this and gives the same weights"
            )
        if recipe.train.stop_after:
            notes.append(
                f"stops on purpose after {recipe.train.stop_after} of the {recipe.train.epochs} epochs that "
                "its schedule is planned for"
            )
        return notes

    def _fold_notes(self) -> list[str]:
        """Return what the images are that a fold is evaluated on."""
        fold = self.data.fold
        if fold is None:
            return []
        name = fold.evaluation_set.name
        return [f"the net is evaluated on {name} of the training set; the test set is not used"]

    def _fitting_notes(self) -> list[str]:
        """Return how classes are weighted and drawn, and by what an epoch is selected."""
        train, data, notes = self.recipe.train, self.data, []
        if (weights := class_weights_of(train, data)) is not None:
            notes.append(
                f"weights of the classes in the loss: {weights_line(weights, data.class_names)}; the "
                "training loss of an epoch is with them, the losses of whole splits are without"
            )
        if train.sampling == "balanced":
            notes.append(
                "balanced sampling: an epoch has as many images as the training set, drawn with replacement, "
                "each class equally often"
            )
        if train.clip_gradient_norm is not None:
            notes.append(f"gradients are clipped to a norm of {train.clip_gradient_norm:g}")
        title = monitor_title(train.monitor)
        if stopping := train.early_stopping:
            less = f", changes up to {stopping.min_delta:g} not counted" if stopping.min_delta else ""
            notes.append(
                f"stops early after {plural(stopping.patience, 'epoch')} without a better {title}{less}; the "
                f"{data.evaluation_set.name} has no part in it"
            )
        if train.keeps_best:
            notes.append(
                f"the weights of the epoch with the best {title} are kept, so that this figure is "
                f"optimistic; the {data.evaluation_set.name} has no part in the choice"
            )
        return notes

    def _split_notes(self) -> list[str]:
        """Return what was kept together, and a warning if the test set is not independent."""
        data, notes = self.data, []
        if data.grouping and data.grouping.groups is not None:
            notes.append(f"{data.grouping.groups:,} groups of data.group stay in one split each")
        if data.grouping and data.grouping.equal_images:
            equal = plural(data.grouping.equal_images, "image")
            notes.append(f"{equal} with the pixels of another one: equal images stay in one split")
        groups = "" if data.test.groups is None else " or the group"
        for name, split, leaked in (
            ("validation", data.validation, data.leaked_validation),
            (data.evaluation_set.kind, data.test, data.leaked),
        ):
            if split and leaked:
                notes.append(
                    f"warning: {leaked:,} of {len(split):,} {name} images have the pixels{groups} of a "
                    f"training image, so that the {name} accuracy is too high; `convsmith data verify` names "
                    "them"
                )
        return notes
