"""Finding, overriding and checking recipes; all mistakes are told at once."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convsmith.briefs.loader import brief_table
from convsmith.data.config import DataConfig
from convsmith.errors import NotationError, Problem, RecipeError, suggest
from convsmith.net.notation import parse
from convsmith.net.settings import NetSettings
from convsmith.recipes.schema import DataOnly, Recipe
from convsmith.system import reading
from convsmith.system.validation import problem_of

_SHELF = resources.files("convsmith.library") / "recipes"
# Tables whose fields depend on their name: naming another one drops the fields of the old.
_VARIANTS = ("train.optimizer", "train.optimizer.rest", "train.schedule", "augment.mix")


def recipe_names() -> tuple[str, ...]:
    """The names of the recipes that ship with convsmith."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _SHELF.iterdir() if entry.name.endswith(".toml"))
    )


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name: A name on the shelf, or the path of a TOML file.
        overrides: Any of its fields as `key=value`, for example `train.epochs=5`. Values are read as TOML,
            and as plain text where they are none. `false` takes a table or a value away that may be left
            out, for example `train.progressive=false`.

    Raises:
        RecipeError: With every mistake that the recipe and the overrides have.
        FileError: The file cannot be read, or is not TOML.

    Example:
        >>> load("mnist-classic", ["train.epochs=2", "seed=7"]).train.epochs
        2
    """
    table = _table(name)
    problems = _override(table, overrides)
    return _validated(table, problems)


def overridden(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe with other values of some fields, as `load` takes them.

    Raises:
        RecipeError: With every mistake at once.

    Example:
        >>> overridden(load("digits"), ["brief.min_accuracy=0.5"]).brief.min_accuracy
        0.5
    """
    table = recipe.table()
    return _validated(table, _override(table, overrides))


def _validated(table: dict[str, Any], problems: list[Problem]) -> Recipe:
    """Raises RecipeError with these problems and all that the table has."""
    problems += _notation_problems(table)
    recipe = None
    try:
        recipe = Recipe.model_validate(table)
    except ValidationError as error:
        problems += [problem_of(details, Recipe) for details in error.errors()]
    if problems or recipe is None:
        raise RecipeError.of(problems)
    return recipe


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with other values of some fields.

    Args:
        recipe: Is left as it is.
        values: By field, as in `train.optimizer.lr`; items of a list are named by index or by name.

    Raises:
        RecipeError: With every mistake at once.

    Example:
        >>> changed(load("digits"), {"augment.transforms.0.p": 0.9}).augment.transforms[0].p
        0.9
    """
    table = recipe.table()
    problems = [problem for key, value in values.items() if (problem := _set(table, key, value))]
    return _validated(table, problems)


def load_settings(overrides: Sequence[str]) -> NetSettings:
    """The settings of a net from `key=value`, for example `norm=none bias=true`.

    Raises:
        RecipeError: With every mistake at once.
    """
    table: dict[str, Any] = {}
    problems = _override(table, overrides)
    settings = None
    try:
        settings = NetSettings.model_validate(table)
    except ValidationError as error:
        problems += [problem_of(details, NetSettings) for details in error.errors()]
    if problems or settings is None:
        raise RecipeError.of(problems)
    return settings


def load_data(name: str, overrides: Sequence[str] = ()) -> DataConfig:
    """The data set of a recipe, or one that is named itself: by name, folder, or `owner/name` on the hub.

    Args:
        name: Of a recipe on the shelf, of its TOML file, or what `data.source` may be.
        overrides: Fields of the recipe, or of its `[data]` table alone, as `key=value`.

    Raises:
        RecipeError: With every mistake at once.

    Example:
        >>> load_data("mnist-classic").source, load_data("pictures", ["data.resize=32"]).resize
        ('mnist', 32)
    """
    if name in recipe_names() or name.endswith(".toml"):
        return load(name, overrides).data
    table: dict[str, Any] = {"data": {"source": name}}
    problems = _override(table, overrides)
    config = None
    try:
        config = DataOnly.model_validate(table).data
    except ValidationError as error:
        problems += [problem_of(details, DataOnly) for details in error.errors()]
    if problems or config is None:
        raise RecipeError.of(problems)
    return config


def _table(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe's fields; where it extends another, that one's with its own set over them.

    Args:
        name: On the shelf, or a TOML file.
        above: The recipes that extend this one, to find those that extend themselves.
    """
    table = _read_table(name)
    base = table.pop("extends", None)
    if base is None:
        if isinstance(table.get("brief"), str):
            table["brief"] = brief_table(table["brief"])
        return table
    if not isinstance(base, str) or base in (*above, name):
        raise RecipeError(f"found {base!r}, expected the name of another recipe", where=f"{name}: extends")
    extended = _table(base, (*above, name))
    # What is said of the other recipe does not hold for this one.
    extended = {key: value for key, value in extended.items() if key not in {"description", "result"}}
    if problems := _set_all(extended, _leaves(table)):
        raise RecipeError.of(problems)
    return extended


def _leaves(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables with their dotted keys, as on the command line."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _read_table(name: str) -> dict[str, Any]:
    if name in recipe_names():
        text = _SHELF.joinpath(f"{name}.toml").read_text("utf-8")
        return {"name": name, **tomllib.loads(text)}
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        table = reading.read_toml(path)
        return table if "name" in table else {"name": path.stem, **table}
    raise RecipeError(f"unknown recipe {name!r}", fix=suggest(name, recipe_names()))


def _override(table: dict[str, Any], overrides: Sequence[str]) -> list[Problem]:
    pairs, problems = [], []
    for text in overrides:
        key, equals, value = text.partition("=")
        if equals and key.strip():
            pairs.append((key.strip(), _value(value.strip())))
        else:
            problems.append(Problem(what="expected key=value", where=text, fix="for example train.epochs=5"))
    return problems + _set_all(table, pairs)


def _set_all(table: dict[str, Any], pairs: Iterable[tuple[str, Any]]) -> list[Problem]:
    """Set fields; variants first, the outer before the inner, whatever the order they are given in.

    So `lr=1 optimizer=adam` keeps the lr, and a brief that is named comes before its fields.
    """
    set_in_turn = (_set(table, key, value) for key, value in sorted(pairs, key=lambda pair: _rank(pair[0])))
    return [problem for problem in set_in_turn if problem]


def _rank(key: str) -> tuple[bool, bool, int]:
    variant = _names_variant(key)
    return key != "brief", not variant, key.count(".") * variant


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _names_variant(key: str) -> bool:
    return key.removesuffix(".name") in _VARIANTS


def _set(table: dict[str, Any], key: str, value: Any) -> Problem | None:
    """Set one field; tables on the way are made, items of a list are named by index or by name."""
    if _names_variant(key) and isinstance(value, str):
        key, value = key.removesuffix(".name"), {"name": value}
    if key == "brief" and isinstance(value, str):
        value = brief_table(value)
    *path, last = key.split(".")
    place: Any = table
    for part in path:
        inside = _inside(place, part)
        if inside is None:
            return _no_place(key, part, place)
        place = inside
    if isinstance(place, list):
        index = next((i for i, item in enumerate(place) if item is _item(place, last)), None)
        if index is None:
            return _no_place(key, last, place)
        place[index] = value
    elif isinstance(place, dict):
        # Naming the variant that is there already changes nothing.
        if not (_names_variant(key) and _same_variant(place.get(last), value)):
            place[last] = value
    else:
        return _no_place(key, last, place)
    return None


def _inside(place: Any, part: str) -> Any:
    """What a table or a list has under a name, None where it cannot have anything.

    A table that is not there, or that `false` took away, is made.
    """
    if isinstance(place, dict):
        if place.get(part, False) is False:
            place[part] = {}
        return place[part]
    return _item(place, part) if isinstance(place, list) else None


def _same_variant(current: Any, value: Any) -> bool:
    return isinstance(current, dict) and {"name": current.get("name")} == value


def _item(items: list[Any], name: str) -> Any:
    if name.isdecimal() and len(name) < 6:
        return items[int(name)] if int(name) < len(items) else None
    return next((item for item in items if isinstance(item, dict) and item.get("name") == name), None)


def _no_place(key: str, part: str, place: Any) -> Problem:
    if isinstance(place, list):
        names = [str(item["name"]) for item in place if isinstance(item, dict) and "name" in item]
        return Problem(what=f"no item {part!r}", where=key, fix=suggest(part, names) or "the list is empty")
    return Problem(what=f"{part!r} is inside a plain value, not a table", where=key)


def _notation_problems(table: Mapping[str, Any]) -> list[Problem]:
    model = table.get("model")
    net = model.get("net") if isinstance(model, dict) else None
    if not isinstance(net, str) or not net:
        return []
    try:
        parse(net)
    except NotationError as error:
        return [replace(problem, where=f"model.{problem.where}") for problem in error.problems]
    return []
