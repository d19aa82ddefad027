"""Inputs as text and as shapes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.errors import ShapeError
from convsmith.net.inputs import Input, image_shape, inputs_of, is_channels_last, parse_input

DTYPES = ("", "int64", "int32", "uint8", "bool", "float16", "bfloat16", "float64", "complex64")


@given(
    st.lists(st.integers(1, 1 << 24), max_size=5),
    st.sampled_from(DTYPES),
    st.sampled_from(("", "mask", "x", "x2", "scalar")),
)
def test_text_round_trip(shape: list[int], dtype: str, keyword: str) -> None:
    one = Input(shape=tuple(shape), dtype=dtype, keyword=keyword)
    assert parse_input(str(one)) == one
    assert inputs_of(str(one)) == inputs_of(one) == inputs_of([str(one)]) == (one,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3X32x32", Input(shape=(3, 32, 32))),
        ("10:long", Input(shape=(10,), dtype="int64")),
        ("scalar:half", Input(shape=(), dtype="float16")),
        (" mask=8x8:bool ", Input(shape=(8, 8), dtype="bool", keyword="mask")),
    ],
)
def test_other_spellings(text: str, expected: Input) -> None:
    assert parse_input(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "x", "3x", "0x3x3", "-1x3x3", "3x3.5", "3,32,32", "1x2x3x4x5x6", "3x32x32:", "2=3x3", "=3x3",
     "99999999999x1", "3x\u0663x3", "a=b=3x3", "scalarx3"],
)  # fmt: skip
def test_texts_that_are_no_input(text: str) -> None:
    with pytest.raises(ShapeError) as caught:
        parse_input(text)
    assert "--input 3x32x32" in str(caught.value)


def test_an_unknown_data_type_lists_the_known_ones() -> None:
    with pytest.raises(ShapeError, match="unknown data type 'int65'") as caught:
        parse_input("3x3:int65")
    assert "int64" in str(caught.value)


def test_shapes_of_numbers() -> None:
    assert inputs_of((3, 32, 32)) == inputs_of([3, 32, 32]) == inputs_of(tuple(np.array([3, 32, 32])))
    assert inputs_of([(3, 32, 32), (10,)]) == (Input(shape=(3, 32, 32)), Input(shape=(10,)))
    assert inputs_of("10") == inputs_of([(10,)])


@pytest.mark.parametrize(
    "value",
    [(), [], [()], (3, 0, 32), (3, -1, 32), (3, 32.0, 32), (3, True, 32), (3, "32", 32), (1,) * 6, None, 3.5,
     (3, None)],
)  # fmt: skip
def test_values_that_are_no_shape(value: Any) -> None:
    with pytest.raises(ShapeError) as caught:
        inputs_of(value)
    assert caught.value.problems[0].fix


def test_a_keyword_is_given_once() -> None:
    with pytest.raises(ShapeError, match="the input 'mask' is given twice"):
        inputs_of(["mask=3x3", "mask=4x4"])


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        (((3, 32, 32), (10,)), "found '3x32x32' and '10', expected one image"),
        (("3x32x32:int64",), "expected one image"),
        (("x=3x32x32",), "expected one image"),
        (((32, 32),), "expected one image"),
        (((32, 32, 3),), "looks like height x width x channels"),
        (((28, 28, 1),), "--input 1x28x28"),
        (((3, 32, 16385),), "at most 16384"),
    ],
)
def test_a_net_in_notation_takes_one_image(inputs: tuple[Any, ...], what: str) -> None:
    with pytest.raises(ShapeError) as caught:
        image_shape(inputs_of(list(inputs)))
    assert what in str(caught.value)


def test_feature_maps_do_not_look_like_channels_last() -> None:
    for shape in (
        (3, 32, 32),
        (1, 28, 28),
        (64, 4, 4),
        (64, 4, 3),
        (512, 16, 4),
        (16, 8, 8),
        (3, 3, 3),
        (16, 3),
    ):
        assert not is_channels_last(shape)


@pytest.mark.parametrize(("text", "size"), [("3x4", 48), ("3x4:int64", 96), ("7:bool", 7), ("scalar", 4)])
def test_bytes(text: str, size: int) -> None:
    assert parse_input(text).bytes == size
