"""Bounds of a value: an exact one, or `[low, high]` with both ends included."""

from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator

from convsmith.codegen import number

Number = int | float


def _bound(value: Any, *, whole: bool, least: float, most: float | None = None) -> Any:
    """Return a bound as a number or a tuple.

    Raises:
        ValueError: It is neither, its ends are in the wrong order, or one is out of range.
    """
    kind = "a whole number" if whole else "a number"
    limits = f"of {number(least)} or more" if most is None else f"from {number(least)} to {number(most)}"
    ends = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if (
        len(ends) != 2
        or not all(_is_number(end, whole=whole) for end in ends)
        or not least <= ends[0] <= ends[1]
        or (most is not None and ends[1] > most)
    ):
        raise ValueError(f"found {value!r}: write {kind} {limits}, or [low, high] with low <= high")
    return ends if isinstance(value, list | tuple) else value


Amount = Annotated[int | tuple[int, int], BeforeValidator(partial(_bound, whole=True, least=0))]
PositiveAmount = Annotated[int | tuple[int, int], BeforeValidator(partial(_bound, whole=True, least=1))]
Share = Annotated[float | tuple[float, float], BeforeValidator(partial(_bound, whole=False, least=0, most=1))]
Quantity = Annotated[float | tuple[float, float], BeforeValidator(partial(_bound, whole=False, least=0))]
SwitchOrQuantity = Annotated[
    bool | float | tuple[float, float],
    BeforeValidator(lambda value: value if isinstance(value, bool) else _bound(value, whole=False, least=0)),
]
Bound = Number | tuple[int, int] | tuple[float, float]


def ends(bound: Bound) -> tuple[Number, Number]:
    """Return the lowest and the highest value.

    Example:
        >>> ends(19), ends((12_000, 18_000))
        ((19, 19), (12000, 18000))
    """
    return bound if isinstance(bound, tuple) else (bound, bound)


def within(value: Any, limit: Any) -> bool:
    """Whether a value, or both ends of a range, is within a limit; any value but a number must be equal."""
    values = value if isinstance(value, list | tuple) else (value,)
    if isinstance(limit, list | tuple):
        low, high = limit
        return all(low <= each <= high for each in values)
    return all(each == limit for each in values)


def nearest(value: Any, limit: Any) -> Any:
    """Return the value within a limit that is nearest to a value.

    Example:
        >>> nearest(30, (10, 20)), nearest((4, 30), (10, 20)), nearest((4, 4), 16)
        (20, [10, 20], [16, 16])
    """
    if not isinstance(limit, list | tuple):
        return [limit, limit] if isinstance(value, list | tuple) else limit
    low, high = limit
    if isinstance(value, list | tuple):
        return [min(max(each, low), high) for each in value]
    return min(max(value, low), high)


def bound_text(limit: Any) -> str:
    """Return a limit in words.

    Example:
        >>> bound_text(0.069), bound_text((12_000, 18_000)), bound_text("mean")
        ('0.069', '12,000 to 18,000', '"mean"')
    """
    if isinstance(limit, list | tuple):
        low, high = limit
        return _number_text(low) if low == high else f"{_number_text(low)} to {_number_text(high)}"
    return _number_text(limit) if _is_number(limit, whole=False) else toml_text(limit)


def toml_text(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(toml_text, value))}]"
    return number(value) if isinstance(value, int | float) else f'"{value}"'


def _number_text(value: Number) -> str:
    return f"{value:,}" if isinstance(value, int) else number(value)


def _is_number(value: Any, *, whole: bool) -> bool:
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool)
