"""What is known of each decoded image, and what a later decoding of a changed folder uses again.

A file whose path, stamp and label are as before gives the pixels that it gave before. Its facts, its digests
and its place in the earlier content are in a record beside the index.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsmith.data.cache.facts import COLUMNS, ImageFacts, cells_of, facts_in
from convsmith.data.images.input_rule import Colour, Pixels
from convsmith.data.images.memory_mapped import DiskImages
from convsmith.data.labels import LabelArray
from convsmith.data.raw import RawSplit

# Over which background, None for opaque images, and in how many channels.
Form = tuple[Colour | None, int]
NO_DIGEST = bytes(32)


class ImageColumns:
    """Facts and digests of the images of a split, in arrays: 38 bytes per image, 70 for grey ones.

    Images of files take 88 bytes more: only their decoding is recorded. The pages of an array that is never
    written to take no memory.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        # A side has at most 65,535 pixels.
        self.sizes = np.zeros((count, 2), np.uint16)
        self.grey, self.transparent = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self.facts = {name: np.zeros((count, *cell), dtype) for name, (dtype, cell) in COLUMNS.items()}
        self.forms: dict[Form, NDArray[np.uint8]] = {}
        # The position of each image in an earlier content, from 1, and the split there; 0 for none.
        self.earlier = np.zeros((count, 2), np.int64)
        self.splits: list[str] = []

    def set(
        self, index: int, facts: ImageFacts, digests: Mapping[Form, bytes], earlier: tuple[str, int] | None
    ) -> None:
        """Fill the row of an image."""
        self.sizes[index] = facts.size
        self.grey[index] = facts.is_grey
        self.transparent[index] = facts.background.contrast is not None
        if facts.stamp is not None:
            for name, value in cells_of(facts).items():
                self.facts[name][index] = value
        for form, digest in digests.items():
            if form not in self.forms:
                self.forms[form] = np.zeros((self.count, 32), np.uint8)
            self.forms[form][index] = np.frombuffer(digest, np.uint8)
        if earlier is not None:
            split, position = earlier
            if split not in self.splits:
                self.splits.append(split)
            self.earlier[index] = position + 1, self.splits.index(split)
        elif self.splits:
            self.earlier[index] = 0

    def size_of(self, index: int) -> tuple[int, int]:
        """Return `(width, height)`."""
        width, height = self.sizes[index].tolist()
        return width, height

    def is_grey(self, index: int) -> bool:
        return bool(self.grey[index])

    def is_transparent(self, index: int) -> bool:
        return bool(self.transparent[index])

    def earlier_of(self, index: int) -> tuple[str, int] | None:
        """Return the split and the position of an image in the earlier content, if it is taken from there."""
        position, split = self.earlier[index].tolist()
        return None if not position else (self.splits[split], position - 1)

    def incomplete(self, form: Form) -> list[int]:
        """Return the images that are taken from the earlier content and lack the digest of a form."""
        if not self.splits:
            return []
        return [index for index in np.flatnonzero(self.earlier[:, 0]).tolist() if not self.has(form, index)]

    def has(self, form: Form, index: int) -> bool:
        """Return whether the digest of an image is known over a background, in so many channels."""
        return self.digest(form, index) != NO_DIGEST

    def digest(self, form: Form, index: int) -> bytes:
        """Return a digest; zeros if it is unknown. The background does not matter to opaque images."""
        colour, channels = form
        digests = self.forms.get((colour if self.is_transparent(index) else None, channels))
        return NO_DIGEST if digests is None else digests[index].tobytes()

    def digests(self, form: Form, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the digests of images, `(N, 32)`; zeros where they are unknown."""
        colour, channels = form
        found = np.zeros((len(indices), 32), np.uint8)
        for transparent in (False, True):
            digests = self.forms.get((colour if transparent else None, channels))
            chosen = self.transparent[indices] == transparent
            if digests is not None and chosen.all():
                found = digests[indices]
            elif digests is not None:
                found[chosen] = digests[indices[chosen]]
        return found

    def record(
        self, split: RawSplit, positions: NDArray[np.int64], form: Form, name: str
    ) -> dict[str, NDArray[Any]]:
        """Return the rows of the images whose files have a stamp.

        Args:
            split: The split before decoding.
            positions: Of each image in the stored split; -1 for images that are not stored.
            form: In which transparent images are stored.
            name: Of the split.
        """
        stamped = np.flatnonzero((positions >= 0) & self.facts["stamp"].any(axis=1))
        rows = zip(stamped.tolist(), range(len(stamped)), strict=True)
        paths = np.zeros((len(stamped), 32), np.uint8)
        due = next(rows, None)
        for index, each in enumerate(split.images if len(stamped) else ()):
            if due and due[0] == index:
                paths[due[1]] = np.frombuffer(path_digest(each), np.uint8)
                due = next(rows, None)
        return {
            "path": paths,
            **{f"digest-{channels}": self._lasting_digests(stamped, form, channels) for channels in (1, 3)},
            **{key: values[stamped] for key, values in self.facts.items()},
            "label": LabelArray.of(split.labels).indices[stamped].astype(np.int64),
            "position": positions[stamped],
            "split": np.full(len(stamped), name, "S16"),
        }

    def _lasting_digests(self, indices: NDArray[np.int64], form: Form, channels: int) -> NDArray[np.uint8]:
        """Return the digests that belong to the stored pixels, `(N, 32)`; zeros for none.

        A transparent image in colour cannot be made from a grey one, unless its background is grey.
        """
        colour, stored = form
        digests = self.digests((colour, channels), indices)
        if channels != stored and colour and len(set(colour)) > 1:
            digests[self.transparent[indices]] = 0
        return digests


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an earlier decoding is read from.

    Attributes:
        cache: The cache that it is in.
        key: Of its entry.
        arrays_sha256: Of its arrays.
    """

    cache: str
    key: str
    arrays_sha256: str


class DecodedFiles:
    """An earlier decoding.

    Args:
        arrays: From `ImageColumns.record`, of all splits together.
        background: What transparent images were composited over, in RGB.
        contents: The stored images of each split.
        origin: What it was read from.

    Raises:
        ValueError: The arrays are not those of a record.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        background: Colour,
        contents: Mapping[str, DiskImages],
        origin: Earlier,
    ) -> None:
        _check(arrays, contents)
        self.arrays, self.background, self.contents, self.origin = arrays, background, contents, origin
        paths = arrays["path"].view("S32").reshape(-1)
        self._order = np.argsort(paths, kind="stable")
        self._paths = paths[self._order]

    def find(self, path: str, label: int) -> int | None:
        """Return the row of a file; None for an unknown one, and for one that had another label."""
        digest = np.frombuffer(path_digest(path), "S32")
        # Of rows with equal paths the last one counts.
        place = int(np.searchsorted(self._paths, digest[0], side="right")) - 1
        if place < 0 or self._paths[place] != digest[0]:
            return None
        row = int(self._order[place])
        return row if self.arrays["label"][row] == label else None

    def facts(self, row: int) -> ImageFacts:
        """Return what was measured."""
        (facts,) = facts_in({name: self.arrays[name][row : row + 1] for name in COLUMNS})
        return facts

    def digests(self, row: int) -> dict[int, bytes]:
        """Return the digests by the number of channels."""
        found = {channels: self.arrays[f"digest-{channels}"][row].tobytes() for channels in (1, 3)}
        return {channels: digest for channels, digest in found.items() if digest != NO_DIGEST}

    def place(self, row: int) -> tuple[str, int]:
        """Return the split and the position of the stored pixels."""
        return self.arrays["split"][row].decode(), int(self.arrays["position"][row])

    def pixels(self, split: str, position: int) -> Pixels:
        """Return the stored pixels `(H, W, C)`."""
        return self.contents[split][position]


def path_digest(path: Any) -> bytes:
    """Return what stands for the path of a file."""
    return hashlib.sha256(os.fsencode(Path(path))).digest()


def _check(arrays: Mapping[str, NDArray[Any]], contents: Mapping[str, DiskImages]) -> None:
    expected = {
        **COLUMNS,
        **dict.fromkeys(("path", "digest-1", "digest-3"), (np.uint8, (32,))),
        **dict.fromkeys(("label", "position"), (np.int64, ())),
        "split": ("S16", ()),
    }
    count = len(arrays["path"]) if "path" in arrays else 0
    for name, (dtype, cell) in expected.items():
        array = arrays.get(name)
        if array is None or array.dtype != np.dtype(dtype) or array.shape != (count, *cell):
            raise ValueError(f"no column {name} of {count} rows")
    for split, positions in (
        (each, arrays["position"][arrays["split"] == each]) for each in set(arrays["split"])
    ):
        images = contents.get(split.decode())
        if images is None or positions.min() < 0 or positions.max() >= len(images):
            raise ValueError(f"positions outside of the split {split!r}")
