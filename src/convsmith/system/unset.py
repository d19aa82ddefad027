"""`false` takes away what a recipe or a brief has from another."""

from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def without_unset(table: Any, model: type[BaseModel]) -> Any:
    """A table without the fields that are `false` and may be left out. TOML has no null to say so.

    Fields of numbers, texts and truth values that always have one keep what they have, right or wrong.

    Args:
        table: As it is read from TOML; what is no table comes back as it is.
        model: Whose fields it has.

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
        elif value is not False or not _may_be_left_out(field):
            models = models_in(field.annotation)
            kept[name] = without_unset(value, models[0]) if len(models) == 1 else value
    return kept


def _may_be_left_out(field: FieldInfo) -> bool:
    return NoneType in get_args(field.annotation) or (
        not field.is_required()
        and isinstance(field.annotation, type)
        and issubclass(field.annotation, BaseModel)
    )


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The kinds of table that a field may have, none where it has no table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is None:
        return []
    return [model for argument in get_args(annotation) for model in models_in(argument)]
