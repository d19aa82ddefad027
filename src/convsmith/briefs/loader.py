"""The briefs that ship with convsmith, and briefs in files of their own."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convsmith.briefs.checks import Brief
from convsmith.errors import RecipeError, suggest
from convsmith.system import reading
from convsmith.system.unset import without_unset
from convsmith.system.validation import problem_of

_FOLDER = resources.files("convsmith.library") / "briefs"


def brief_names() -> tuple[str, ...]:
    """The names of the briefs that ship with convsmith."""
    names = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def brief_table(name: str, *, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a brief, as they stand in its file.

    Args:
        name: One that ships with convsmith, or the path of a TOML file: a brief, or a recipe with one.
        above: The briefs that extend this one.

    Raises:
        RecipeError: No such brief, or one that extends itself.
        FileError: The file cannot be read, or is not TOML.
    """
    if name in above:
        raise RecipeError("the brief extends itself", where=" -> ".join([*above, name]))
    above = (*above, name)
    if name in brief_names():
        table = tomllib.loads(_FOLDER.joinpath(f"{name}.toml").read_text("utf-8"))
        return _extended(table, above)
    if name.endswith(".toml") or "/" in name:
        table = reading.read_toml(Path(name))
        inner = table.get("brief", table)
        return _extended(inner, above) if isinstance(inner, dict) else brief_table(str(inner), above=above)
    raise RecipeError(f"unknown brief {name!r}", where="brief", fix=suggest(name, brief_names()))


def _extended(table: dict[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
    """The fields of the brief that this one extends, and over them its own."""
    base = table.pop("extends", None)
    return table if base is None else {**brief_table(str(base), above=above), **table}


def load_brief(name: str) -> Brief:
    """A brief by its name or file, checked.

    Raises:
        RecipeError: With every mistake at once.
        FileError: The file cannot be read, or is not TOML.

    Example:
        >>> load_brief("course-cifar10").min_receptive_field
        45
    """
    try:
        return Brief.model_validate(without_unset(brief_table(name), Brief))
    except ValidationError as error:
        raise RecipeError.of(problem_of(details, Brief) for details in error.errors()) from error
