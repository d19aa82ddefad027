"""Class names in one spelling, and labels of tables that mean the same in every file."""

import decimal
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from convsmith.data.raw import RawData, is_class_index
from convsmith.errors import DataError

MERGE = "data.merge_spellings=true"
_NEARLY_EQUAL = "classes that differ only in case, spaces or separators: "
# Floats above have no exact neighbours.
_MAX_INTEGER = 2**53
_MAX_INDEX = 2**31 - 1
# Labels that are Python objects at once.
_BLOCK = 4096


class BadLabel:
    """A label that is no class; it shows itself as it was found."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        text = repr(self.value)
        return text if len(text) <= 80 else text[:77] + "..."


class Contradiction(BadLabel):
    """Different labels that rows give one image; it shows itself as text."""

    def __repr__(self) -> str:
        return str(self.value)


class LabelArray(Sequence[Any]):
    """Labels of a split in four bytes each: class indices, and apart from them what is no class.

    Attributes:
        indices: `(N,)`; -1 for a label that is in `others`.
        others: Labels that are no class index, by their position.

    Example:
        >>> labels = LabelArray.of([2, None, 0])
        >>> labels, labels[1] is None, labels.indices.tolist()
        ([2, None, 0], True, [2, -1, 0])
    """

    def __init__(self, indices: NDArray[np.int32], others: Mapping[int, Any]) -> None:
        self.indices, self.others = indices, others

    @classmethod
    def of(cls, labels: Iterable[Any]) -> "LabelArray":
        """Return labels in this form; each is taken from the iterable once."""
        if isinstance(labels, cls):
            return labels
        indices, others = array("i"), {}
        for position, label in enumerate(labels):
            is_index = is_class_index(label) and label <= _MAX_INDEX
            indices.append(label if is_index else -1)
            if not is_index:
                others[position] = label
        return cls(np.frombuffer(indices, np.int32) if indices else np.empty(0, np.int32), others)

    @classmethod
    def joined(cls, parts: Sequence["LabelArray"]) -> "LabelArray":
        """Return the labels of several parts, in their order."""
        starts = np.cumsum([0, *map(len, parts)]).tolist()
        others = {
            start + position: label
            for start, part in zip(starts, parts, strict=False)
            for position, label in part.others.items()
        }
        return cls(np.concatenate([np.empty(0, np.int32), *(part.indices for part in parts)]), others)

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, key: int) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> list[Any]: ...
    def __getitem__(self, key: int | slice) -> Any:
        if isinstance(key, slice):
            return [self[position] for position in range(*key.indices(len(self)))]
        index = int(self.indices[key])
        return index if index >= 0 else self.others[key % len(self)]

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _BLOCK):
            for position, index in enumerate(self.indices[start : start + _BLOCK].tolist(), start):
                yield index if index >= 0 else self.others[position]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


def label_problem(label: object, count: int) -> str:
    """Return why a label is none of so many classes.

    >>> label_problem(-1, 3), label_problem(Contradiction("'cat' in line 2, 'dog' in line 5"), 3)
    ('label -1, expected 0 to 2', "contradicting labels: 'cat' in line 2, 'dog' in line 5")
    """
    if isinstance(label, Contradiction):
        return f"contradicting labels: {label!r}"
    return f"label {label!r}, expected 0 to {count - 1}"


@dataclass(frozen=True, kw_only=True)
class TableLabels:
    """The labels of one file or table.

    Attributes:
        location: The file, for errors.
        values: A class index, or an index of `names`, for each row; anything else is no class.
        names: The names that the indices stand for; None if the table has plain numbers, empty if it has
            no labels.
        is_declared: Whether the table declares the names, in their order; otherwise its rows have them.
    """

    location: str
    values: Sequence[Any]
    names: tuple[str, ...] | None
    is_declared: bool = False

    @classmethod
    def of(cls, location: str, values: Sequence[Any], declared: Sequence[str] | None = None) -> "TableLabels":
        """Return the labels of a column: declared classes, texts, truth values, or numbers.

        >>> labels = TableLabels.of("a.parquet", ["dog", "cat", None])
        >>> labels.names, labels.values
        (('cat', 'dog'), [1, 0, None])
        >>> TableLabels.of("a.parquet", [True, False]).names
        ('false', 'true')
        >>> TableLabels.of("a.parquet", [1.0, 0.5]).values
        [1, 0.5]
        """
        if declared is not None:
            names = tuple(canonical_name(str(name)) for name in declared)
            return cls(location=location, values=values, names=names, is_declared=True)
        texts = {canonical_name(value) for value in values if isinstance(value, str) and value.strip()}
        if texts:
            names = tuple(sorted(texts))
            index = {name: number for number, name in enumerate(names)}
            found = (
                index.get(canonical_name(value), BadLabel(value)) if isinstance(value, str) else _bad(value)
                for value in values
            )
            return cls(location=location, values=LabelArray.of(found), names=names)
        if all(value is None for value in values):
            return cls(location=location, values=values, names=())
        if any(isinstance(value, bool) for value in values):
            truth = (int(value) if isinstance(value, bool) else value for value in values)
            return cls(location=location, values=LabelArray.of(truth), names=("false", "true"))
        return cls(location=location, values=LabelArray.of(map(_whole, values)), names=None)


def combined(
    train: Sequence[TableLabels], test: Sequence[TableLabels]
) -> tuple[tuple[str, ...], Sequence[Sequence[Any]]]:
    """Map the labels of all files to one list of class names, by name.

    Args:
        train: The files of the training set, in order.
        test: The files of the test set.

    Returns:
        The class names, and the labels of each file, those of `train` first. The names are in the order that
        the first file declares, or sorted if they are texts. Plain numbers are their own names, from 0 or, if
        every class has training images and none is 0, from 1.

    Raises:
        DataError: Some files name their classes and others number them, so that no mapping is known.

    Example:
        >>> a = TableLabels.of("a", [0, 1], ["cat", "dog"])
        >>> b = TableLabels.of("b", [0, 1], ["dog", "cat"])
        >>> combined([a], [b])
        (('cat', 'dog'), [[0, 1], [1, 0]])
    """
    files = [*train, *test]
    named = [file for file in files if file.names]
    if not named:
        numbers = _numbers(train, test)
        return tuple(map(str, numbers)), [_shifted(file, numbers.start) for file in files]
    if numbered := next((file for file in files if file.names is None), None):
        raise DataError(
            f"{named[0].location} names its classes and {numbered.location} has plain numbers, so that no "
            "label of one can be compared with one of the other",
            where=numbered.location,
            fix="write both files with the same type of label",
        )
    names = list(dict.fromkeys(name for file in train for name in file.names or ()))
    # A test file may declare classes that it has no images of.
    used = {name for file in test for name in _used(file)}
    names += sorted(used - set(names))
    if not any(file.is_declared for file in train):
        names.sort()
    index = {name: number for number, name in enumerate(names)}
    return tuple(names), [_mapped(file, index) for file in files]


def canonical_name(name: str) -> str:
    r"""Return a class name in one spelling: composed letters, as in `é`, not letters with marks.

    >>> canonical_name("e\u0301te\u0301") == "été"
    True
    """
    return unicodedata.normalize("NFC", name)


def nearly_equal(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of different class names that differ only in case, spaces or separators.

    >>> nearly_equal(["Cat", "dog", "cat", "polar bear", "polar_bear"])
    [('Cat', 'cat'), ('polar bear', 'polar_bear')]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        key = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()
        groups.setdefault(key, []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def name_notes(names: Iterable[str]) -> list[str]:
    """Return a note for each group of nearly equal class names.

    >>> name_notes(["Cat", "cat"])
    ["classes that differ only in case, spaces or separators: 'Cat', 'cat'; data.merge_spellings=true joins \
them"]
    """
    return [
        f"{_NEARLY_EQUAL}{', '.join(map(repr, group))}; {MERGE} joins them" for group in nearly_equal(names)
    ]


def merged_spellings(raw: RawData) -> RawData:
    """Return a data set whose classes of nearly equal names are one, named as most training images are.

    Example:
        >>> from convsmith.data.raw import RawSplit
        >>> split = RawSplit(images=[b""] * 3, labels=[0, 1, 1], locations=["0", "1", "2"])
        >>> merged = merged_spellings(RawData(splits={"train": split}, class_names=("CAT", "cat", "dog")))
        >>> merged.class_names, merged.splits["train"].labels
        (('cat', 'dog'), [0, 0, 0])
    """
    counts = Counter(label for label in raw.splits["train"].labels if is_class_index(label))
    number = {name: index for index, name in enumerate(raw.class_names)}
    # The first of equal numbers of images.
    names = {
        name: max(group, key=lambda name: (counts[number[name]], -number[name]))
        for group in nearly_equal(raw.class_names)
        for name in group
    }
    if not names:
        return raw
    kept = tuple(name for name in raw.class_names if names.get(name, name) == name)
    place = {number[name]: kept.index(names.get(name, name)) for name in raw.class_names}
    merged = [
        f"one class: {', '.join(map(repr, group))} are {names[group[0]]!r}"
        for group in nearly_equal(raw.class_names)
    ]
    return replace(
        raw,
        splits={
            split: replace(each, labels=LabelArray.of(_placed(label, place) for label in each.labels))
            for split, each in raw.splits.items()
        },
        class_names=kept,
        notes=(*(note for note in raw.notes if not note.startswith(_NEARLY_EQUAL)), *merged),
    )


def _placed(label: Any, place: Mapping[int, int]) -> Any:
    return place.get(label, label) if is_class_index(label) else label


def _whole(value: Any) -> Any:
    """Return a number without fraction as an integer, anything else as it is."""
    if not isinstance(value, float | decimal.Decimal):
        return value
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < _MAX_INTEGER else value


def _numbers(train: Sequence[TableLabels], test: Sequence[TableLabels]) -> range:
    """Return the numbers of the classes of files with plain numbers."""
    files = [*train, *test]
    count, distinct, trained = 0, set[int](), set[int]()
    for number, file in enumerate(files):
        counts = Counter(label for label in file.values if is_class_index(label))
        count += counts.total()
        distinct |= counts.keys()
        trained |= counts.keys() if number < len(train) else set()
    if not distinct:
        first = next((repr(BadLabel(label)) for file in files for label in file.values), "none")
        raise DataError(
            f"found no label of a class, the first is {first}",
            where=files[0].location,
            fix="write class indices from 0, texts or truth values, or name another column: "
            "data.label_column=NAME",
        )
    stop = max(distinct) + 1
    if stop > count + 1:
        raise DataError(
            f"found labels up to {stop - 1:,} for {count:,} images, "
            "expected class indices from 0 without gaps",
            where=files[0].location,
            fix="correct the labels, or name another column: data.label_column=NAME",
        )
    # EMNIST's letters are 1 to 26.
    is_from_one = min(distinct) == 1 and stop > 2 and len(trained) == stop - 1
    return range(int(is_from_one), stop)


def _shifted(file: TableLabels, start: int) -> LabelArray:
    if not start:
        return LabelArray.of(file.values)
    return LabelArray.of(label - start if is_class_index(label) else label for label in file.values)


def _used(file: TableLabels) -> set[str]:
    names = file.names or ()
    return {names[label] for label in file.values if is_class_index(label) and label < len(names)}


def _mapped(file: TableLabels, index: dict[str, int]) -> LabelArray:
    own = [index.get(name) for name in file.names or ()]
    return LabelArray.of(
        own[label] if is_class_index(label) and label < len(own) else _bad(label) for label in file.values
    )


def _bad(label: Any) -> BadLabel | None:
    return None if label is None else BadLabel(label)
