"""A brief: requirements on the nets of a task, and on the hand-in that has them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from convsmith.briefs.bounds import PositiveAmount, ends
from convsmith.briefs.contradictions import contradiction
from convsmith.briefs.requirements import BlockPattern, Requirements

__all__ = ["BlockPattern", "Brief", "Note"]

Note = Literal["target", "result", "analysis"]


class Brief(Requirements):
    """Requirements on the nets of a task and their trainings. Fields that are left out are not checked.

    Example:
        >>> variants = {"batch": {"norm": "batch"}, "group": {"norm": "group"}}
        >>> brief = Brief.model_validate({"max_parameters": 49_999, "variants": variants})
        >>> brief.with_variant("group").norm
        'group'
    """

    description: str = Field(default="", description="the task in one sentence")
    steps: PositiveAmount | None = Field(
        default=None, description="models of the hand-in: a number, or [low, high]"
    )
    goal: Literal["each", "last"] = Field(
        default="each",
        description="models of a hand-in that must meet the brief: each one, or the last of its steps",
    )
    notes: Annotated[tuple[Note, ...], Field(strict=False)] = Field(
        default=(), description="notes that each model of the hand-in must have"
    )
    variants: dict[str, Requirements] = Field(
        default_factory=dict,
        description="named tables with fields of a brief, each to be met by one model of the hand-in",
    )

    def with_variant(self, name: str) -> Self:
        """Return the brief of a variant: its fields in place of those of the brief.

        Raises:
            KeyError: There is no such variant.
        """
        variant = self.variants[name]
        changes: dict[str, Any] = {field: getattr(variant, field) for field in variant.model_fields_set}
        return self.model_copy(update={**changes, "variants": {}})

    def without_variants(self) -> Self:
        """Return the brief without variants and without the fields that one of them has."""
        fields = {field for variant in self.variants.values() for field in variant.model_fields_set}
        changes: dict[str, Any] = {field: type(self).model_fields[field].default for field in fields}
        return self.model_copy(update={**changes, "variants": {}})

    @field_validator("variants", mode="before")
    @classmethod
    def _unset(cls, variants: Any) -> Any:
        """`false` in a variant removes a field of the brief, since TOML has no null."""
        if not isinstance(variants, dict):
            return variants
        return {
            name: {field: _none_if_unset(field, value) for field, value in variant.items()}
            if isinstance(variant, dict)
            else variant
            for name, variant in variants.items()
        }

    @model_validator(mode="after")
    def _check_contradictions(self) -> Self:
        problems = {name: contradiction(self.with_variant(name)) for name in self.variants}
        texts = [f"variant {name}: {problem}" for name, problem in problems.items() if problem]
        texts += [] if self.variants else [contradiction(self)]
        if problem := next(filter(None, [*texts, self._hand_in_contradiction()]), ""):
            raise ValueError(problem)
        return self

    def _hand_in_contradiction(self) -> str:
        norms = {variant.norm for variant in self.variants.values()} - {None}
        if self.steps is not None and ends(self.steps)[1] < len(norms):
            return (
                f"steps = {ends(self.steps)[1]} and variants contradict each other: "
                f"{len(norms)} kinds of norm need as many models"
            )
        if self.variants and self.goal == "last":
            return 'goal = "last" and variants contradict each other: each variant is met by another model'
        return ""


def _none_if_unset(field: str, value: Any) -> Any:
    info = Requirements.model_fields.get(field)
    return None if value is False and info is not None and info.default is None else value
