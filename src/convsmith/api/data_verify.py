"""Verification of a data set."""

from convsmith.data.issues import Verification
from convsmith.data.verify import verify
from convsmith.recipes.loader import load_data


def verify_data(name: str, *overrides: str) -> Verification:
    """Decode every image of a data set as a training would, and tell all that is wrong. Nothing is changed.

    Args:
        name: A recipe's name or TOML file, or what `data.source` may be: a name, a folder, `owner/name`.
        overrides: Fields of the recipe, or of its `[data]` table, as `key=value`.

    Raises:
        DataError: There is no such data set, or nothing of it can be read.

    Example:
        >>> import convsmith as cs
        >>> found = cs.verify_data("digits")
        >>> found.clean, found.issues
        (True, ())
    """
    return verify(load_data(name, overrides))
