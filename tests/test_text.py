"""Percentages and plurals in sentences."""

import pytest

from convsmith.data.augment.transforms.shift_scale_rotate import ShiftScaleRotate
from convsmith.text import plural, short_percent


def test_percentages_are_free_of_binary_rounding() -> None:
    for tenths in range(1001):
        whole, rest = divmod(tenths, 10)
        assert short_percent(tenths / 1000) == (f"{whole}.{rest} %" if rest else f"{whole} %")


def test_a_shift_of_seven_percent() -> None:
    transform = ShiftScaleRotate(
        name="ShiftScaleRotate", shift_limit=0.07, scale_limit=0.29, rotate_limit=7.0
    )
    assert transform.details.startswith("7 %, 29 %, 7 degrees")


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("class", "classes"),
        ("image", "images"),
        ("epoch", "epochs"),
        ("batch", "batches"),
        ("box", "boxes"),
        ("copy", "copies"),
        ("day", "days"),
        ("test image", "test images"),
    ],
)
def test_plurals(noun: str, many: str) -> None:
    counts = [plural(count, noun) for count in (0, 1, 2, 1000)]
    assert counts == [f"0 {many}", f"1 {noun}", f"2 {many}", f"1,000 {many}"]
