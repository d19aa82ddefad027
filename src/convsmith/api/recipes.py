"""The recipes in the library, and recipes in files."""

from convsmith.recipes.loader import load, recipe_names
from convsmith.recipes.schema import Recipe


def list_recipes() -> tuple[Recipe, ...]:
    """The recipes that ship with convsmith.

    Example:
        >>> import convsmith as cs
        >>> [recipe.name for recipe in cs.list_recipes() if recipe.data.source == "mnist"]
        ['mnist-10k', 'mnist-42k', 'mnist-5k', 'mnist-classic']
    """
    return tuple(load(name) for name in recipe_names())


def load_recipe(name: str, *overrides: str) -> Recipe:
    """Read a recipe from the shelf or from a TOML file, with fields overridden as `key=value`.

    Raises:
        RecipeError: With every mistake at once.
        FileError: The file cannot be read, or is not TOML.

    Example:
        >>> import convsmith as cs
        >>> cs.load_recipe("digits", "train.epochs=3").train.epochs
        3
    """
    return load(name, overrides)
