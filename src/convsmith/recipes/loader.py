"""Load, override and validate recipes. An error reports every problem at once."""

import copy
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convsmith.briefs.loader import brief_table
from convsmith.data.augment.assignment_names import current_names
from convsmith.data.config import DataConfig
from convsmith.errors import NotationError, Problem, RecipeError, suggest
from convsmith.net.notation import parse
from convsmith.net.settings import NetSettings
from convsmith.recipes.origin import with_origin
from convsmith.recipes.schema import DataOnly, Recipe
from convsmith.system import folders, paths, reading
from convsmith.system.validation import problems_of

_RECIPES = resources.files("convsmith.library") / "recipes"
# Tables whose fields depend on their name: another name discards the fields of the previous one.
_VARIANTS = ("train.optimizer", "train.optimizer.rest", "train.schedule", "augment.mix")
# Tables that replace that of another recipe: their keys are the names of classes, which may have dots.
_WHOLE = ("train.class_weights",)
# The `[model]` table is that of a net in the notation or of a module; each drops the fields of the other.
_MODEL_KINDS = {"model.net": "module", "model.module": "net"}


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes in the library."""
    return tuple(
        sorted(
            entry.name.removesuffix(".toml") for entry in _RECIPES.iterdir() if entry.name.endswith(".toml")
        )
    )


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe.

    Args:
        name: A name from the library, or the path of a TOML file.
        overrides: Fields as `key=value`, for example `train.epochs=5`. Values are TOML, or else plain text.
            `false` removes an optional table or value, for example `train.progressive=false`. A recipe with
            other settings loses its measured result, and its description names the changes.

    Raises:
        RecipeError: The recipe or an override is invalid.
        FileError: The file cannot be read, or is not TOML.

    Example:
        >>> load("mnist-classic", ["train.epochs=2", "seed=7"]).train.epochs
        2
    """
    # Where a zoo model has the same name, `recipe:NAME` is the recipe.
    table = _table(name.removeprefix("recipe:"))
    original = copy.deepcopy(table)
    return _from(original, _validated(table, _override(table, overrides)))


def brief_name_of(name: str, *, inherit: bool = False) -> str | None:
    """Return the name of the brief that a recipe's own file names; None for one with fields of its own.

    Args:
        name: The recipe.
        inherit: A recipe that names no brief has that of the recipe which it extends.

    Example:
        >>> brief_name_of("cifar10-sprint"), brief_name_of("cifar10-sprint-30s")
        ('course-cifar10-relaxed', None)
    """
    table = _read_table(name)
    brief = table.get("brief")
    if inherit and brief is None and (base := table.get("extends")):
        return brief_name_of(base, inherit=True)
    return brief if isinstance(brief, str) else None


def with_overrides(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with overrides, as in `load`.

    Raises:
        RecipeError: An override is invalid.

    Example:
        >>> with_overrides(load("digits"), ["brief.min_accuracy=0.5"]).brief.min_accuracy
        0.5
    """
    table = recipe.table()
    return with_origin(_validated(table, _override(table, overrides)), recipe)


def from_table(table: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a table, as a TOML file has it, with overrides as in `load`.

    Raises:
        RecipeError: The recipe or an override is invalid.

    Example:
        >>> table = {"name": "a", "data": {"source": "digits"}, "model": {"net": "C4 / G F10"}}
        >>> from_table({**table, "train": {"epochs": 2}}, ["seed=3"]).seed
        3
    """
    changed = copy.deepcopy(dict(table))
    return _validated(changed, _override(changed, overrides))


def _from(original: dict[str, Any], recipe: Recipe) -> Recipe:
    """Return a recipe with the texts that fit its differences from the table that it was made from."""
    try:
        return with_origin(recipe, Recipe.model_validate(original))
    except ValidationError:
        # A file that is complete with overrides only has no settings of its own.
        return recipe


def _validated(table: dict[str, Any], problems: list[Problem]) -> Recipe:
    """Validate a table; raise RecipeError with these and all further problems."""
    problems += _notation_problems(table) + _names_of_assignments(table)
    recipe = None
    try:
        recipe = Recipe.model_validate(table)
    except ValidationError as error:
        problems += problems_of(error, Recipe)
    if problems or recipe is None:
        raise RecipeError.of(problems)
    return recipe


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a copy of a recipe with other values.

    Args:
        recipe: The recipe.
        values: Values by field, for example `train.optimizer.lr`. List items have an index or a name.

    Raises:
        RecipeError: A value is invalid.

    Example:
        >>> with_values(load("digits"), {"augment.transforms.0.p": 0.9}).augment.transforms[0].p
        0.9
    """
    table = recipe.table()
    problems = [problem for key, value in values.items() if (problem := _set(table, key, value))]
    return with_origin(_validated(table, problems), recipe)


def load_settings(overrides: Sequence[str]) -> NetSettings:
    """Return the settings of a net from `key=value`, for example `norm=none bias=true`.

    `model.norm=none`, as for a recipe, is the same.

    Raises:
        RecipeError: A setting is invalid.
    """
    table: dict[str, Any] = {}
    problems = _override(table, [each.removeprefix("model.") for each in overrides])
    settings = None
    try:
        settings = NetSettings.model_validate(table)
    except ValidationError as error:
        problems += problems_of(error, NetSettings)
    if problems or settings is None:
        raise RecipeError.of(problems)
    return settings


def load_data_config(name: str, overrides: Sequence[str] = ()) -> DataConfig:
    """Return the `[data]` table of a recipe or for a data set.

    Args:
        name: A recipe from the library or a TOML file, or a value of `data.source`.
        overrides: Fields of the recipe, or of its `[data]` table, as `key=value`.

    Raises:
        RecipeError: The recipe or an override is invalid.

    Example:
        >>> load_data_config("mnist-classic").source, load_data_config("pictures", ["data.resize=32"]).resize
        ('mnist', 32)
    """
    if name in recipe_names() or name.endswith(".toml") or name.startswith("recipe:"):
        return load(name, overrides).data
    table: dict[str, Any] = {"data": {"source": name}}
    problems = _override(table, overrides)
    config = None
    try:
        config = DataOnly.model_validate(table).data
    except ValidationError as error:
        problems += problems_of(error, DataOnly)
    if problems or config is None:
        raise RecipeError.of(problems)
    return config


def _table(name: str, extended_by: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of a recipe, including those of the recipe that it extends.

    Args:
        name: A name from the library, or a TOML file.
        extended_by: The recipes that extend this one, to detect cycles.
    """
    table = _read_table(name)
    base = table.pop("extends", None)
    if base is None:
        if isinstance(table.get("brief"), str):
            table["brief"] = brief_table(table["brief"])
        return table
    if not isinstance(base, str):
        raise RecipeError(
            f"found {base!r}, expected the name of another recipe",
            where=f"{name}: extends",
            fix='for example extends = "digits"',
        )
    if base in (*extended_by, name):
        raise RecipeError(
            "the recipe extends itself",
            where=" -> ".join((*extended_by, name, base)),
            fix=f"remove `extends` from {name}, or name another recipe there",
        )
    extended = _table(base, (*extended_by, name))
    # These describe the other recipe.
    texts = {"description", "result", "notes"}
    extended = {key: value for key, value in extended.items() if key not in texts}
    if problems := _set_all(extended, _leaves(table)):
        raise RecipeError.of(problems)
    return extended


def _leaves(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables with dotted keys, as on the command line."""
    for key, value in table.items():
        if isinstance(value, dict) and f"{path}{key}" not in _WHOLE:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _read_table(name: str) -> dict[str, Any]:
    if name in recipe_names():
        text = _RECIPES.joinpath(f"{name}.toml").read_text("utf-8")
        return {"name": name, **tomllib.loads(text)}
    if paths.is_folder(Path(name)):
        own = Path(name) / "recipe.toml"
        fix = f"name its recipe: {own}" if paths.is_file(own) else "name a recipe, or a TOML file"
        raise RecipeError("this folder is no recipe", where=name, fix=fix)
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        table = _with_module_beside(reading.read_toml(path), path.parent)
        return table if "name" in table else {"name": path.stem, **table}
    raise RecipeError(f"unknown recipe {name!r}", fix=folders.suggest_name(name, recipe_names()))


def _with_module_beside(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a table whose module is looked for beside the recipe first, then in the working directory."""
    match table.get("model"):
        case {"module": str(text), **rest} if _is_beside(text, folder):
            return {**table, "model": {**rest, "module": str(folder / text)}}
    return table


def _is_beside(module: str, folder: Path) -> bool:
    from convsmith.modules.reference import file_of

    file = file_of(module)
    return bool(file) and paths.is_file(folder / file)


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
    """Set fields in an order that does not depend on the arguments: variants first, outer before inner.

    `lr=1 optimizer=adam` keeps the lr, and the name of a brief comes before its fields.
    """
    ordered = sorted(pairs, key=lambda pair: _rank(pair[0]))
    if _MODEL_KINDS.keys() <= {key for key, _ in ordered}:
        return [_two_nets()]
    return [problem for key, value in ordered if (problem := _set(table, key, value))]


def _rank(key: str) -> tuple[bool, bool, int]:
    variant = _names_variant(key) or key in _MODEL_KINDS
    return key != "brief", not variant, key.count(".") * variant


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _names_variant(key: str) -> bool:
    return key.removesuffix(".name") in _VARIANTS


def _set(table: dict[str, Any], key: str, value: Any) -> Problem | None:
    """Set one field. Missing tables are created; list items have an index or a name."""
    if _names_variant(key) and isinstance(value, str):
        key, value = key.removesuffix(".name"), {"name": value}
    if key == "brief" and isinstance(value, str):
        value = brief_table(value)
    if key in _MODEL_KINDS and _MODEL_KINDS[key] in _child(table, "model"):
        table["model"] = {}
    *path, last = key.split(".")
    container: Any = table
    for part in path:
        child = _child(container, part)
        if child is None:
            return _invalid_key(key, part, container)
        container = child
    if isinstance(container, list):
        index = next((i for i, item in enumerate(container) if item is _item(container, last)), None)
        if index is None:
            return _invalid_key(key, last, container)
        container[index] = value
    elif isinstance(container, dict):
        # The name of the current variant changes nothing.
        if not (_names_variant(key) and _same_variant(container.get(last), value)):
            container[last] = value
    else:
        return _invalid_key(key, last, container)
    return None


def _child(container: Any, part: str) -> Any:
    """Return the item of a table or list; None if there is none.

    A table that is missing or was removed by `false` is created.
    """
    if isinstance(container, dict):
        if container.get(part, False) is False:
            container[part] = {}
        return container[part]
    return _item(container, part) if isinstance(container, list) else None


def _same_variant(current: Any, value: Any) -> bool:
    return isinstance(current, dict) and {"name": current.get("name")} == value


def _item(items: list[Any], name: str) -> Any:
    if name.isdecimal() and len(name) < 6:
        return items[int(name)] if int(name) < len(items) else None
    return next((item for item in items if isinstance(item, dict) and item.get("name") == name), None)


def _invalid_key(key: str, part: str, container: Any) -> Problem:
    if isinstance(container, list):
        names = [str(item["name"]) for item in container if isinstance(item, dict) and "name" in item]
        return Problem(what=f"no item {part!r}", where=key, fix=suggest(part, names) or "the list is empty")
    return Problem(what=f"{part!r} is inside a plain value, not a table", where=key)


def _two_nets() -> Problem:
    what = "a recipe has one net, found two: model.net, in the notation, and model.module"
    return Problem(what=what, where="model", fix="remove one of them")


def _names_of_assignments(table: dict[str, Any]) -> list[Problem]:
    """Put the names of today in place of those of albumentations 1.x, and return a problem for each."""
    problems: list[Problem] = []
    for outer, inner, limits in (("augment", "transforms", False), ("brief", "augmentations", True)):
        if isinstance(table.get(outer), dict) and inner in table[outer]:
            where = f"{outer}.{inner}"
            tables, more = current_names(table[outer][inner], where=where, limits=limits)
            table[outer] = {**table[outer], inner: tables}
            problems += more
    return problems


def _notation_problems(table: Mapping[str, Any]) -> list[Problem]:
    model = table.get("model")
    net = model.get("net") if isinstance(model, dict) else None
    if isinstance(model, dict) and {"net", "module"} <= model.keys():
        return [_two_nets()]
    if not isinstance(net, str) or not net:
        return []
    try:
        parse(net)
    except NotationError as error:
        return [replace(problem, where=f"model.{problem.where}") for problem in error.problems]
    return []
