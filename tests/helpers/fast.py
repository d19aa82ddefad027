"""What of many similar cases `make test` runs; `make test-all` runs all of them."""

from collections.abc import Sequence
from typing import Any

import pytest


def few_fast(values: Sequence[Any], count: int) -> list[Any]:
    """Return the values of a test's parameter, of which all after the first `count` are slow.

    >>> [len(getattr(each, "marks", ())) for each in few_fast("abc", 1)]
    [0, 1, 1]
    """
    return [*values[:count], *map(_slow, values[count:])]


def _slow(value: Any) -> Any:
    if hasattr(value, "marks"):
        return pytest.param(*value.values, id=value.id, marks=[*value.marks, pytest.mark.slow])
    return pytest.param(value, marks=pytest.mark.slow)
