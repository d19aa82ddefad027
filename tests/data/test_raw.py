"""Texts and places of many images in little memory."""

import pytest

from convsmith.data.raw import NumberedLocations, TextArray


def test_texts_in_one_array() -> None:
    names = ["a/1.png", "", "\udcff.png", "été", "猫/\x00"]
    texts = TextArray(iter(names))
    assert list(texts) == names
    assert texts[1:4] == names[1:4]
    assert texts[-1] == names[-1]
    assert list(TextArray([])) == []
    for index in (5, -6):
        with pytest.raises(IndexError):
            texts[index]


def test_numbered_locations_end() -> None:
    locations = NumberedLocations("train", "row", 3)
    assert list(locations) == ["train, row 0", "train, row 1", "train, row 2"]
    with pytest.raises(IndexError):
        locations[3]
