"""Bounds: an exact value or a range with both ends, for numbers and for ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from convsmith.briefs.bounds import PositiveAmount, Share, SwitchOrQuantity, bound_text, ends, nearest, within

NUMBERS = st.integers(-1000, 1000)


@st.composite
def bounds(draw: st.DrawFn) -> int | tuple[int, int]:
    low, high = sorted((draw(NUMBERS), draw(NUMBERS)))
    return low if draw(st.booleans()) else (low, high)


@given(bound=bounds(), value=NUMBERS)
def test_within_is_membership(bound: int | tuple[int, int], value: int) -> None:
    low, high = bound if isinstance(bound, tuple) else (bound, bound)
    assert within(value, bound) == (value in range(low, high + 1))
    assert ends(bound) == (low, high)


@given(bound=bounds(), value=NUMBERS)
def test_the_nearest_value_is_within_and_no_other_is_nearer(bound: int | tuple[int, int], value: int) -> None:
    low, high = ends(bound)
    chosen = nearest(value, bound)
    assert within(chosen, bound)
    assert abs(chosen - value) == min(abs(each - value) for each in range(int(low), int(high) + 1))


@given(bound=bounds(), first=NUMBERS, second=NUMBERS)
def test_both_ends_of_a_range_must_be_within(bound: int | tuple[int, int], first: int, second: int) -> None:
    assert within([first, second], bound) == (within(first, bound) and within(second, bound))
    assert within(nearest([first, second], bound), bound)


@pytest.mark.parametrize("value", [19, [1, 19], (1, 19), [19, 19]])
def test_valid_bounds(value: object) -> None:
    bound = TypeAdapter(PositiveAmount).validate_python(value)
    assert bound == (tuple(value) if isinstance(value, list | tuple) else value)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", None, [], [1], [1, 2, 3], [3, 1], [0, 2], [1, 1.5]])
def test_invalid_bounds_say_what_to_write(value: object) -> None:
    with pytest.raises(ValidationError, match=r"write a whole number of 1 or more, or \[low, high\]"):
        TypeAdapter(PositiveAmount).validate_python(value)


@pytest.mark.parametrize("value", [-0.1, 1.1, [0.5, 1.5], float("nan"), [0.1, float("nan")]])
def test_shares_are_from_0_to_1(value: object) -> None:
    with pytest.raises(ValidationError, match="from 0 to 1"):
        TypeAdapter(Share).validate_python(value)


def test_a_switch_or_a_bound() -> None:
    adapter = TypeAdapter(SwitchOrQuantity)
    assert [adapter.validate_python(each) for each in (True, 0.5, [0.1, 0.2])] == [True, 0.5, (0.1, 0.2)]
    assert adapter.validate_python(True) is True
    with pytest.raises(ValidationError, match="write a number of 0 or more"):
        adapter.validate_python("yes")


def test_bounds_in_words() -> None:
    assert [bound_text(each) for each in (19, (1, 19), [5, 5], 0.069, "mean", True)] == [
        *("19", "1 to 19", "5", "0.069", '"mean"', "true")
    ]
