"""What a brief requires of the kinds of layers: one of each, a number, or one of several kinds."""

from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from convsmith.briefs.bounds import Amount, bound_text, ends
from convsmith.briefs.structure import LayerKind
from convsmith.errors import suggest
from convsmith.text import plural


class KindRule(BaseModel):
    """Kinds of layers of which a net must have one, or a number.

    In a file a kind, `"dropout"`; kinds of which one must be there, `["fully-connected",
    "global-average-pooling"]`; or a table with a number or a range, `{ kind = "dropout", count = [1, 9] }`.

    Example:
        >>> KindRule.model_validate(["fully-connected", "global-average-pooling"]).title
        'fully-connected or global-average-pooling'
        >>> KindRule.model_validate({"kind": "dropout", "count": [1, 9]}).requirement
        '1 to 9 layers'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kinds: tuple[LayerKind, ...] = Field(min_length=1)
    count: Amount | None = Field(default=None, description="number of layers; without it, at least 1")

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        if isinstance(value, dict) and not isinstance(value.get("kinds"), tuple):
            if unexpected := value.keys() - {"kind", "count"}:
                raise ValueError(f"unknown field {min(unexpected)!r}; a kind has kind and count")
            if "kind" not in value:
                raise ValueError('a table of a kind names it: { kind = "dropout", count = [1, 9] }')
            value = {"kinds": _kinds(value["kind"]), **{k: v for k, v in value.items() if k == "count"}}
        elif not isinstance(value, dict | cls):
            value = {"kinds": _kinds(value)}
        return value

    @model_serializer
    def _to_file(self) -> str | list[str] | dict[str, Any]:
        kinds: str | list[str] = list(self.kinds) if len(self.kinds) > 1 else self.kinds[0]
        return kinds if self.count is None else {"kind": kinds, "count": self.count}

    @model_validator(mode="after")
    def _check_distinct(self) -> Self:
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError("a kind is written twice")
        return self

    @property
    def title(self) -> str:
        return " or ".join(self.kinds)

    @property
    def least(self) -> int:
        """The smallest number of layers."""
        return 1 if self.count is None else int(ends(self.count)[0])

    @property
    def most(self) -> int | None:
        """The largest number of layers; None without a limit."""
        return None if self.count is None else int(ends(self.count)[1])

    @property
    def requirement(self) -> str:
        """The number of layers in words."""
        if self.count is None:
            return "at least 1 layer"
        return plural(self.least, "layer") if self.least == self.most else f"{bound_text(self.count)} layers"

    def excess(self, count: int) -> int:
        """Return how many layers a net has too many or too few."""
        return max(self.least - count, count - (count if self.most is None else self.most), 0)


def _kinds(value: Any) -> tuple[Any, ...]:
    """Return the kinds that a file names, each checked."""
    kinds = tuple(value) if isinstance(value, list | tuple) else (value,)
    known = get_args(LayerKind)
    if not kinds:
        raise ValueError("an empty list of kinds: write one or more")
    for kind in kinds:
        if kind not in known:
            raise ValueError(f"unknown kind {kind!r}; {suggest(str(kind), known)}")
    return kinds
