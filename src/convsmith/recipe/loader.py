"""Finding, overriding and checking recipes; all mistakes are told at once."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from convsmith import files
from convsmith.arch.notation import parse
from convsmith.arch.settings import NetSettings
from convsmith.errors import NotationError, Problem, RecipeError, suggest
from convsmith.recipe.schema import Recipe

_SHELF = resources.files("convsmith.recipe") / "shelf"
# Tables whose fields depend on their name: naming another one drops the fields of the old.
_VARIANTS = ("train.optimizer", "train.optimizer.rest", "train.schedule", "augment.mix")


def shelf() -> tuple[str, ...]:
    """The names of the recipes that ship with convsmith."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _SHELF.iterdir() if entry.name.endswith(".toml"))
    )


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name: A name on the shelf, or the path of a TOML file.
        overrides: Any of its fields as `key=value`, for example `train.epochs=5`. Values are read as TOML,
            and as plain text where they are none.

    Raises:
        RecipeError: With every mistake that the recipe and the overrides have.
        FileError: The file cannot be read, or is not TOML.

    Example:
        >>> load("mnist-classic", ["train.epochs=2", "seed=7"]).train.epochs
        2
    """
    table = _table(name)
    problems = _override(table, overrides)
    problems += _notation_problems(table)
    recipe = None
    try:
        recipe = Recipe.model_validate(table)
    except ValidationError as error:
        problems += [_problem(details, Recipe) for details in error.errors()]
    if problems or recipe is None:
        raise RecipeError.of(problems)
    return recipe


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
        problems += [_problem(details, NetSettings) for details in error.errors()]
    if problems or settings is None:
        raise RecipeError.of(problems)
    return settings


def _table(name: str) -> dict[str, Any]:
    if name in shelf():
        text = _SHELF.joinpath(f"{name}.toml").read_text("utf-8")
        return {"name": name, **tomllib.loads(text)}
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        table = files.read_toml(path)
        return table if "name" in table else {"name": path.stem, **table}
    raise RecipeError(f"unknown recipe {name!r}", fix=suggest(name, shelf()))


def _override(table: dict[str, Any], overrides: Sequence[str]) -> list[Problem]:
    pairs, problems = [], []
    for text in overrides:
        key, equals, value = text.partition("=")
        if equals and key.strip():
            pairs.append((key.strip(), _value(value.strip())))
        else:
            problems.append(Problem(what="expected key=value", where=text, fix="for example train.epochs=5"))
    # Variants first, the outer before the inner, whatever the order they were given in: `lr=1 optimizer=adam`
    # keeps the lr.
    pairs.sort(key=lambda pair: (not _names_variant(pair[0]), pair[0].count(".") * _names_variant(pair[0])))
    for key, value in pairs:
        if problem := _set(table, key, value):
            problems.append(problem)
    return problems


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _names_variant(key: str) -> bool:
    return key.removesuffix(".name") in _VARIANTS


def _set(table: dict[str, Any], key: str, value: Any) -> Problem | None:
    """Set one field; tables on the way are made, items of a list are named by index or by name."""
    if _names_variant(key) and isinstance(value, str):
        key, value = key.removesuffix(".name"), {"name": value}
    *path, last = key.split(".")
    place: Any = table
    for part in path:
        if isinstance(place, dict):
            place = place.setdefault(part, {})
        elif isinstance(place, list) and (item := _item(place, part)) is not None:
            place = item
        else:
            return _no_place(key, part, place)
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


def _problem(details: ErrorDetails, model: type[BaseModel]) -> Problem:
    """Say a validation error in our words, with the nearest legal name where a name is wrong."""
    location = details["loc"]
    context = details.get("ctx", {})
    where = ".".join(map(str, _without_tags(location, model)))
    found = _shown(details["input"])
    match details["type"]:
        case "extra_forbidden":
            names = _field_names(location[:-1], model)
            return Problem(what="unknown field", where=where, fix=suggest(str(location[-1]), names))
        case "missing":
            return Problem(what="missing field", where=where, fix=f"set it: {where}=...")
        case "union_tag_invalid":
            options = [option.strip(" '") for option in str(context["expected_tags"]).split(",")]
            return Problem(
                what=f"unknown name {context['tag']!r}",
                where=where,
                fix=suggest(str(context["tag"]), options),
            )
        case "literal_error":
            options = [
                option.strip(" '") for option in str(context["expected"]).replace(" or ", ",").split(",")
            ]
            return Problem(
                what=f"unknown value {found}", where=where, fix=suggest(str(details["input"]), options)
            )
        case "value_error":
            return Problem(what=str(context["error"]), where=where)
        case _:
            expected = details["msg"].replace("Input should be", "expected")
            return Problem(what=f"found {found}, {expected[0].lower()}{expected[1:]}", where=where)


def _shown(value: Any) -> str:
    text = "a table" if isinstance(value, dict) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _without_tags(location: Sequence[str | int], model: type[BaseModel]) -> Iterator[str | int]:
    """Leave out of a location the names of union members, which pydantic puts in."""
    annotation: Any = model
    for part in location:
        annotation, is_tag = _descend(annotation, part)
        if not is_tag:
            yield part


def _field_names(location: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    annotation: Any = model
    for part in location:
        annotation, _ = _descend(annotation, part)
    models = _models(annotation)
    return sorted({name for model in models for name in model.model_fields})


def _descend(annotation: Any, part: str | int) -> tuple[Any, bool]:
    """The annotation one step further down, and whether the step was the name of a union member."""
    models = _models(annotation)
    if isinstance(part, int):
        return annotation, False
    tagged = [model for model in models if part in _tags(model)]
    if len(models) > 1 and tagged:
        return tagged[0], True
    fields = [model.model_fields[part] for model in models if part in model.model_fields]
    return (fields[0].annotation if fields else None), False


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    field = model.model_fields.get("name")
    return tuple(map(str, get_args(field.annotation))) if field else ()


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is None:
        return []
    return [model for argument in get_args(annotation) for model in _models(argument)]
