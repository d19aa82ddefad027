"""Base class and field types of the tables of a recipe."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Table(BaseModel):
    """A table that rejects unknown fields and does not convert types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _complete_variants(cls, table: Any) -> Any:
        """Fill in the name of variant tables without one: they override fields of the default variant."""
        if not isinstance(table, dict):
            return table
        return {name: _with_default(value, cls.model_fields.get(name)) for name, value in table.items()}


def _with_default(value: Any, field: FieldInfo | None) -> Any:
    default: Any = field.default if field else None
    if not isinstance(value, dict) or "name" in value or not hasattr(default, "name"):
        return value
    return {"name": default.name, **default.model_dump(exclude_unset=True), **value}
