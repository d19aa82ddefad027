"""What a brief requires of the augmentations of a recipe: that they have an effect, within limits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

from convsmith.briefs.bounds import toml_text
from convsmith.briefs.table_rules import TableRule
from convsmith.data.augment.mix import Mix
from convsmith.data.augment.registry import MIXES, TRANSFORMS
from convsmith.data.augment.transform import Augmentation

# Height and width of an image.
Size = tuple[int, int]

_CLASSES: dict[str, type[Augmentation]] = {
    get_args(each.model_fields["name"].annotation)[0]: each for each in (*TRANSFORMS, *MIXES)
}


class AugmentationRule(TableRule):
    """An augmentation that a recipe must apply, with limits of its settings.

    In a file either a name or a table: `"HorizontalFlip"`, or
    `{ name = "CoarseDropout", hole_height_range = [8, 16], fill = "mean" }`. Without limits the augmentation
    must have an effect.

    Example:
        >>> rule = AugmentationRule.model_validate({"name": "Cutout", "size": [8, 16]})
        >>> rule.name, rule.limits
        ('Cutout', {'size': [8, 16]})
    """

    tables: ClassVar[Mapping[str, type[BaseModel]]] = _CLASSES
    noun: ClassVar[str] = "augmentation"

    @property
    def requirement(self) -> str:
        """The limits in words, for example `size 8 to 16`; `applied` without limits."""
        return self.limits_text or "applied"

    def violations(self, augmentation: Augmentation, size: Size) -> list[str]:
        """Return what is wrong with an augmentation of this name; empty if it satisfies the rule."""
        return [*filter(None, [augmentation.inactive_reason(*size)]), *self.excesses(augmentation)]

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
            settings = "".join(f", {key} = {toml_text(value)}" for key, value in changes.items())
            table = "[augment.mix]" if of_mix else "[[augment.transforms]]"
            return f'add a table {table} with name = "{self.name}"{settings}'
        changes = next(self._changes(augmentation, size), {})
        table = "augment.mix" if of_mix else f"augment.transforms.{self.name}"
        overrides = " ".join(f"{table}.{key}={toml_text(value)}" for key, value in changes.items())
        return (
            f"set {overrides}"
            if overrides
            else f"no settings of {self.name} satisfy the brief at this image size"
        )

    def _changes(self, present: Augmentation, size: Size) -> Iterator[dict[str, Any]]:
        """Yield changes that satisfy the rule, the smallest first; each is tried before it is yielded."""
        defaults = {
            key: field.default
            for key, field in type(present).model_fields.items()
            if key not in {"name", *self.limits} and getattr(present, key) != field.default
        }
        for extra in ({}, *({key: value} for key, value in defaults.items()), defaults):
            changes = {**self.nearest_settings(present), **extra}
            try:
                changed = type(present).model_validate({**present.model_dump(), **changes})
            except ValidationError:
                continue
            if not self.violations(changed, size):
                yield changes


class AugmentationChoice(BaseModel):
    """Augmentations of which a recipe must apply one; usually there is no choice.

    In a file a rule, or a list of rules: `[{ name = "Cutout", size = 16 }, "CoarseDropout"]`.

    Example:
        >>> AugmentationChoice.model_validate(["Cutout", {"name": "mixup", "p": [0.5, 1]}]).requirement
        'Cutout applied, or mixup p 0.5 to 1'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rules: tuple[AugmentationRule, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        if isinstance(value, cls) or (isinstance(value, dict) and isinstance(value.get("rules"), tuple)):
            return value
        alternatives = value if isinstance(value, list | tuple) else [value]
        if not alternatives:
            raise ValueError("an empty list of augmentations: write one or more")
        return {"rules": tuple(map(_rule, alternatives))}

    @model_serializer
    def _to_file(self) -> Any:
        texts = [rule.model_dump() for rule in self.rules]
        return texts if len(texts) > 1 else texts[0]

    @property
    def title(self) -> str:
        return " or ".join(dict.fromkeys(rule.name for rule in self.rules))

    @property
    def requirement(self) -> str:
        """The limits in words, with the name if there is a choice."""
        if len(self.rules) == 1:
            return self.rules[0].requirement
        return ", or ".join(f"{rule.name} {rule.requirement}" for rule in self.rules)

    def nearest(
        self, augmentations: Sequence[Augmentation], size: Size
    ) -> tuple[AugmentationRule, Augmentation | None, list[str]]:
        """Return the rule that is nearest to being met, the augmentation of its name, and its violations."""
        outcomes = []
        for rule in self.rules:
            present = rule.best(augmentations, size)
            outcomes.append((rule, present, rule.violations(present, size) if present else ["not named"]))
        return min(outcomes, key=lambda each: (len(each[2]), each[1] is None))


def _rule(value: Any) -> AugmentationRule:
    """Return the rule of a file. Raises ValueError with the first problem of it."""
    try:
        return AugmentationRule.model_validate(value)
    except ValidationError as error:
        details = error.errors()[0]
        raise ValueError(str(details.get("ctx", {}).get("error", details["msg"]))) from None
