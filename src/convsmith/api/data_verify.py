"""Verify a data set."""

from convsmith.data.checks.verify import verify
from convsmith.data.issues import Verification
from convsmith.recipes.in_memory import data_config


def verify_data(
    name: object, *overrides: str, refresh: bool = False, near_duplicates: bool = False
) -> Verification:
    """Decode every image of a data set as a training does, and report every issue. Nothing is modified.

    Args:
        name: The name or TOML file of a recipe, or a value of `data.source`: a name, a folder, `owner/name`;
            or data in memory, as for `train`.
        overrides: Fields of the recipe, or of its `[data]` table, as `key=value`.
        refresh: Also remove the data set from the cache, so that every command decodes it again.
        near_duplicates: Also find flipped, rotated, shifted, brighter, duller and recompressed copies.

    Raises:
        DataError: The data set does not exist or is unreadable.

    Example:
        >>> import convsmith as cs
        >>> verification = cs.verify_data("digits")
        >>> verification.clean, verification.issues
        (True, ())
    """
    with data_config(name, overrides) as config:
        return verify(config, refresh=refresh, near_duplicates=near_duplicates)
