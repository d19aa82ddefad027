"""Convert pydantic's validation errors to problems with a location and a fix."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from convsmith.errors import Problem, suggest
from convsmith.system.unset import models_in

# Values for examples in messages: the first that a field accepts.
_EXAMPLES = (32, 10, 1, 0.1, 0.5, True, [32, 32])

# Expectations by the start of the type of an error: the value has another type than the field.
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a table",
    "finite": "a finite number",
}
_OTHER_TYPE = ("_type", "_parsing", "_from_float", "_number")


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Return the errors of a validation as problems, each with a location and a fix.

    A value that fits none of several alternatives is one problem.
    """
    by_place: dict[str, list[ErrorDetails]] = {}
    for details in error.errors():
        place = ".".join(map(str, _without_tags(details["loc"], model)))
        by_place.setdefault(place, []).append(details)
    return [_problem(place, each, model) for place, each in by_place.items()]


def _problem(where: str, alternatives: Sequence[ErrorDetails], model: type[BaseModel]) -> Problem:
    details = alternatives[0]
    location = details["loc"]
    context = details.get("ctx", {})
    value = _abbreviate(details["input"])
    match details["type"]:
        case "extra_forbidden":
            return Problem(
                what="unknown field",
                where=where,
                fix=suggest_field(where, model, _field_names(location[:-1], model)),
            )
        case "missing":
            return _missing(where, location, model)
        case "union_tag_not_found":
            return Problem(what="missing name", where=where, fix=f"set it: {where}.name=...")
        case "union_tag_invalid":
            options = [option.strip(" '") for option in str(context["expected_tags"]).split(",")]
            return Problem(
                what=f"unknown name {context['tag']!r}",
                where=where,
                fix=suggest(str(context["tag"]), options),
            )
        case "literal_error" if len(alternatives) == 1:
            return Problem(
                what=f"unknown value {value}",
                where=where,
                fix=suggest(str(details["input"]), _literals(details)),
            )
        case "model_type" | "model_attributes_type":
            fix = _table_hint(where, location, model)
            return Problem(what=f"found {value}, expected a table", where=where, fix=fix)
        case "value_error":
            what, _, fix = str(context["error"]).partition("; write ")
            return Problem(what=what, where=where, fix=fix and f"write {fix}")
        case _:
            expected = " or ".join(dict.fromkeys(map(expectation, alternatives)))
            fix = _example_hint(where, location, model)
            return Problem(what=f"found {value}, expected {expected}", where=where, fix=fix)


def suggest_field(name: str, model: type[BaseModel], siblings: Sequence[str] = ()) -> str:
    """Return a fix for an unknown field: the closest name, here or in another table.

    Args:
        name: The name with the tables that it was looked for in, for example `train.lr`.
        model: The model of the complete table.
        siblings: The fields of the table that it was looked for in.
    """
    *tables, last = name.split(".")
    place = ".".join(tables)
    paths = [path for path in field_paths(model) if path.rpartition(".")[0] != place]
    elsewhere = {path.rpartition(".")[2] for path in paths}
    here = suggest(last, siblings)
    number = {f"{last}s", last.removesuffix("s")} & set(siblings)
    if last not in elsewhere or number:
        if here.startswith("did you mean"):
            return here
        other = suggest(last, elsewhere)
        # A variant of a table has no fields of other variants.
        if len(tables) > 1 or not other.startswith("did you mean"):
            return here
        last = other.split("'")[1]
    # The nearest to the place where it was written, then the outermost, then the first: settings stand before
    # requirements.
    named = [path for path in paths if path.rpartition(".")[2] == last]
    nearest = min(named, key=lambda path: (not path.startswith(place), path.count(".")))
    return f"did you mean {nearest!r}?"


def field_paths(model: type[BaseModel]) -> list[str]:
    """Return the dotted names of all fields and tables; those of every variant of a table."""
    paths: dict[str, None] = {}
    for name, field in model.model_fields.items():
        paths[name] = None
        for inner in models_in(field.annotation):
            paths.update(dict.fromkeys(f"{name}.{path}" for path in field_paths(inner)))
    return list(paths)


def _missing(where: str, location: Sequence[str | int], model: type[BaseModel]) -> Problem:
    inner = models_in(_annotation(location, model))
    if not inner:
        fix = _example_hint(where, location, model) or f"set it: {where}=..."
        return Problem(what="missing field", where=where, fix=fix)
    required = [name for name, field in inner[0].model_fields.items() if field.is_required()]
    fields = f" with {', '.join(required)}" if required else ""
    return Problem(what="missing table", where=where, fix=f"add a table [{where}]{fields}")


def _literals(details: ErrorDetails) -> list[str]:
    expected = str(details.get("ctx", {})["expected"])
    return [option.strip(" '") for option in expected.replace(" or ", ",").split(",")]


def expectation(details: ErrorDetails) -> str:
    """Return what a value of one alternative must be, in words."""
    kind, context = details["type"], details.get("ctx", {})
    bounds = {
        "greater_than_equal": ("at least", "ge"),
        "greater_than": ("more than", "gt"),
        "less_than_equal": ("at most", "le"),
        "less_than": ("less than", "lt"),
    }
    if kind in bounds:
        words, key = bounds[kind]
        return f"{words} {context[key]}"
    if kind == "string_unicode":
        return "a text in UTF-8"
    if kind == "literal_error":
        return ", ".join(map(repr, _literals(details)))
    words = _EXPECTED.get(kind.split("_")[0], "") if kind.endswith(_OTHER_TYPE) else ""
    message = details["msg"].removeprefix("Input should be ")
    return words or f"{message[0].lower()}{message[1:]}"


def _example_hint(where: str, location: Sequence[str | int], model: type[BaseModel]) -> str:
    """Return an example that the field accepts: its own, its default, a usual one; else its description."""
    while location and isinstance(location[-1], int):
        # An item of a list: the field is the list.
        location, where = location[:-1], where.rpartition(".")[0]
    field = _field(location, model)
    if field is None:
        return ""
    annotation: Any = field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(
        Annotated[(annotation, *field.metadata)] if field.metadata else annotation
    )
    default = () if field.is_required() or field.default in (None, ()) else (field.default,)
    for example in (*(field.examples or ()), *default, *_EXAMPLES):
        try:
            adapter.validate_python(example, strict=True)
        except (ValidationError, TypeError):
            continue
        return f"for example {where}={_toml(example)}"
    return field.description or ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_toml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _field(location: Sequence[str | int], model: type[BaseModel]) -> FieldInfo | None:
    """Return the field at a location; None for an item of a list and for an unknown place."""
    annotation: Any = model
    field = None
    for part in location:
        models = models_in(annotation)
        annotation, is_tag = _descend(annotation, part)
        if not is_tag:
            fields = [each.model_fields[part] for each in models if part in each.model_fields]
            field = fields[0] if fields and isinstance(part, str) else None
    return field


def _abbreviate(value: Any) -> str:
    text = "a table" if isinstance(value, dict) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _without_tags(location: Sequence[str | int], model: type[BaseModel]) -> Iterator[str | int]:
    """Remove the names of union members, which pydantic inserts, from a location."""
    annotation: Any = model
    for part in location:
        annotation, is_tag = _descend(annotation, part)
        if not is_tag:
            yield part


def _table_hint(where: str, location: Sequence[str | int], model: type[BaseModel]) -> str:
    """Return how to write a table: by its name if it is a union member, or by its fields."""
    members = models_in(_annotation(location, model))
    kinds = [kind for each in members if "name" in each.model_fields for kind in _tags(each)]
    if kinds:
        return f'write {{name="{kinds[0]}"}}, or another of {", ".join(kinds)}'
    return f"set its fields: {', '.join(f'{where}.{name}' for name in _field_names(location, model))}"


def _annotation(location: Sequence[str | int], model: type[BaseModel]) -> Any:
    annotation: Any = model
    for part in location:
        annotation, _ = _descend(annotation, part)
    return annotation


def _field_names(location: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    models = models_in(_annotation(location, model))
    return sorted({name for model in models for name in model.model_fields})


def _descend(annotation: Any, part: str | int) -> tuple[Any, bool]:
    """Return the annotation of a part of a location, and whether the part names a union member."""
    models = models_in(annotation)
    if isinstance(part, int):
        return annotation, False
    if get_origin(annotation) is dict:
        # The name of an item.
        return get_args(annotation)[1], False
    if not models and annotation is not None:
        # A label of pydantic's for one of several types, for example `bool`.
        return annotation, True
    tagged = [model for model in models if part in _tags(model)]
    if len(models) > 1 and tagged:
        return tagged[0], True
    fields = [model.model_fields[part] for model in models if part in model.model_fields]
    return (fields[0].annotation if fields else None), False


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the tags of a union member: its names, or its `TAG`."""
    field, tag = model.model_fields.get("name"), getattr(model, "TAG", None)
    if tag is not None:
        return (tag,)
    return tuple(map(str, get_args(field.annotation))) if field else ()
