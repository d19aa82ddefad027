"""Convert pydantic's validation errors to problems with a location and a fix."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from convsmith.errors import Problem, suggest
from convsmith.system.unset import models_in


def problem_of(details: ErrorDetails, model: type[BaseModel]) -> Problem:
    """Return a validation error as a problem; for a wrong name, the fix is the closest valid name."""
    location = details["loc"]
    context = details.get("ctx", {})
    where = ".".join(map(str, _without_tags(location, model)))
    value = _abbreviate(details["input"])
    match details["type"]:
        case "extra_forbidden":
            names = _field_names(location[:-1], model)
            return Problem(what="unknown field", where=where, fix=suggest(str(location[-1]), names))
        case "missing":
            return Problem(what="missing field", where=where, fix=f"set it: {where}=...")
        case "union_tag_not_found":
            return Problem(what="missing name", where=where, fix=f"set it: {where}.name=...")
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
                what=f"unknown value {value}", where=where, fix=suggest(str(details["input"]), options)
            )
        case "model_type" | "model_attributes_type":
            fix = _table_hint(where, location, model)
            return Problem(what=f"found {value}, expected a table", where=where, fix=fix)
        case "value_error":
            return Problem(what=str(context["error"]), where=where)
        case _:
            expected = details["msg"].replace("Input should be", "expected")
            return Problem(what=f"found {value}, {expected[0].lower()}{expected[1:]}", where=where)


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
    kinds = [kind for each in models_in(_annotation(location, model)) for kind in _tags(each)]
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
    tagged = [model for model in models if part in _tags(model)]
    if len(models) > 1 and tagged:
        return tagged[0], True
    fields = [model.model_fields[part] for model in models if part in model.model_fields]
    return (fields[0].annotation if fields else None), False


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    field = model.model_fields.get("name")
    return tuple(map(str, get_args(field.annotation))) if field else ()
