"""`false` removes a table or an optional value that a recipe or brief inherits."""

from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def without_unset(table: Any, model: type[BaseModel]) -> Any:
    """Remove the optional fields that are `false` from a table, since TOML has no null.

    Required numbers, strings and booleans keep their value, valid or not.

    Args:
        table: A table from TOML; other values are returned unchanged.
        model: The model of the table.

    Example:
        >>> from convsmith.training.config import TrainConfig
        >>> without_unset({"epochs": 1, "progressive": False, "compile": False}, TrainConfig)
        {'epochs': 1, 'compile': False}
    """
    if not isinstance(table, dict):
        return table
    kept = {}
    for name, value in table.items():
        field = model.model_fields.get(name)
        if field is None:
            kept[name] = value
        elif value is not False or not _is_optional(field):
            models = models_in(field.annotation)
            kept[name] = without_unset(value, models[0]) if len(models) == 1 else value
    return kept


def _is_optional(field: FieldInfo) -> bool:
    return NoneType in get_args(field.annotation) or (
        not field.is_required()
        and isinstance(field.annotation, type)
        and issubclass(field.annotation, BaseModel)
    )


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models of an annotation; empty if it contains none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is None:
        return []
    return [model for argument in get_args(annotation) for model in models_in(argument)]
