"""A data set as it is found, before anything is decoded or believed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from convsmith.data.decode import Encoded, UnusableImageError

# What splits are called elsewhere; "test" wins where a source has several of these.
SPLIT_NAMES = {"train": "train", "test": "test", "validation": "test", "valid": "test", "val": "test"}


@dataclass(frozen=True, kw_only=True)
class RawSplit:
    """Images as they come, a file's bytes, its path or its pixels, with one label each.

    Attributes:
        images: An error stands for an image that cannot even be fetched.
        labels: As they were found, so that some may be no class.
        places: Where each image is, below the source's place: a file, or a row of one, counted from 0.
        folder: Below the source's place, where the folders of its classes are, for a source that has such.
    """

    images: Collection[Encoded | UnusableImageError]
    labels: Sequence[Any]
    places: Sequence[str]
    folder: str | None = None

    def class_place(self, name: str) -> str:
        """Where the images of a class are, or should be; empty where nothing tells."""
        return "" if self.folder is None else PurePath(self.folder, name).as_posix()


@dataclass(frozen=True, kw_only=True)
class RawData:
    """A data set before decoding: `"train"` and, where the source has one, `"test"`.

    Attributes:
        unreadable: Files that hold images and cannot be read at all, with the reason.
        ignored: Files that are not read, with the reason: no images by their name, or in no class folder.
    """

    splits: Mapping[str, RawSplit]
    class_names: tuple[str, ...]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place that a data set can be read from. `signature` changes when the place's files do."""

    title: str
    place: str
    signature: str
    kind: str


def is_label(value: Any) -> bool:
    """Whether a value can be the number of a class, how many there are apart.

    >>> [is_label(value) for value in (3, -1, None, 0.0, True)]
    [True, False, False, False, False]
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def chosen_splits(names: Collection[str]) -> dict[str, str]:
    """The splits of a source that are used, `{its name: "train" or "test"}`.

    The training set comes first. A validation split serves as the test set where the source has no other.

    >>> chosen_splits(["train", "val", "test", "extra"]), chosen_splits(["val", "train"])
    ({'train': 'train', 'test': 'test'}, {'train': 'train', 'val': 'test'})
    """
    known = {name: SPLIT_NAMES[name] for name in names if name in SPLIT_NAMES}
    others = [name for name, target in known.items() if target == "test" and name != "test"]
    unused = others if "test" in known else others[1:]
    ordered = sorted(known, key=lambda name: known[name] != "train")
    return {name: known[name] for name in ordered if name not in unused}
