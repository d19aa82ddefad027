"""Load briefs: the built-in ones, and those in TOML files."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convsmith.briefs.schema import Brief
from convsmith.data.augment.assignment_names import current_names
from convsmith.errors import Problem, RecipeError, suggest
from convsmith.system import reading
from convsmith.system.unset import without_unset
from convsmith.system.validation import problems_of

_FOLDER = resources.files("convsmith.library") / "briefs"


def brief_names() -> tuple[str, ...]:
    """Return the names of the built-in briefs."""
    names = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def brief_table(name: str, *, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of a brief as written in its file.

    Args:
        name: A built-in brief, or the path of a TOML file: a brief, or a recipe with one.
        above: The briefs that extend this one.

    Raises:
        RecipeError: No such brief, or one that extends itself.
        FileError: The file cannot be read, or is not TOML.
    """
    if name in above:
        raise RecipeError(
            "the brief extends itself",
            where=" -> ".join([*above, name]),
            fix=f"remove `extends` from {above[-1]}, or name another brief there",
        )
    above = (*above, name)
    if name in brief_names():
        table = tomllib.loads(_FOLDER.joinpath(f"{name}.toml").read_text("utf-8"))
        return _extended(table, above)
    if name.endswith(".toml") or "/" in name:
        table = reading.read_toml(Path(name))
        inner = table.get("brief", table)
        return _extended(inner, above) if isinstance(inner, dict) else brief_table(str(inner), above=above)
    raise RecipeError(f"unknown brief {name!r}", where="brief", fix=suggest(name, brief_names()))


def base_brief(name: str) -> str | None:
    """Return the built-in brief that another one extends; None if it extends none.

    Example:
        >>> base_brief("course-a4-mnist-10k"), base_brief("course-a4-mnist-8k")
        ('course-a4-mnist-8k', None)
    """
    base = tomllib.loads(_FOLDER.joinpath(f"{name}.toml").read_text("utf-8")).get("extends")
    return None if base is None else str(base)


def _extended(table: dict[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
    """Merge the fields of a brief over those of the brief that it extends."""
    base = table.pop("extends", None)
    return table if base is None else {**brief_table(str(base), above=above), **table}


def load_brief(name: str) -> Brief:
    """Load a brief by its name or file.

    Raises:
        RecipeError: Reports every error at once.
        FileError: The file cannot be read, or is not TOML.

    Example:
        >>> load_brief("course-cifar10").min_receptive_field
        45
    """
    table = brief_table(name)
    problems: list[Problem] = []
    if "augmentations" in table:
        table["augmentations"], problems = current_names(
            table["augmentations"], where="augmentations", limits=True
        )
    try:
        brief = Brief.model_validate(without_unset(table, Brief))
    except ValidationError as error:
        raise RecipeError.of([*problems, *problems_of(error, Brief)]) from error
    if problems:
        raise RecipeError.of(problems)
    return brief
