"""A model, whatever names it: its analysis, its recipe, and its network with weights."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from convsmith.errors import ModuleError, RecipeError, ShapeError
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.net.plan import Plan

if TYPE_CHECKING:
    import torch
    from torch import nn

    from convsmith.briefs.checks import Check
    from convsmith.briefs.metrics import RunMetrics
    from convsmith.briefs.schema import Brief
    from convsmith.briefs.subject import Subject
    from convsmith.data.config import DataConfig
    from convsmith.data.dataset import ImageDataset, TrainingData
    from convsmith.evaluation.confidence import Confidence
    from convsmith.models.bundle_schema import Preprocessing
    from convsmith.models.classifier import Classifier
    from convsmith.modules.architecture import Architecture
    from convsmith.modules.sources import SourceFiles
    from convsmith.recipes.schema import Recipe
    from convsmith.recipes.session import Session


class Model(ABC):
    """A network with its analysis.

    Attributes:
        kind: "notation", "module", "recipe", "run", "bundle" or "zoo".
        name: The name of the recipe, of the bundle or of the module's class, or "net".
        analysis: For one input shape.
        architecture: The net of a recipe or of trained weights; None for a net that is named alone.
        notes: Which meaning of an ambiguous name was chosen, and how to write the other one.
        net_notes: What a user should know about a module of their own, one sentence each.
        reference: The name that it was resolved from; empty for a model that was made otherwise.
    """

    kind: ClassVar[str]
    architecture: "Architecture | None" = None

    def __init__(self, name: str, analysis: Analysis) -> None:
        self.name = name
        self.analysis = analysis
        self.notes: tuple[str, ...] = ()
        self.net_notes: tuple[str, ...] = ()
        self.reference = ""

    @abstractmethod
    def net(self) -> "nn.Module":
        """Return a new module on the CPU, with trained weights where the model has some."""

    @property
    def recipe(self) -> "Recipe | None":
        """The recipe of the model; None for notation and for modules."""
        return None

    @property
    def test_metrics(self) -> "RunMetrics | None":
        """Accuracy and calibration error on the test set; None without trained weights."""
        return None

    @property
    def plan(self) -> Plan:
        """Raises ModuleError for a module, which has no plan."""
        if isinstance(self.analysis, SpecAnalysis):
            return self.analysis.plan
        raise ModuleError(
            "a module of your own is PyTorch code already", where=self.name, fix="name a net in the notation"
        )

    def judge(self, brief: "Brief | None" = None, metrics: "RunMetrics | None" = None) -> "tuple[Check, ...]":
        """Judge the model.

        Args:
            brief: By default the recipe's own.
            metrics: Accuracy and calibration error; by default those of the model.
        """
        from convsmith.briefs.checks import judge
        from convsmith.briefs.schema import Brief

        if brief is None:
            brief = self.recipe.brief if self.recipe else Brief()
        return judge(brief, self.subject(metrics))

    def subject(self, metrics: "RunMetrics | None" = None) -> "Subject":
        """Return what a brief judges of the model.

        Args:
            metrics: As in `judge`.
        """
        metrics = metrics or self.test_metrics
        if self.recipe is None:
            from convsmith.briefs.subject import Subject

            return Subject(analysis=self.analysis, metrics=metrics)
        from convsmith.recipes.fit import subject_of

        return subject_of(self.recipe, self.analysis, metrics)

    def session(self) -> "Session":
        """Load the images of the model's recipe.

        Raises:
            RecipeError: The model has no recipe.
            DataError: The data set cannot be read, or is not the one of the training.
        """
        raise RecipeError(
            "a net alone has no images to look at",
            where=self.analysis.title,
            fix="name a recipe, for example with model.net=..., a run or a bundle",
        )


class TrainedModel(Model):
    """A model with trained weights: a run, a bundle, or a model of the zoo.

    Attributes:
        place: The name in the zoo, or the folder.
        labels: The names of the classes, in the order of the logits.
        preprocessing: Size, channels, mean and standard deviation of the images.
        architecture: The net without weights.
        accuracy: On the model's own test set, from 0 to 1.
        taught: A sentence about the model's teacher, then notes on its accuracy; empty without a teacher.
    """

    place: str
    architecture: "Architecture"

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def preprocessing(self) -> "Preprocessing": ...

    @property
    @abstractmethod
    def taught(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def accuracy(self) -> float: ...

    @property
    @abstractmethod
    def confidence(self) -> "Confidence":
        """Temperature of the softmax, and the low-confidence threshold."""

    @property
    @abstractmethod
    def is_trained_elsewhere(self) -> bool:
        """Whether its weights came from a file, so that its training images are not known."""

    @abstractmethod
    def check_finished(self) -> None:
        """Raises RunError for a run whose training is not finished: its weights cannot be verified."""

    @abstractmethod
    def weights_sha256(self) -> str: ...

    @abstractmethod
    def code(self) -> "tuple[SourceFiles | None, Path]":
        """Return the files of a module as they were trained, None if it has none, and their folder."""

    @abstractmethod
    def unseen_splits(self, data: "TrainingData", config: "DataConfig") -> frozenset[str]:
        """Return the splits of a data set that were certainly not trained on.

        Args:
            data: The data set.
            config: The `[data]` table that it was loaded by.
        """

    @abstractmethod
    def dataset(self) -> "ImageDataset":
        """Load the data set of the training, verified by its fingerprint."""

    @abstractmethod
    def _load(self) -> "nn.Module":
        """Build the net and load its weights."""

    @abstractmethod
    def _runtime(self) -> "tuple[str, torch.dtype]":
        """The default device, and the data type of the forward pass."""

    def net(self) -> "nn.Module":
        """Return a new module on the CPU in evaluation mode, its parameters without gradients.

        Raises:
            ShapeError: At the requested input shape the net has other parameters.
            RunError: The weights of a run are damaged.
            BundleError: The weights of a bundle are damaged.
        """
        trained = self.architecture.analyze(self.preprocessing.shape)
        if trained.parameters != self.analysis.parameters:
            raise ShapeError(
                f"found {trained.parameters:,} trained parameters, at this input shape the net has "
                f"{self.analysis.parameters:,}",
                where="--input",
                fix="leave --input out",
            )
        net = self._load()
        # Not chained: a module may override `train` without returning itself.
        net.eval()
        return net.requires_grad_(requires_grad=False)

    def classifier(self, device: str | None = None, dtype: "torch.dtype | None" = None) -> "Classifier":
        """Return a classifier, ready to predict.

        Args:
            device: "cpu", "cuda", "mps" or "auto"; by default the CPU, for a run the device of its recipe.
            dtype: Of the forward pass; by default float32, for a run the precision of its recipe.

        Raises:
            RecipeError: The device is not available.
            RunError: The run is damaged, or was not evaluated.
            BundleError: The bundle is damaged.
        """
        from convsmith.models.classifier import Classifier
        from convsmith.system.device import choose_device

        default_device, default_dtype = self._runtime()
        chosen = choose_device(default_device if device is None else device)
        return Classifier(
            name=self.name,
            net=self.net(),
            analysis=self.analysis,
            labels=self.labels,
            preprocessing=self.preprocessing,
            confidence=self.confidence,
            device=chosen,
            dtype=dtype or default_dtype,
        )

    def digest(self) -> str:
        """Return the SHA-256 of everything that determines the outputs: weights, net, mean and deviation."""
        statistics = (self.preprocessing.mean, self.preprocessing.std)
        inputs = {"model": self.architecture.identity(), "statistics": statistics}
        text = f"{self.weights_sha256()} {json.dumps(inputs, sort_keys=True)}"
        return hashlib.sha256(text.encode()).hexdigest()


def check_only_brief(kind: str, place: str | Path, overrides: Sequence[str]) -> None:
    """Raise RecipeError for an override of another field than the brief's."""
    for each in overrides:
        if not each.startswith(("brief.", "brief=")):
            raise RecipeError(
                f"a {kind}'s recipe cannot be changed after the training",
                where=each,
                fix=f"name a recipe instead of {place}, or train again",
            )
