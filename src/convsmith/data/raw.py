"""A data set before its images are decoded and its labels are checked."""

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath
from typing import Any, Protocol, overload, runtime_checkable

from convsmith.data.images.decode import Encoded, UnusableImageError


@runtime_checkable
class Divisible(Protocol):
    """Images that can be read from any position on, without reading all of those before it."""

    def part(self, start: int, stop: int) -> Iterator[Encoded | UnusableImageError]:
        """Yield the images from `start` to the one before `stop`."""
        ...


def part_of(
    images: Collection[Encoded | UnusableImageError], start: int, stop: int
) -> Iterator[Encoded | UnusableImageError]:
    """Yield the images from `start` to the one before `stop`, as `RawSplit.part`."""
    if isinstance(images, Divisible):
        return images.part(start, stop)
    if isinstance(images, Sequence):
        return iter(images[start:stop])
    return islice(images, start, None if stop >= len(images) else stop)


class TextArray(Sequence[str]):
    """Texts in their bytes and eight more each; a Python object takes 50 more.

    >>> texts = TextArray(["a/1.png", "b/2.png"])
    >>> texts[1], len(texts)
    ('b/2.png', 2)
    """

    def __init__(self, texts: Iterable[str]) -> None:
        content, ends = bytearray(), array("Q", [0])
        for text in texts:
            # Names of files that are not UTF-8 contain lone surrogates.
            content += text.encode(errors="surrogatepass")
            ends.append(len(content))
        self._content, self._ends = bytes(content), ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            return [self[index] for index in range(*key.indices(len(self)))]
        if not -len(self) <= key < len(self):
            raise IndexError(key)
        key %= len(self)
        return self._content[self._ends[key] : self._ends[key + 1]].decode(errors="surrogatepass")


class NumberedLocations(Sequence[str]):
    """`name, unit N` for each image, formatted on access.

    >>> list(NumberedLocations("train", "row", 2))
    ['train, row 0', 'train, row 1']
    """

    def __init__(self, name: str, unit: str, length: int) -> None:
        self.name, self.unit, self.length = name, unit, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return f"{self.name}, {self.unit} {index}"


@dataclass(frozen=True, kw_only=True)
class RawSplit:
    """Encoded images, each a file's bytes, its path or its pixels, with one label each.

    Attributes:
        images: An error stands for an image that cannot be read.
        labels: Unchecked: some may be no class index.
        locations: Of each image, relative to the source: a file, or a row of a file, counted from 0.
        folder: Of the class folders, relative to the source, if the source has class folders.
        inner: The folder of this split inside each class folder, if the splits are there.
        folder_names: The name of the folder of each class, where it is another one.
        column: Returns the values of another column of a table; raises KeyError if there is none.
        has_files: Whether each image is a file, whose path is its location.
        most_parts: Into how many parts the images should be divided at most, because it takes time to read
            from the middle; None if it does not.
    """

    images: Collection[Encoded | UnusableImageError]
    labels: Sequence[Any]
    locations: Sequence[str]
    folder: str | None = None
    inner: str = ""
    folder_names: Mapping[str, str] = field(default_factory=dict)
    column: Callable[[str], Sequence[Any]] | None = None
    has_files: bool = False
    most_parts: int | None = None

    def part(self, start: int, stop: int) -> Iterator[Encoded | UnusableImageError]:
        """Yield the images from `start` to the one before `stop`.

        The last part is read to its end, where some formats have a checksum of all images.

        >>> split = RawSplit(images=[b"a", b"b", b"c"], labels=[0, 1, 0], locations=["0", "1", "2"])
        >>> list(split.part(1, 3))
        [b'b', b'c']
        """
        return part_of(self.images, start, stop)

    def class_folder(self, name: str) -> str:
        """Return the folder of a class, which need not exist; empty if the source has no class folders."""
        if self.folder is None:
            return ""
        return PurePath(self.folder, self.folder_names.get(name, name), self.inner).as_posix()


@dataclass(frozen=True, kw_only=True)
class RawData:
    """A data set before decoding.

    Attributes:
        splits: `"train"` and, if the source has them and they are used, `"validation"` and `"test"`.
        class_names: In the order of the labels.
        unreadable: Files of images that cannot be read, with the reason.
        ignored: Files that are not read, with the reason: not images, or not in a class folder.
        notes: What the layout and the names were taken for, for the log.
        test_is_validation: Whether the test set is the validation split of a source without a test split.
        description: One line that names the layout of the source.
    """

    splits: Mapping[str, RawSplit]
    class_names: tuple[str, ...]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    test_is_validation: bool = False
    description: str = ""

    def layout(self, more_pages: int = 0, notes: Sequence[str] = ()) -> "SourceLayout":
        """Return what was decided about the source.

        Args:
            more_pages: The number of pages after the first of its files.
            notes: About its images.
        """
        left_out = Counter(self.ignored.values())
        if more_pages:
            left_out["pages or frames of a file after the first"] = more_pages
        return SourceLayout(
            left_out=dict(sorted(left_out.items())),
            notes=(*self.notes, *notes),
            test_is_validation=self.test_is_validation,
            description=self.description,
        )


@dataclass(frozen=True, kw_only=True)
class SourceLayout:
    """What was decided about a source, for the records of a run.

    Attributes:
        left_out: How many files, rows or pages are not read, by reason.
        notes: What the layout and the names were taken for, and what may not be meant about the images.
        test_is_validation: Whether the test set is the validation split of a source without a test split.
        description: One line that names the layout; empty for built-in data and in older caches.
    """

    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    test_is_validation: bool = False
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A location that a data set can be read from.

    Attributes:
        signature: Changes when its files do.
        now: When its files were examined, by `time.time_ns`; the signature depends on it, since the content
            of a file that changed in the two seconds before counts.
        identified: Whether the signature is known to be that of the present content.
        revision: The commit of a data set on the hub, if it is known.
        table: The table of labels, if the source is named by it.
    """

    title: str
    location: str
    signature: str
    kind: str
    identified: bool = True
    revision: str | None = None
    table: str | None = None
    now: int = field(default=0, compare=False)


def is_class_index(value: Any) -> bool:
    """Return whether a value can be a class index, regardless of the number of classes.

    >>> [is_class_index(value) for value in (3, -1, None, 0.0, True)]
    [True, False, False, False, False]
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
