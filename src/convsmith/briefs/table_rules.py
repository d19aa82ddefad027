"""What a brief requires of a named table of a recipe: its name, and limits of its settings."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

from convsmith.briefs.bounds import bound_text, nearest, toml_text, within
from convsmith.errors import suggest


class TableRule(BaseModel):
    """A table that a recipe must have, with limits of its settings.

    In a file either a name or a table: `"adam"`, or `{ name = "one-cycle", warmup = [0.2, 0.3] }`.
    `[low, high]` contains both ends; any other value must be equal.

    Attributes:
        tables: The tables by name.
        noun: What they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tables: ClassVar[Mapping[str, type[BaseModel]]]
    noun: ClassVar[str]

    name: str
    limits: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        is_table = isinstance(value, dict) and isinstance(value.get("name"), str)
        if not (is_table or isinstance(value, cls)):
            example = f'{{ name = "{next(iter(cls.tables))}" }}'
            raise ValueError(f"write the name of the {cls.noun}, or a table with it, as {example}")
        if is_table and not isinstance(value.get("limits"), dict):
            return {
                "name": value["name"],
                "limits": {key: each for key, each in value.items() if key != "name"},
            }
        return value

    @model_serializer
    def _to_file(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.limits} if self.limits else self.name

    @model_validator(mode="after")
    def _check_names_and_limits(self) -> Self:
        if self.name not in self.tables:
            raise ValueError(f"unknown {self.noun} {self.name!r}; {suggest(self.name, tuple(self.tables))}")
        settings = tuple(key for key in self.table.model_fields if key != "name")
        for key, limit in self.limits.items():
            if key not in settings:
                raise ValueError(f"{self.name} has no setting {key!r}; {suggest(key, settings)}")
            if not self._is_valid(key, limit):
                raise ValueError(
                    f"{self.name}: {key} cannot be {limit!r}; write a value, or [low, high] for a number"
                )
        return self

    @property
    def table(self) -> type[BaseModel]:
        """The schema of the table."""
        return self.tables[self.name]

    @property
    def limits_text(self) -> str:
        """The limits in words, for example `size 8 to 16`; empty without limits."""
        return ", ".join(f"{key} {bound_text(limit)}" for key, limit in self.limits.items())

    @property
    def requirement(self) -> str:
        """The name and the limits in words."""
        return ", ".join(filter(None, [self.name, self.limits_text]))

    def excesses(self, present: BaseModel) -> list[str]:
        """Return the settings that are beyond their limits, in words."""
        return [
            f"{key} is {toml_text(getattr(present, key))}"
            for key, limit in self.limits.items()
            if not within(getattr(present, key), limit)
        ]

    def nearest_settings(self, present: BaseModel) -> dict[str, Any]:
        """Return, for each setting beyond its limits, the nearest value within them."""
        return {
            key: nearest(getattr(present, key), limit)
            for key, limit in self.limits.items()
            if not within(getattr(present, key), limit)
        }

    @property
    def default_settings(self) -> dict[str, Any]:
        """The name, and the settings whose defaults are beyond their limits, with the nearest values."""
        return {"name": self.name, **self.nearest_settings(self.table.model_validate({"name": self.name}))}

    def _is_valid(self, key: str, limit: Any) -> bool:
        """Whether the setting can have the value, or both ends of `[low, high]`."""
        default = self.table.model_fields[key].default
        if isinstance(default, bool | str) or not isinstance(limit, list | tuple):
            values = [[limit, limit]] if isinstance(default, tuple) else [limit]
        elif len(limit) != 2 or not all(_is_number(each) for each in limit) or limit[0] > limit[1]:
            return False
        else:
            values = [list(limit)] if isinstance(default, tuple) else list(limit)
        try:
            for value in values:
                self.table.model_validate({"name": self.name, key: value})
        except ValidationError:
            return False
        return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
