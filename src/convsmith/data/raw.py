"""A data set before its images are decoded and its labels are checked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from convsmith.data.decode import Encoded, UnusableImageError

# The names of splits and what they are used as; "test" takes precedence over the validation splits.
SPLIT_NAMES = {"train": "train", "test": "test", "validation": "test", "valid": "test", "val": "test"}


@dataclass(frozen=True, kw_only=True)
class RawSplit:
    """Encoded images, each a file's bytes, its path or its pixels, with one label each.

    Attributes:
        images: An error stands for an image that cannot be read.
        labels: Unchecked: some may be no class index.
        locations: Of each image, relative to the source: a file, or a row of a file, counted from 0.
        folder: Of the class folders, relative to the source, if the source has class folders.
    """

    images: Collection[Encoded | UnusableImageError]
    labels: Sequence[Any]
    locations: Sequence[str]
    folder: str | None = None

    def class_folder(self, name: str) -> str:
        """Return the folder of a class, which need not exist; empty if the source has no class folders."""
        return "" if self.folder is None else PurePath(self.folder, name).as_posix()


@dataclass(frozen=True, kw_only=True)
class RawData:
    """A data set before decoding.

    Attributes:
        splits: `"train"` and, if the source has one, `"test"`.
        class_names: In the order of the labels.
        unreadable: Files of images that cannot be read, with the reason.
        ignored: Files that are not read, with the reason: not images, or not in a class folder.
    """

    splits: Mapping[str, RawSplit]
    class_names: tuple[str, ...]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A location that a data set can be read from.

    Attributes:
        signature: Changes when its files do.
        identified: Whether the signature is known to be that of the present content.
        revision: The commit of a data set on the hub, if it is known.
    """

    title: str
    location: str
    signature: str
    kind: str
    identified: bool = True
    revision: str | None = None


def is_class_index(value: Any) -> bool:
    """Return whether a value can be a class index, regardless of the number of classes.

    >>> [is_class_index(value) for value in (3, -1, None, 0.0, True)]
    [True, False, False, False, False]
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def select_splits(names: Collection[str]) -> dict[str, str]:
    """Return the splits of a source that are used: `{its name: "train" or "test"}`, the training set first.

    A validation split serves as the test set if the source has no test split.

    >>> select_splits(["train", "val", "test", "extra"]), select_splits(["val", "train"])
    ({'train': 'train', 'test': 'test'}, {'train': 'train', 'val': 'test'})
    """
    targets = {name: SPLIT_NAMES[name] for name in names if name in SPLIT_NAMES}
    validation = [name for name, target in targets.items() if target == "test" and name != "test"]
    unused = validation if "test" in targets else validation[1:]
    ordered = sorted(targets, key=lambda name: targets[name] != "train")
    return {name: targets[name] for name in ordered if name not in unused}
