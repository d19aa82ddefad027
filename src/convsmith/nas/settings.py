"""The settings of a search, kept in its folder so that every process that joins uses the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convsmith.briefs.schema import Brief
from convsmith.data.config import DataConfig
from convsmith.errors import Problem, RecipeError, RunError
from convsmith.nas.address import StorageAddress
from convsmith.nas.halving import compute_rungs
from convsmith.nas.place import StudyPlace
from convsmith.recipes.schema import Recipe
from convsmith.system import files, paths, reading

STUDY = "study.json"
# The key of the storage in it.
_STORAGE = "storage"
# Share of the training images that is held out if the recipe has no validation split.
_HELD_OUT = 0.1
# The smallest and the largest value of each number.
RANGES: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "factor": (2, 1000),
    "macs_factor": (0.1, 1_000_000),
    "trials": (1, 1_000_000),
    "minutes": (0, 10_000_000),
    "seed": (0, 2**32 - 1),
    "workers": (1, 10_000),
}


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The settings of a search.

    Attributes:
        recipe: The starting point.
        brief: The brief that every net must pass.
        brief_name: Its name or file.
        epochs: Of a complete training.
        factor: 1/factor of the trials at a rung is promoted; the next rung has factor times the epochs.
        macs_factor: Limit of a candidate's MACs, relative to the starting point.
        seed: Of the candidates.
    """

    recipe: Recipe
    brief: Brief
    brief_name: str
    epochs: int
    factor: int
    macs_factor: float
    seed: int

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        return compute_rungs(self.epochs, self.factor)

    @property
    def data(self) -> DataConfig:
        """The recipe's data set with a validation split."""
        data = self.recipe.data
        return data if data.validation else data.model_copy(update={"validation": _HELD_OUT})

    def record(self) -> dict[str, Any]:
        """Return a plain table."""
        return {
            "recipe": _table(self.recipe),
            "brief": _table(self.brief),
            "epochs": self.epochs,
            "factor": self.factor,
            "macs_factor": self.macs_factor,
            "seed": self.seed,
        }

    def place(self, folder: Path, storage: StorageAddress | None = None) -> StudyPlace:
        """Compare the settings with those of the study in a folder, if it has one.

        Returns:
            Where the study is kept, or would be.

        Raises:
            RunError: The study has other settings, or its trials are in another storage.
        """
        path, record = folder / STUDY, self.record()
        if not paths.is_file(path):
            return StudyPlace.create(folder, storage)
        stored = reading.read_json(path)
        if not isinstance(stored, dict):
            raise RunError("damaged: expected an object", where=str(path))
        different = [key for key in record if _current(key, stored.get(key)) != record[key]]
        if different:
            raise RunError(
                f"the study has other settings: {', '.join(different)}",
                where=str(folder),
                fix="use the same settings, or start another study with --study",
            )
        return StudyPlace.load(folder, storage, stored.get(_STORAGE), path)

    def save(self, place: StudyPlace) -> None:
        """Write the settings into a new study's folder."""
        path = place.folder / STUDY
        if not paths.is_file(path):
            files.write_json(path, {**self.record(), _STORAGE: place.record()})


def _current(key: str, value: Any) -> Any:
    """Return a setting that an earlier version may have written, with the fields that are new since."""
    try:
        match key:
            case "recipe":
                return _table(Recipe.model_validate(value))
            case "brief":
                return _table(Brief.model_validate(value))
            case _:
                return value
    except ValidationError:
        return value


def _table(settings: Recipe | Brief) -> dict[str, Any]:
    if isinstance(settings, Recipe):
        return settings.table()
    return settings.model_dump(mode="json", exclude_none=True)


def check_ranges(**values: float | None) -> None:
    """Raise RecipeError, with a problem for each setting of a search that is out of its range."""
    problems = [
        Problem(
            what=f"found {value:,}, expected {low:,} to {high:,}",
            where=f"--{name.replace('_', '-')}",
            fix="leave it out, or name a number in this range",
        )
        for name, (low, high) in RANGES.items()
        if (value := values.get(name)) is not None and not low <= value <= high
    ]
    if problems:
        raise RecipeError.of(problems)
