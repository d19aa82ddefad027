"""A run folder as a model: its recipe with the weights that it kept."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from convsmith.briefs.metrics import RunMetrics
from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, TrainingData
from convsmith.errors import RunError
from convsmith.evaluation import predictions
from convsmith.evaluation.confidence import Confidence
from convsmith.evaluation.schema import Results
from convsmith.models.bundle_schema import Preprocessing
from convsmith.models.model import TrainedModel, check_only_brief
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.modules.architecture import SOURCE, Architecture
from convsmith.modules.sources import SourceFiles
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.recipes.fit import with_frozen
from convsmith.recipes.schema import Recipe
from convsmith.runs.code import architecture_of_run, read_code, resume_command
from convsmith.runs.evaluation import read_confidence
from convsmith.runs.folder import WEIGHTS, RunFolder
from convsmith.runs.schema import (
    FILES,
    CodeRecord,
    DataRecord,
    Resumptions,
    StartRecord,
    TeacherRecord,
    unrecorded_changes,
)
from convsmith.system import paths, reading
from convsmith.system.device import dtype_of
from convsmith.system.rng import new_generator

if TYPE_CHECKING:
    from convsmith.recipes.session import Session


class RunModel(TrainedModel):
    """The model of a run folder."""

    kind = "run"

    def __init__(
        self,
        path: Path,
        overrides: Sequence[str] = (),
        input_shape: tuple[int, int, int] | None = None,
        access: CodeAccess = NO_CODE,
        *,
        architecture: Architecture | None = None,
    ) -> None:
        """Open a run folder.

        Args:
            path: The folder.
            overrides: Fields of the brief, as `key=value`.
            input_shape: `(C, H, W)`; by default that of the run's data.
            access: Whether code in the folder may be run.
            architecture: The net of the run, if it is loaded already.

        Raises:
            RunError: There is no run, or it is damaged.
            RecipeError: An override is invalid.
        """
        self.folder = RunFolder.open(path)
        check_only_brief("run", path, overrides)
        self._recipe = self.folder.recipe(overrides)
        self.data = self.folder.read(DataRecord)
        self._access = access
        if architecture is None:
            architecture = architecture_of_run(self.folder, self._recipe, access)
            architecture.check(self.data.image_shape, len(self.labels))
        self.architecture = architecture
        shape = input_shape or self.data.image_shape
        analysis = self.architecture.analyze(shape)
        super().__init__(self._recipe.name, with_frozen(self.architecture, analysis, self._recipe.train))
        self.place = str(path)
        if isinstance(self.analysis, SpecAnalysis) and self.plan.num_classes != len(self.labels):
            raise RunError(
                f"found {len(self.labels)} classes, expected {self.plan.num_classes}, the outputs of the net",
                where=str(self.folder.path / FILES[DataRecord]),
                fix="restore data.json and recipe.toml as the training wrote them, or train again",
            )

    @property
    def recipe(self) -> Recipe:
        return self._recipe

    @cached_property
    def preprocessing(self) -> Preprocessing:
        data = self.data
        channels, height, width = data.image_shape
        fields = {
            "channels": channels,
            "height": height,
            "width": width,
            "mean": data.mean,
            "std": data.std,
            "background": data.background,
            # Runs of older versions stretched the images if they resized them.
            "resize_policy": data.resize_policy or self._recipe.data.policy,
        }
        try:
            return Preprocessing.model_validate(fields)
        except ValueError as error:
            raise RunError(
                f"its images cannot be preprocessed: {str(error).splitlines()[-1]}",
                where=str(self.folder.path / FILES[DataRecord]),
            ) from error

    @property
    def labels(self) -> tuple[str, ...]:
        return self.data.class_names

    @cached_property
    def test_metrics(self) -> RunMetrics | None:
        """Accuracy and calibration error; None before the run is evaluated."""
        self.folder.verify(FILES[Results])
        results = self.folder.find(Results)
        if results is None:
            return None
        test = results.test
        # Runs of older versions have no calibration.
        error = test.calibration.ece if test.calibration else None
        return self.folder.run_metrics(test.correct / test.total, error)

    @property
    def accuracy(self) -> float:
        if self.test_metrics is None:
            raise RunError(
                "the run was not evaluated", where=self.place, fix=f"convsmith evaluate {self.place}"
            )
        return self.test_metrics.accuracy

    @cached_property
    def confidence(self) -> Confidence:
        self.folder.verify(FILES[Confidence], self.folder.predictions.name)
        self._check_predictions()
        return read_confidence(self.folder)

    def _check_predictions(self) -> None:
        """Raise RunError if the saved predictions are not of the test set in data.json."""
        path = self.folder.predictions
        if not paths.is_file(path):
            return
        saved = predictions.read(path)
        counts = tuple(np.bincount(saved.labels, minlength=saved.num_classes).tolist())
        if counts != self.data.splits["test"].per_class:
            what = "the predictions are not of the test set of this run"
            raise RunError(what, where=str(path), fix=predictions.EVALUATE_AGAIN)

    @property
    def resumption_notes(self) -> tuple[str, ...]:
        """The changes during the training that the recipe does not record."""
        return unrecorded_changes(self.folder.find(Resumptions))

    @property
    def start(self) -> StartRecord | None:
        """The weights that the training began with; None for initial ones."""
        return self.folder.find(StartRecord)

    @property
    def taught(self) -> tuple[str, ...]:
        return teacher_notes(self.folder)

    @property
    def is_trained_elsewhere(self) -> bool:
        return self._recipe.is_trained_elsewhere

    def check_finished(self) -> None:
        if not self.folder.is_finished:
            raise RunError(
                "its training is not finished, so that its weights cannot be verified",
                where=self.place,
                fix=f"finish it: {resume_command(self.folder.path, self._recipe)}",
            )

    def weights_sha256(self) -> str:
        return reading.sha256(self.folder.path / WEIGHTS)

    def code(self) -> tuple[SourceFiles | None, Path]:
        return read_code(self.folder), self.folder.path / SOURCE

    def unseen_splits(self, data: TrainingData, config: DataConfig) -> frozenset[str]:  # noqa: ARG002 - a bundle needs it
        """Return the splits that the run held out too, by their fingerprints."""
        if self.is_trained_elsewhere:
            return frozenset()
        fingerprints = data.split_fingerprints()
        return frozenset(
            name
            for name, split in self.data.splits.items()
            if name != "train" and split.fingerprint == fingerprints.get(name)
        )

    def session(self) -> "Session":
        from convsmith.runs.session import open_run

        return open_run(self.folder.path, access=self._access)[1]

    def dataset(self) -> ImageDataset:
        return self.session().data

    def _load(self) -> nn.Module:
        # What a module draws and does not save is as it was in the training.
        net = self.architecture.build(self.preprocessing.shape, new_generator(self._recipe.seed))
        try:
            self.folder.load_weights(net)
        except RunError as error:
            record = self.folder.find(CodeRecord)
            if record is None or not record.is_instance or self._access.module is not None:
                raise
            raise RunError(
                "it was trained with an instance, and its code makes another net: "
                f"{error.problems[0].what.partition(': ')[2]}",
                where=self.place,
                fix="pass the instance in Python: module=Net(...); for a bundle or a project name the class "
                "with its arguments in a recipe, and train again",
            ) from error
        return net

    def _runtime(self) -> tuple[str, torch.dtype]:
        train = self._recipe.train
        return train.device, dtype_of(train.precision)


def start_notes(folder: RunFolder) -> tuple[str, ...]:
    """Return a sentence about the weights that a run began with, then notes; nothing without such weights."""
    record = folder.find(StartRecord)
    return () if record is None else (record.sentence, *record.notes)


def teacher_notes(folder: RunFolder) -> tuple[str, ...]:
    """Return a sentence about the run's teacher, then notes on the accuracy; nothing without a teacher."""
    record = folder.find(TeacherRecord)
    return () if record is None else (record.sentence, *record.notes)
