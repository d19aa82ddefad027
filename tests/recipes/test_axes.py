import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.errors import UsageError
from convsmith.recipes.axes import Axis, combinations, count_combinations, parse_axes


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("seed=0..4", "seed", ("0", "1", "2", "3", "4")),
        ("seed=-1..1,7", "seed", ("-1", "0", "1", "7")),
        ("train.optimizer.lr=0.01, 0.03", "train.optimizer.lr", ("0.01", "0.03")),
        ("model.net=C8 / G F10,C16:s2 / G F10", "model.net", ("C8 / G F10", "C16:s2 / G F10")),
        ("data.resize=[32, 32],[64, 64]", "data.resize", ("[32, 32]", "[64, 64]")),
        ('train.optimizer={name="adam", lr=0.1}', "train.optimizer", ('{name="adam", lr=0.1}',)),
        ('name="a,b",c', "name", ('"a,b"', "c")),
        ("train.schedule.max_lr=1..2.5", "train.schedule.max_lr", ("1..2.5",)),
    ],
)
def test_values(text: str, field: str, values: tuple[str, ...]) -> None:
    axis = Axis.parse(text)
    assert (axis.field, axis.values) == (field, values)
    assert Axis.parse(str(axis)) == axis


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("seed", "expected FIELD=VALUE,VALUE"),
        ("=1,2", "expected FIELD=VALUE,VALUE"),
        ("seed=", "expected FIELD=VALUE,VALUE"),
        ("seed=1,,2", "expected FIELD=VALUE,VALUE"),
        ("seed=1,2,1", "the value 1 is there twice"),
        ("seed=0..2,1", "the value 1 is there twice"),
        ("seed=4..0", "the smallest first"),
        ("seed=0..1000000000000", "up to 100,000 numbers"),
    ],
)
def test_mistakes(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Axis.parse(text)


def test_a_field_is_named_once() -> None:
    with pytest.raises(UsageError, match="the field seed is there twice"):
        parse_axes(["seed=0,1", "seed=2"])


@given(st.lists(st.integers(1, 4), max_size=4))
def test_every_combination_is_there_once(sizes: list[int]) -> None:
    axes = parse_axes([f"field{number}=0..{size - 1}" for number, size in enumerate(sizes)])
    runs = [tuple(each.values()) for each in combinations(axes)]
    assert len(set(runs)) == len(runs) == count_combinations(axes)
    # The last axis changes fastest, as the digits of a number do.
    assert runs == sorted(runs)
