"""Write a first recipe for a data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from convsmith.errors import RecipeError
from convsmith.recipes.loader import from_table, load_data_config
from convsmith.recipes.schema import Recipe
from convsmith.recipes.starter.starter import choose, table_of
from convsmith.recipes.starter.text import estimate, recipe_text
from convsmith.system import files, folders


@dataclass(frozen=True, kw_only=True)
class StarterRecipe:
    """A first recipe for a data set.

    Attributes:
        text: The TOML file, with comments that give the reasons.
        recipe: What it loads as.
        estimate: The time of the training on this machine, in words.
        epoch_seconds: Measured seconds of an epoch.
        assumption: What was assumed about mirrored images without being certain; empty if nothing was.
    """

    text: str
    recipe: Recipe
    estimate: str
    epoch_seconds: float
    assumption: str


def start_recipe(
    name: str,
    *overrides: str,
    minutes: float = 10.0,
    flip: bool | None = None,
    range_test: bool = True,
    ask: Callable[[str, bool], bool] | None = None,
    out: str | Path | None = None,
    replace: bool = False,
) -> StarterRecipe:
    """Choose a recipe for a data set: net, size, augmentation, learning rate and epochs for a time budget.

    The images are described, some steps are timed, and a short range test is run, on this machine.

    Args:
        name: A value of `data.source`, or the name or TOML file of a recipe, whose `[data]` table is used.
        overrides: Fields of the `[data]` table as `key=value`, for example `data.resize=64`.
        minutes: Time budget of the training.
        flip: Whether a mirrored image is still one of its class; None to judge by names and images.
        range_test: Whether the learning rate is measured; otherwise it is 0.005.
        ask: Called with a question about flips and the likely answer if names of classes do not tell.
        out: A file to write; by default none.
        replace: Replace the file if it exists.

    Raises:
        DataError: The data set does not exist, is unreadable, or has too few images.
        RecipeError: The time budget is not above 0, or no image is usable.
        FileError: The file exists or cannot be written.
    """
    if out is not None:
        folders.check_destination(Path(out).parent)
        if Path(out).exists() and not replace:
            files.write_files({Path(out): b""})
    _check_encodable(name)
    _check_overrides(overrides)
    config = load_data_config(name, overrides)
    choices = choose(config, source=name, minutes=minutes, flip=flip, ask=ask, range_test=range_test)
    text = recipe_text(choices)
    judged = choices.mirroring
    starter = StarterRecipe(
        text=text,
        recipe=from_table(table_of(text)),
        estimate=estimate(choices),
        epoch_seconds=choices.pace.epoch,
        assumption="" if judged.certain else judged.reason,
    )
    if out is not None:
        files.write_files({Path(out): text.encode()}, replace=replace)
    return starter


def _check_encodable(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise RecipeError(
            "this name is not UTF-8, so a TOML file cannot hold it", where=name, fix="rename the folder"
        ) from error


def _check_overrides(overrides: Sequence[str]) -> None:
    """Raise RecipeError for fields that are chosen here, and could only be ignored."""
    if others := [each for each in overrides if not each.lstrip().startswith("data.")]:
        raise RecipeError(
            "only fields of [data] can be set here; the others are chosen",
            where=", ".join(others),
            fix="change them in the file, or with the training: convsmith train mine.toml KEY=VALUE",
        )
