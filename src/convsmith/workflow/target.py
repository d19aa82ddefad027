"""What a command is to work on: a net in the notation, a recipe, or a finished run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsmith.arch.analyze import SpecAnalysis, analyze
from convsmith.arch.notation import parse
from convsmith.arch.plan import plan
from convsmith.arch.settings import NetSettings
from convsmith.errors import RecipeError, RunError
from convsmith.recipe.loader import load, load_settings, shelf
from convsmith.recipe.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class Target:
    """A net with its numbers, and where it comes from.

    Attributes:
        name: The recipe's, else "net".
        analysis: For one input shape; it holds the plan.
        recipe: None for a net in the notation.
        run: The folder of a finished run, whose weights are meant.
    """

    name: str
    analysis: SpecAnalysis
    recipe: Recipe | None = None
    run: Path | None = None


def find(text: str, overrides: Sequence[str] = (), input_shape: tuple[int, int, int] | None = None) -> Target:
    """Find out what is meant. Needs no torch, and data only where a recipe's images are not known by name.

    Args:
        text: A recipe's name, the path of a recipe or of a run's folder, or a net in the notation.
        overrides: Fields of the recipe, or settings of the net, as `key=value`.
        input_shape: `(C, H, W)` of one image; a recipe's and a run's own data where it is left out.

    Raises:
        RunError: No such run, or no trained one.
        RecipeError: The recipe or the overrides are wrong, or the input's shape is missing.
        NotationError: The notation cannot be read.
        ShapeError: The layers do not fit the input.

    Example:
        >>> find("C16 C16:s2 / G F10", input_shape=(3, 32, 32)).analysis.parameters
        2970
    """
    if text in shelf() or text.endswith(".toml"):
        recipe = load(text, overrides)
        if input_shape is None:
            from convsmith.data.images import outline_of

            input_shape = outline_of(recipe.data).image_shape
        return _of_recipe(recipe, input_shape)
    if Path(text).is_dir() or _like_a_path(text):
        return _of_run(Path(text), overrides, input_shape)
    if re.fullmatch(r"[a-z]{2,}[\w-]*", text):
        # No notation: tells which recipe may be meant.
        load(text)
    if input_shape is None:
        raise RecipeError("the input's shape is missing", where="--input", fix="for example --input 3x32x32")
    return Target(name="net", analysis=_analysis(text, input_shape, load_settings(overrides)))


def _like_a_path(text: str) -> bool:
    """In the notation no lower-case word stands before a slash."""
    return re.match(r"[\w.-]*[a-z.]{2,}[\w.-]*/\S*$|[/~.]", text) is not None


def _of_recipe(recipe: Recipe, input_shape: tuple[int, int, int], run: Path | None = None) -> Target:
    analysis = _analysis(recipe.model.net, input_shape, recipe.model)
    return Target(name=recipe.name, analysis=analysis, recipe=recipe, run=run)


def _of_run(folder: Path, overrides: Sequence[str], input_shape: tuple[int, int, int] | None) -> Target:
    from convsmith.training.run import RunFolder

    run = RunFolder.open(folder)
    if overrides:
        raise RecipeError(
            "a run's recipe cannot be changed after the training",
            where=overrides[0],
            fix=f"name a recipe instead of {folder}, or train again",
        )
    recipe = load(str(folder / "recipe.toml"))
    return _of_recipe(recipe, input_shape or _recorded_shape(folder, run.data_record()), folder)


def _recorded_shape(folder: Path, record: dict[str, Any]) -> tuple[int, int, int]:
    match record.get("image_shape"):
        case [int(channels), int(height), int(width)]:
            return channels, height, width
    raise RunError("damaged: no image_shape", where=str(folder / "data.json"), fix="train again")


def _analysis(net: str, input_shape: tuple[int, int, int], settings: NetSettings) -> SpecAnalysis:
    return analyze(plan(parse(net), input_shape, settings))
