"""Overrides of a trained model: only its brief can change."""

from collections.abc import Sequence
from pathlib import Path

from convsmith.errors import RecipeError


def check_only_brief(kind: str, place: str | Path, overrides: Sequence[str]) -> None:
    """Raise RecipeError for an override of another field than the brief's."""
    for each in overrides:
        if not each.startswith(("brief.", "brief=")):
            raise RecipeError(
                f"a {kind}'s recipe cannot be changed after the training",
                where=each,
                fix=f"name a recipe instead of {place}, or train again",
            )
