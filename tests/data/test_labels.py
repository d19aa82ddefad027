"""Labels of tables mean the same in every file: by name, never by index."""

import datetime as dt
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.data.labels import BadLabel, LabelArray, TableLabels, combined, nearly_equal
from convsmith.errors import DataError

NAMES = ["ant", "bee", "cat", "dog", "été", "Ärger"]


@given(data=st.data())
def test_labels_are_mapped_by_name(data: st.DataObject) -> None:
    """Whatever order each file declares its names in, every row keeps the name of its class."""
    files, expected = [], []
    for number in range(data.draw(st.integers(1, 4))):
        order = data.draw(st.permutations(NAMES))
        declared = order[: data.draw(st.integers(1, len(order)))]
        rows = data.draw(st.lists(st.sampled_from(declared), min_size=1, max_size=8))
        expected.append(rows)
        if data.draw(st.booleans()):
            files.append(TableLabels.of(f"file {number}", [declared.index(name) for name in rows], declared))
        else:
            files.append(TableLabels.of(f"file {number}", rows))
    split = data.draw(st.integers(1, len(files)))
    names, labels = combined(files[:split], files[split:])
    assert len(set(names)) == len(names)
    assert [[names[label] for label in each] for each in labels] == expected


@pytest.mark.parametrize(
    ("values", "names", "labels"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        ([True, False, None], ("false", "true"), [1, 0, None]),
        ([0.0, 2.0, 1.0], ("0", "1", "2"), [0, 2, 1]),
        ([0, 1, 1], ("0", "1"), [0, 1, 1]),
        (["10", "9"], ("10", "9"), [0, 1]),
        (["e\u0301", "\u00e9", "a"], ("a", "\u00e9"), [1, 1, 0]),
    ],
)
def test_types_of_labels(values: list[Any], names: tuple[str, ...], labels: list[Any]) -> None:
    assert combined([TableLabels.of("a", values)], []) == (names, [labels])


@pytest.mark.parametrize(
    ("values", "declared", "shown"),
    [
        ([0, 2], ["a", "b"], "2"), ([0, -1], ["a", "b"], "-1"), (["a", "b", "  "], None, "'  '"),
        ([0.5, 1.0, 0.0], None, "0.5"),
        ([float("nan"), 1.0, 0.0], None, "nan"), ([1e300, 0.0], None, "1e+300"),
        ([0, 1, "x" * 999], ["a", "b"], "x..."),
    ],
)  # fmt: skip
def test_a_label_that_is_no_class_stays_one(
    values: list[Any], declared: list[str] | None, shown: str
) -> None:
    names, (labels,) = combined([TableLabels.of("a", values, declared)], [])
    bad = [label for label in labels if isinstance(label, BadLabel | float)]
    assert len(bad) == 1
    assert shown in repr(bad[0])
    assert len(repr(bad[0])) <= 80
    assert all(names[label] for label in labels if isinstance(label, int))


def test_names_and_numbers_are_not_mixed() -> None:
    files = [TableLabels.of("a", [0, 1], ["x", "y"]), TableLabels.of("b", [0, 1])]
    with pytest.raises(DataError, match="a names its classes and b has plain numbers"):
        combined(files, [])
    with pytest.raises(DataError, match="plain numbers"):
        combined(files[1:], files[:1])


@pytest.mark.parametrize(
    ("train", "test", "names"),
    [
        ([[1, 2, 3, 1]], [[2, 3]], ("1", "2", "3")),
        ([[1, 2], [3]], [], ("1", "2", "3")),
        ([[1.0, 2.0]], [[1.0]], ("1", "2")),
        # Class 0 may be missing by mistake.
        ([[1, 2, 2]], [[0]], ("0", "1", "2")),
        ([[1, 3, 3, 3]], [], ("0", "1", "2", "3")),
        ([[1, 2, 2]], [[3]], ("0", "1", "2", "3")),
        ([[1, 1]], [], ("0", "1")),
    ],
)
def test_numbers_from_one(train: list[list[Any]], test: list[list[Any]], names: tuple[str, ...]) -> None:
    found, labels = combined(
        [TableLabels.of("train", each) for each in train], [TableLabels.of("test", each) for each in test]
    )
    assert found == names
    assert [[int(found[label]) for label in each] for each in labels] == [*train, *test]


@pytest.mark.parametrize("values", [[], [None], [None, None]])
def test_a_file_without_labels_goes_with_any_other(values: list[Any]) -> None:
    for labels in (["a", "b"], [0, 1], [True, False]):
        full, empty = TableLabels.of("full", labels), TableLabels.of("empty", values)
        alone = combined([full], [])
        assert combined([full, empty], []) == (alone[0], [*alone[1], values])
        assert combined([full], [empty]) == (alone[0], [*alone[1], values])


@pytest.mark.parametrize("value", [0.5, -1, b"cat", dt.date(2020, 1, 1)])
def test_labels_of_no_class_are_shown(value: object) -> None:
    with pytest.raises(DataError, match=re.escape(f"no label of a class, the first is {value!r}")):
        combined([TableLabels.of("a", [value, value])], [])


def test_a_test_file_may_declare_other_names() -> None:
    train = TableLabels.of("train", [0, 1, 2], ["a", "b", "c"])
    fewer = TableLabels.of("test", [0, 1], ["c", "a"])
    assert combined([train], [fewer]) == (("a", "b", "c"), [[0, 1, 2], [2, 0]])
    more = TableLabels.of("test", [0], ["b", "unused"])
    assert combined([train], [more]) == (("a", "b", "c"), [[0, 1, 2], [1]])
    unknown = TableLabels.of("test", [1], ["b", "new"])
    assert combined([train], [unknown])[0] == ("a", "b", "c", "new")


def test_nearly_equal_names() -> None:
    assert nearly_equal(["Cat", "cat", "CAT ", "dog"]) == [("Cat", "cat", "CAT ")]
    assert nearly_equal(["polar bear", "polar-bear", "polarbear"]) == [("polar bear", "polar-bear")]
    assert not nearly_equal(["cat", "cats", "dog"])


def test_labels_in_one_array() -> None:
    values = [3, None, 0, -1, 2**40, True, 1.0, "x"]
    labels = LabelArray.of(iter(values))
    assert labels == values
    assert [labels[index] for index in range(-8, 8)] == values * 2
    assert labels[5] is True
    assert labels[2:5] == values[2:5]
    assert labels.indices.tolist() == [3, -1, 0, -1, -1, -1, -1, -1]
    both = LabelArray.joined([labels, LabelArray.of([]), LabelArray.of([None, 7])])
    assert both == [*values, None, 7]
    assert LabelArray.joined([]) == []
    assert labels != values[:-1]
