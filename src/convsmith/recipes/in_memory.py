"""Recipes and `[data]` tables for data in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convsmith.data.arrays.in_memory import source_of
from convsmith.data.config import DataConfig
from convsmith.recipes.loader import load_data_config
from convsmith.recipes.origin import with_origin
from convsmith.recipes.schema import Recipe

# Stands for data in memory while the settings for them are read.
_PLACE = "data"


@contextmanager
def with_data(recipe: Recipe, data: object) -> Iterator[Recipe]:
    """Return a recipe whose source is data in memory, as long as the block lasts.

    Args:
        recipe: Its other settings in `[data]` stay.
        data: As for `train`; None for the recipe as it is.

    Raises:
        DataError: The data are no images and labels.
    """
    if data is None:
        yield recipe
        return
    with source_of(data, recipe.data) as config:
        yield with_origin(recipe.model_copy(update={"data": config}), recipe)


@contextmanager
def data_config(data: object, overrides: Sequence[str] = ()) -> Iterator[DataConfig]:
    """Return the `[data]` table for a recipe, a source or data in memory, as long as the block lasts.

    Raises:
        RecipeError: An override is invalid.
        DataError: The data are no images and labels.
    """
    if isinstance(data, str | Path):
        yield load_data_config(str(data), overrides)
        return
    with source_of(data, load_data_config(_PLACE, overrides)) as config:
        yield config


@contextmanager
def named_source(data: object, overrides: Sequence[str] = ()) -> Iterator[str | None]:
    """Return `data.source` for data in memory, as long as the block lasts; a name or None as it is."""
    if data is None or isinstance(data, str | Path):
        yield None if data is None else str(data)
        return
    settings = [each for each in overrides if each.startswith("data.")]
    with data_config(data, settings) as config:
        yield config.source
