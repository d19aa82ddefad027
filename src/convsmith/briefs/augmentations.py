"""What a brief requires of the augmentations of a recipe: that they have an effect, within limits."""

from collections.abc import Iterator, Sequence
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

from convsmith.data.augment.mix import Mix
from convsmith.data.augment.registry import MIXES, TRANSFORMS
from convsmith.data.augment.transform import Augmentation
from convsmith.errors import suggest

# Height and width of an image.
Size = tuple[int, int]

_CLASSES: dict[str, type[Augmentation]] = {
    get_args(each.model_fields["name"].annotation)[0]: each for each in (*TRANSFORMS, *MIXES)
}


class AugmentationRule(BaseModel):
    """An augmentation that a recipe must apply, with limits of its settings.

    In a file either a name or a table: `"HorizontalFlip"`, or
    `{ name = "CoarseDropout", hole_height_range = [8, 16], fill = "mean" }`. `[low, high]` contains both
    ends; any other value must be equal. Without limits the augmentation must have an effect.

    Example:
        >>> rule = AugmentationRule.model_validate({"name": "Cutout", "size": [8, 16]})
        >>> rule.name, rule.limits
        ('Cutout', {'size': [8, 16]})
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    limits: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "limits" not in value:
            return {
                "name": value.get("name"),
                "limits": {key: each for key, each in value.items() if key != "name"},
            }
        return value

    @model_serializer
    def _to_file(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.limits} if self.limits else self.name

    @model_validator(mode="after")
    def _check_names_and_limits(self) -> Self:
        if self.name not in _CLASSES:
            raise ValueError(f"unknown augmentation {self.name!r}; {suggest(self.name, tuple(_CLASSES))}")
        settings = _settings(self.name)
        for key, limit in self.limits.items():
            if key not in settings:
                raise ValueError(f"{self.name} has no setting {key!r}; {suggest(key, settings)}")
            if not _is_valid(self.name, key, limit):
                raise ValueError(
                    f"{self.name}: {key} cannot be {limit!r}; write a value, or [low, high] for a number"
                )
        return self

    @property
    def requirement(self) -> str:
        """The limits in words, for example `size 8 to 16`; `applied` without limits."""
        return ", ".join(f"{key} {_limit_text(limit)}" for key, limit in self.limits.items()) or "applied"

    def violations(self, augmentation: Augmentation, size: Size) -> list[str]:
        """Return what is wrong with an augmentation of this name; empty if it satisfies the rule."""
        broken = [
            f"{key} is {_value_text(getattr(augmentation, key))}"
            for key, limit in self.limits.items()
            if not _within(getattr(augmentation, key), limit)
        ]
        return [*filter(None, [augmentation.inactive_reason(*size)]), *broken]

    def best(self, augmentations: Sequence[Augmentation], size: Size) -> Augmentation | None:
        """Return the augmentation of this name with the fewest violations; None if there is none."""
        named = [each for each in augmentations if each.name == self.name]
        return min(named, key=lambda each: len(self.violations(each, size)), default=None)

    def fix(self, augmentation: Augmentation | None, size: Size) -> str:
        """Return the smallest change that satisfies the rule: overrides, or a new table."""
        of_mix = issubclass(_CLASSES[self.name], Mix)
        if augmentation is None:
            new = _CLASSES[self.name].model_validate({"name": self.name})
            changes = next(self._changes(new, size), {})
            settings = "".join(f", {key} = {_value_text(value)}" for key, value in changes.items())
            table = "[augment.mix]" if of_mix else "[[augment.transforms]]"
            return f'add a table {table} with name = "{self.name}"{settings}'
        changes = next(self._changes(augmentation, size), {})
        table = "augment.mix" if of_mix else f"augment.transforms.{self.name}"
        overrides = " ".join(f"{table}.{key}={_value_text(value)}" for key, value in changes.items())
        return (
            f"set {overrides}"
            if overrides
            else f"no settings of {self.name} satisfy the brief at this image size"
        )

    def _changes(self, present: Augmentation, size: Size) -> Iterator[dict[str, Any]]:
        """Yield changes that satisfy the rule, the smallest first; each is tried before it is yielded."""
        nearest = {
            key: _nearest(getattr(present, key), limit)
            for key, limit in self.limits.items()
            if not _within(getattr(present, key), limit)
        }
        defaults = {
            key: field.default
            for key, field in type(present).model_fields.items()
            if key not in {"name", *self.limits} and getattr(present, key) != field.default
        }
        for extra in ({}, *({key: value} for key, value in defaults.items()), defaults):
            changes = {**nearest, **extra}
            try:
                changed = type(present).model_validate({**present.model_dump(), **changes})
            except ValidationError:
                continue
            if not self.violations(changed, size):
                yield changes


def _settings(name: str) -> tuple[str, ...]:
    return tuple(key for key in _CLASSES[name].model_fields if key != "name")


def _is_valid(name: str, key: str, limit: Any) -> bool:
    """Whether the setting can have the value, or both ends of `[low, high]`."""
    default = _CLASSES[name].model_fields[key].default
    if isinstance(default, bool | str) or not isinstance(limit, list | tuple):
        values = [[limit, limit]] if isinstance(default, tuple) else [limit]
    elif len(limit) != 2 or not all(_is_number(each) for each in limit) or limit[0] > limit[1]:
        return False
    else:
        values = [list(limit)] if isinstance(default, tuple) else list(limit)
    try:
        for value in values:
            _CLASSES[name].model_validate({"name": name, key: value})
    except ValidationError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(value: Any, limit: Any) -> bool:
    """Whether a setting, or both ends of a range, is within a limit."""
    values = value if isinstance(value, list | tuple) else (value,)
    if isinstance(limit, list | tuple):
        low, high = limit
        return all(low <= each <= high for each in values)
    return all(each == limit for each in values)


def _nearest(value: Any, limit: Any) -> Any:
    """Return the value within a limit that is nearest to a setting."""
    if not isinstance(limit, list | tuple):
        return [limit, limit] if isinstance(value, list | tuple) else limit
    low, high = limit
    if isinstance(value, list | tuple):
        return [min(max(each, low), high) for each in value]
    return min(max(value, low), high)


def _limit_text(limit: Any) -> str:
    if isinstance(limit, list | tuple):
        low, high = limit
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return _value_text(limit)


def _value_text(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value_text, value))}]"
    return f"{value:g}" if isinstance(value, int | float) else f'"{value}"'
