"""Which image a text names: with or without folders and suffix, absolute or relative."""

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from convsmith.data.files.listing import SUFFIXES
from convsmith.data.labels import canonical_name
from convsmith.data.splits import Role, role_of

# Texts that decide how the names of a column are compared.
_SAMPLE = 300
Parts = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How names are compared: whole or without the suffix, in any case or not."""

    whole: bool
    any_case: bool

    def key(self, name: str) -> str:
        """Return what is equal for names that are the same.

        >>> Comparison(whole=False, any_case=True).key("IMG.0001.JPG")
        'img.0001'
        """
        text = canonical_name(name)
        start, dot, suffix = text.rpartition(".")
        if not self.whole and start and f"{dot}{suffix}".lower() in SUFFIXES:
            text = start
        return text.casefold() if self.any_case else text


_COMPARISONS = [
    Comparison(whole=whole, any_case=any_case) for any_case in (False, True) for whole in (True, False)
]


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The images that texts name.

    Attributes:
        images: None for a text that names none, or several.
        several: The images of texts that name several, by index.
        outside: The indices of texts that lead out of the data set.
        whole: Whether the texts have the suffix of the file.
    """

    images: Sequence[PurePosixPath | None]
    several: dict[int, list[PurePosixPath]]
    outside: tuple[int, ...]
    whole: bool

    @property
    def count(self) -> int:
        """The number of texts that name an image or several."""
        return sum(each is not None for each in self.images) + len(self.several)


class ImageNames:
    """The names of all images of a data set.

    Args:
        images: Their paths relative to it.
        location: Its own path, which texts may begin with.
    """

    def __init__(self, images: Sequence[PurePosixPath], location: str) -> None:
        self.images, self.outer = images, PurePosixPath(location).parts
        self._by_key: dict[Comparison, dict[str, list[PurePosixPath]]] = {}

    @cached_property
    def stems(self) -> set[str]:
        return {image.stem for image in self.images}

    def sampled(self, texts: Sequence[Any], folder: PurePosixPath) -> Matches:
        """Return the images that some of the texts name."""
        step = max(1, len(texts) // _SAMPLE)
        return self.match(texts[::step], folder, None)

    def match(self, texts: Sequence[Any], folder: PurePosixPath, role: Role | None) -> Matches:
        """Return the images that texts name.

        Folders in a text must be those of the image, of an absolute path the last ones. Among several images
        of one name, that beside the table is preferred, then that relative to the source, then that in a
        folder of the table's split.

        Args:
            texts: Such as the cells of a column; None names no image.
            folder: Of the table.
            role: The split of the table.
        """
        paths = [_path(text, folder) for text in texts]
        step = max(1, len(paths) // _SAMPLE)
        some = [path for path in paths[::step] if path]
        best, most = _COMPARISONS[0], 0
        for comparison in _COMPARISONS:
            count = sum(bool(self._candidates(path, comparison)) for path in some)
            if count > most:
                best, most = comparison, count
            if 2 * most > len(some):
                break
        images: list[PurePosixPath | None] = []
        several: dict[int, list[PurePosixPath]] = {}
        for index, path in enumerate(paths):
            found = self._candidates(path, best) if path else []
            chosen = _preferred(found, path, folder, role) if path and len(found) > 1 else found
            images.append(chosen[0] if len(chosen) == 1 else None)
            if len(chosen) > 1:
                several[index] = chosen
        outside = tuple(index for index, path in enumerate(paths) if path is not None and not path.parts)
        return Matches(images=images, several=several, outside=outside, whole=best.whole)

    def _candidates(self, path: "_Path", comparison: Comparison) -> list[PurePosixPath]:
        if not path.parts:
            return []
        if comparison not in self._by_key:
            index: dict[str, list[PurePosixPath]] = {}
            for image in self.images:
                index.setdefault(comparison.key(image.name), []).append(image)
            self._by_key[comparison] = index
        found = self._by_key[comparison].get(comparison.key(path.parts[-1]), [])
        if len(path.parts) == 1 or not found:
            return found
        whole = Comparison(whole=True, any_case=comparison.any_case)
        folders = [whole.key(part) for part in path.parts[:-1]]
        lengths = [
            _common_end(folders, [whole.key(part) for part in (*self.outer, *image.parts[:-1])])
            for image in found
        ]
        needed = max(lengths) if path.is_absolute else len(folders)
        return [image for image, length in zip(found, lengths, strict=True) if length == needed]


@dataclass(frozen=True, kw_only=True)
class _Path:
    """A path in a table; without parts if it leads out of the data set."""

    parts: Parts
    is_absolute: bool


def _path(text: Any, folder: PurePosixPath) -> _Path | None:
    """Return the path that a text is; None if it is none."""
    if text is None or isinstance(text, bool | float | tuple):
        return None
    path = str(text).strip().replace("\\", "/")
    path, is_url = re.subn(r"^[A-Za-z][A-Za-z0-9+.-]+:/*", "/", path)
    is_absolute = bool(is_url) or re.match(r"/|~|[A-Za-z]:", path) is not None
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        joined = posixpath.normpath("/".join(parts if is_absolute else [*folder.parts, *parts]))
        parts = [] if joined.startswith("..") else joined.split("/")
    elif not parts:
        return None
    return _Path(parts=tuple(parts), is_absolute=is_absolute)


def _preferred(
    found: list[PurePosixPath], path: _Path, folder: PurePosixPath, role: Role | None
) -> list[PurePosixPath]:
    beside = len(folder.parts) + len(path.parts)
    rules: tuple[Callable[[PurePosixPath], bool], ...] = (
        lambda image: image.is_relative_to(folder) and len(image.parts) == beside,
        lambda image: len(image.parts) == len(path.parts),
        lambda image: role is not None and any(role_of(part) == role for part in image.parts[:-1]),
        lambda image: bool(folder.parts) and image.is_relative_to(folder),
    )
    for rule in rules:
        chosen = [image for image in found if rule(image)]
        if len(chosen) == 1:
            return chosen
    return found


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for first, second in zip(reversed(one), reversed(other), strict=False):
        if first != second:
            break
        count += 1
    return count
