"""Mistakes in recipes and briefs in our words: where, found against expected, the nearest legal name."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from convsmith.errors import Problem, suggest
from convsmith.system.unset import models_in


def problem_of(details: ErrorDetails, model: type[BaseModel]) -> Problem:
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
                what=f"unknown value {found}", where=where, fix=suggest(str(details["input"]), options)
            )
        case "model_type" | "model_attributes_type":
            fix = _table(where, location, model)
            return Problem(what=f"found {found}, expected a table", where=where, fix=fix)
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


def _table(where: str, location: Sequence[str | int], model: type[BaseModel]) -> str:
    """How to write the table that belongs somewhere: by its kind, where there are kinds, or by its fields."""
    kinds = [kind for each in models_in(_annotation(location, model)) for kind in _tags(each)]
    if kinds:
        return f'write {{name="{kinds[0]}"}} there, or another of {", ".join(kinds)}'
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
    """The annotation one step further down, and whether the step was the name of a union member."""
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
