"""What a search was asked for; kept in its folder, so that whoever joins or goes on means the same."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from convsmith.briefs.schema import Brief
from convsmith.data.config import DataConfig
from convsmith.errors import RecipeError, RunError
from convsmith.nas.halving import rungs_of
from convsmith.recipes.schema import Recipe
from convsmith.system import files, reading

STUDY = "study.json"
# The share of the training images that is held out where the recipe says nothing.
_HELD_OUT = 0.1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A search.

    Attributes:
        recipe: The starting point.
        brief: What every net must fulfil.
        brief_name: As it was asked for.
        epochs: Of a whole training of a candidate.
        factor: One trial in so many goes on from a rung, after so many times the epochs.
        macs_factor: No candidate takes more than so many times the starting point's MACs.
        seed: Of what is tried.
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
        return rungs_of(self.epochs, self.factor)

    @property
    def data(self) -> DataConfig:
        """The recipe's data set, with images held out of its training set."""
        data = self.recipe.data
        return data if data.validation else data.model_copy(update={"validation": _HELD_OUT})

    def record(self) -> dict[str, Any]:
        """As a plain table."""
        return {
            "recipe": self.recipe.table(),
            "brief": self.brief.model_dump(mode="json", exclude_none=True),
            "epochs": self.epochs,
            "factor": self.factor,
            "macs_factor": self.macs_factor,
            "seed": self.seed,
        }

    def keep(self, folder: Path) -> None:
        """Write them into a study's folder, or compare them with those that are there.

        Raises:
            RunError: The study was begun with others.
        """
        path, own = folder / STUDY, self.record()
        if not path.is_file():
            files.write_json(path, own)
        found = reading.read_json(path)
        if not isinstance(found, dict):
            raise RunError("damaged: expected an object", where=str(path))
        differing = [key for key in own if found.get(key) != own[key]]
        if differing:
            raise RunError(
                f"the study was begun with other settings: {', '.join(differing)}",
                where=str(folder),
                fix="ask for the same again, or begin another one with --study",
            )


def check_numbers(
    *, epochs: int, factor: int, macs_factor: float, trials: int | None, minutes: float | None
) -> None:
    """Raises RecipeError where a number is out of its range."""
    for name, value, least in (
        ("--epochs", epochs, 1),
        ("--factor", factor, 2),
        ("--macs-factor", macs_factor, 0.1),
        ("--trials", trials, 1),
        ("--minutes", minutes, 0.0),
    ):
        if value is not None and not value >= least:
            raise RecipeError(f"found {value:g}, expected at least {least:g}", where=name)
