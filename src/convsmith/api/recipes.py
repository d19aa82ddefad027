"""Load recipes from the library and from files."""

from convsmith.recipes.loader import load, recipe_names
from convsmith.recipes.schema import Recipe


def list_recipes() -> tuple[Recipe, ...]:
    """Return the recipes of the library.

    Example:
        >>> import convsmith as cs
        >>> [recipe.name for recipe in cs.list_recipes() if recipe.name.startswith("mnist")]
        ['mnist-10k', 'mnist-42k', 'mnist-5k', 'mnist-classic']
    """
    return tuple(load(name) for name in recipe_names())


def load_recipe(name: str, *overrides: str) -> Recipe:
    """Load a recipe from the library or from a TOML file.

    Args:
        name: The name of a recipe in the library, or the path of a TOML file.
        overrides: Fields of the recipe as `key=value`.

    Raises:
        RecipeError: The recipe is unknown or invalid; reports every error at once.
        FileError: The file cannot be read, or is not TOML.

    Example:
        >>> import convsmith as cs
        >>> cs.load_recipe("digits", "train.epochs=3").train.epochs
        3
    """
    return load(name, overrides)
