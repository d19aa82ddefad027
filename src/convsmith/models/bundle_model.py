"""A bundle as a model, from a folder or from the zoo. Predicting needs neither recipe nor training code."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from convsmith.briefs.metrics import RunMetrics
from convsmith.errors import BundleError, DataError
from convsmith.evaluation.confidence import Confidence
from convsmith.models import bundle as bundles
from convsmith.models.bundle import Bundle
from convsmith.models.bundle_code import open_architecture, version_notes
from convsmith.models.bundle_schema import Preprocessing
from convsmith.models.model import TrainedModel, check_only_brief
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.modules.architecture import SOURCE
from convsmith.system import reading

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from convsmith.data.config import DataConfig
    from convsmith.data.dataset import ImageDataset, TrainingData
    from convsmith.modules.sources import SourceFiles
    from convsmith.recipes.schema import Recipe
    from convsmith.recipes.session import Session


class BundleModel(TrainedModel):
    """The model of a bundle."""

    kind = "bundle"

    def __init__(
        self,
        bundle: Bundle,
        place: str,
        overrides: Sequence[str] = (),
        input_shape: tuple[int, int, int] | None = None,
        access: CodeAccess = NO_CODE,
    ) -> None:
        """Analyze the net of a bundle.

        Args:
            bundle: The verified bundle.
            place: The folder, or the name in the zoo.
            overrides: Fields of the brief, as `key=value`.
            input_shape: `(C, H, W)`; by default that of the bundle's images.
            access: Whether code in the bundle may be run.

        Raises:
            UntrustedCodeError: The net is a module, and its code may not be run.
            BundleError: The bundle is inconsistent.
            RecipeError: An override is invalid.
        """
        check_only_brief("bundle", place, overrides)
        metadata = bundle.metadata
        self.architecture, analysis = open_architecture(bundle, access)
        if input_shape is not None:
            analysis = self.architecture.analyze(input_shape)
        super().__init__(metadata.name, analysis)
        self.notes = version_notes(bundle, self.architecture)
        self.bundle, self.place = bundle, place
        self._overrides = overrides
        if overrides:
            # Report an invalid override now, although the recipe may not be needed.
            _ = self.recipe

    @cached_property
    def recipe(self) -> "Recipe":
        """The recipe in the bundle.

        Raises:
            BundleError: It is invalid, or describes another net.
        """
        from convsmith.recipes.loader import with_overrides
        from convsmith.recipes.schema import Recipe

        metadata = self.bundle.metadata
        try:
            recipe = Recipe.model_validate(reading.parse_toml(metadata.origin.recipe_toml))
            model = metadata.spec.model_dump(exclude={"package"})
            damage = "" if recipe.model.model_dump() == model else "its net is another"
        except ValueError as error:
            damage = str(error).splitlines()[0][:200]
        if damage:
            raise BundleError(
                f"its recipe cannot be used: {damage}",
                where=self.place,
                fix="update convsmith, or export the bundle again",
            )
        return with_overrides(recipe, self._overrides)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.metadata.labels

    @property
    def preprocessing(self) -> Preprocessing:
        return self.bundle.metadata.preprocessing

    @property
    def confidence(self) -> Confidence:
        return self.bundle.metadata.confidence

    @property
    def taught(self) -> tuple[str, ...]:
        return self.bundle.metadata.origin.taught

    @property
    def test_metrics(self) -> RunMetrics:
        measured = self.bundle.metadata.measured
        return RunMetrics(accuracy=measured.accuracy, calibration_error=measured.ece)

    @property
    def accuracy(self) -> float:
        return self.bundle.metadata.measured.accuracy

    @property
    def is_trained_elsewhere(self) -> bool:
        return self.bundle.metadata.origin.weights is not None

    def check_finished(self) -> None:
        """A bundle is always complete."""

    def weights_sha256(self) -> str:
        return reading.sha256(self.bundle.folder / bundles.WEIGHTS)

    def code(self) -> "tuple[SourceFiles | None, Path]":
        return self.bundle.sources, self.bundle.folder / SOURCE

    def unseen_splits(self, data: "TrainingData", config: "DataConfig") -> frozenset[str]:
        """Return the splits that were certainly held out, by the settings of the split.

        A bundle does not list its splits. The test images are split off first, then the validation images.
        """
        from convsmith.data.dataset import ImageDataset

        origin = self.bundle.metadata.origin
        if origin.fingerprint != data.fingerprint or self.is_trained_elsewhere:
            return frozenset()
        own, requested = (
            (each.split_seed, each.group, each.test_fraction, each.fold, each.validation)
            for each in (origin.data, config)
        )
        names = {"validation"} if own == requested else set()
        # A test set that comes with the data is never trained on.
        comes_with_data = isinstance(data, ImageDataset) and not data.test_is_split_off
        return frozenset(names | ({"test"} if own[:4] == requested[:4] or comes_with_data else set()))

    def session(self) -> "Session":
        from convsmith.recipes.session import Session

        self._check_source("name the run instead")
        train = self.recipe.train.model_copy(update={"device": "auto", "teacher": None, "distillation": None})
        recipe = self.recipe.model_copy(update={"train": train})
        session = Session.load(
            recipe,
            architecture=self.architecture,
            load_weights=self._load_weights if self.is_trained_elsewhere else None,
        )
        self._check_fingerprint(session.data)
        return session

    def _load_weights(self, net: "nn.Module") -> None:
        net.load_state_dict(self._load().state_dict())

    def dataset(self) -> "ImageDataset":
        """Load the data set of the bundle.

        Raises:
            BundleError: Its data set is not one of the named ones.
            DataError: The data set cannot be read, or is another one.
        """
        from convsmith.data.dataset import load

        self._check_source("name images to check the export on: --images FOLDER")
        data = load(self.bundle.metadata.origin.data)
        self._check_fingerprint(data)
        return data

    def _check_source(self, fix: str) -> None:
        """Only data sets with a name: a bundle from elsewhere must not choose files to read."""
        from convsmith.data.sources import NAMES

        source = self.bundle.metadata.origin.data.source
        if source not in NAMES:
            raise BundleError(
                f"its data set, {source!r}, is not a named one",
                where=self.place,
                fix=fix,
            )

    def _check_fingerprint(self, data: "ImageDataset") -> None:
        expected = self.bundle.metadata.origin.fingerprint
        if data.fingerprint != expected:
            raise DataError(
                f"not the data set of this bundle: fingerprint {data.fingerprint[:12]}, expected "
                f"{expected[:12]}",
                where=data.location,
                fix="restore the original data set, or name images: --images FOLDER",
            )

    def _load(self) -> "nn.Module":
        from convsmith.models.bundle_weights import load_net

        return load_net(self.bundle, self.architecture)

    def _runtime(self) -> "tuple[str, torch.dtype]":
        import torch

        return "cpu", torch.float32


class ZooModel(BundleModel):
    """A model that ships with convsmith."""

    kind = "zoo"
