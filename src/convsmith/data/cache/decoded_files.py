"""What is known of each decoded image, and what a later decoding of a changed folder uses again.

A file whose path, stamp and label are as before gives the pixels that it gave before. Its facts, its digests
and its place in the earlier content are in a record beside the index.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsmith.data.cache.scan import ImageFacts
from convsmith.data.images.background import Contribution
from convsmith.data.images.input_rule import Colour, Pixels
from convsmith.data.images.memory_mapped import DiskImages
from convsmith.data.raw import RawSplit

# Over which background, None for opaque images, and in how many channels.
Form = tuple[Colour | None, int]
# The dtype of each column, and the shape of its cells.
_FACTS: Mapping[str, tuple[Any, tuple[int, ...]]] = {
    "size": (np.int32, (2,)),
    "mode": ("S8", ()),
    "is_grey": (np.bool_, ()),
    "pages": (np.int64, ()),
    "brightest": (np.int16, ()),
    "pixels": (np.int64, ()),
    "sums": (np.int64, (3,)),
    "contrast": (np.int16, (3,)),
    "stamp": (np.int64, (4,)),
}
_NO_DIGEST = bytes(32)


class ImageColumns:
    """Facts and digests of the images of a split, in arrays: about 200 bytes per image."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.facts = {name: np.zeros((count, *cell), dtype) for name, (dtype, cell) in _FACTS.items()}
        self.forms: dict[Form, NDArray[np.uint8]] = {}
        # The position of each image in an earlier content, and the split there; -1 for none.
        self.earlier = np.full((count, 2), -1, np.int64)
        self.splits: list[str] = []

    def set(
        self, index: int, facts: ImageFacts, digests: Mapping[Form, bytes], earlier: tuple[str, int] | None
    ) -> None:
        """Fill the row of an image."""
        for name, value in _row(facts).items():
            self.facts[name][index] = value
        for form, digest in digests.items():
            if form not in self.forms:
                self.forms[form] = np.zeros((self.count, 32), np.uint8)
            self.forms[form][index] = np.frombuffer(digest, np.uint8)
        self.earlier[index] = -1
        if earlier is not None:
            split, position = earlier
            if split not in self.splits:
                self.splits.append(split)
            self.earlier[index] = position, self.splits.index(split)

    def size_of(self, index: int) -> tuple[int, int]:
        """Return `(width, height)`."""
        width, height = self.facts["size"][index].tolist()
        return width, height

    def is_grey(self, index: int) -> bool:
        return bool(self.facts["is_grey"][index])

    def is_transparent(self, index: int) -> bool:
        return bool(self.facts["contrast"][index, 0] >= 0)

    def earlier_of(self, index: int) -> tuple[str, int] | None:
        """Return the split and the position of an image in the earlier content, if it is taken from there."""
        position, split = self.earlier[index].tolist()
        return None if position < 0 else (self.splits[split], position)

    def has(self, form: Form, index: int) -> bool:
        """Return whether the digest of an image is known over a background, in so many channels."""
        return self.digest(form, index) != _NO_DIGEST

    def digest(self, form: Form, index: int) -> bytes:
        """Return a digest; zeros if it is unknown. The background does not matter to opaque images."""
        colour, channels = form
        digests = self.forms.get((colour if self.is_transparent(index) else None, channels))
        return _NO_DIGEST if digests is None else digests[index].tobytes()

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
        stamped = np.flatnonzero((positions >= 0) & self.facts["stamp"].any(axis=1)).tolist()
        rows = set(stamped)
        paths = (
            [path_digest(each) for index, each in enumerate(split.images) if index in rows] if rows else []
        )
        digests = {
            f"digest-{channels}": [self._lasting_digest(index, form, channels) for index in stamped]
            for channels in (1, 3)
        }
        texts = {"path": paths, **digests}
        return {
            **{key: np.frombuffer(b"".join(each), np.uint8).reshape(-1, 32) for key, each in texts.items()},
            **{key: values[stamped] for key, values in self.facts.items()},
            "label": np.array([split.labels[index] for index in stamped], np.int64),
            "position": positions[stamped],
            "split": np.full(len(stamped), name, "S16"),
        }

    def _lasting_digest(self, index: int, form: Form, channels: int) -> bytes:
        """Return a digest that belongs to the stored pixels; zeros for none.

        A transparent image in colour cannot be made from a grey one, unless its background is grey.
        """
        colour, stored = form
        if self.is_transparent(index) and channels != stored and colour and len(set(colour)) > 1:
            return _NO_DIGEST
        return self.digest((colour, channels), index)


class DecodedFiles:
    """An earlier decoding.

    Args:
        arrays: From `ImageColumns.record`, of all splits together.
        background: What transparent images were composited over, in RGB.
        contents: The stored images of each split.

    Raises:
        ValueError: The arrays are not those of a record.
    """

    def __init__(
        self, arrays: Mapping[str, NDArray[Any]], background: Colour, contents: Mapping[str, DiskImages]
    ) -> None:
        _check(arrays, contents)
        self.arrays, self.background, self.contents = arrays, background, contents
        self._rows = {path.tobytes(): row for row, path in enumerate(arrays["path"])}

    def find(self, path: str, label: int) -> int | None:
        """Return the row of a file; None for an unknown one, and for one that had another label."""
        row = self._rows.get(path_digest(path))
        return None if row is None or self.arrays["label"][row] != label else row

    def facts(self, row: int) -> ImageFacts:
        """Return what was measured."""
        cells = {name: self.arrays[name][row].tolist() for name in _FACTS}
        red, green, blue = cells["sums"]
        contrast = None if cells["contrast"][0] < 0 else tuple(cells["contrast"])
        width, height = cells["size"]
        size, changed, status_changed, inode = cells["stamp"]
        return ImageFacts(
            size=(width, height),
            mode=cells["mode"].decode(),
            is_grey=cells["is_grey"],
            pages=cells["pages"],
            brightest=None if cells["brightest"] < 0 else cells["brightest"],
            background=Contribution(pixels=cells["pixels"], sums=(red, green, blue), contrast=contrast),
            stamp=(size, changed, status_changed, inode),
        )

    def digests(self, row: int) -> dict[int, bytes]:
        """Return the digests by the number of channels."""
        found = {channels: self.arrays[f"digest-{channels}"][row].tobytes() for channels in (1, 3)}
        return {channels: digest for channels, digest in found.items() if digest != _NO_DIGEST}

    def place(self, row: int) -> tuple[str, int]:
        """Return the split and the position of the stored pixels."""
        return self.arrays["split"][row].decode(), int(self.arrays["position"][row])

    def pixels(self, split: str, position: int) -> Pixels:
        """Return the stored pixels `(H, W, C)`."""
        return self.contents[split][position]


def path_digest(path: Any) -> bytes:
    """Return what stands for the path of a file."""
    return hashlib.sha256(os.fsencode(Path(path))).digest()


def _row(facts: ImageFacts) -> dict[str, Any]:
    return {
        "size": facts.size,
        "mode": facts.mode.encode(),
        "is_grey": facts.is_grey,
        "pages": facts.pages,
        "brightest": -1 if facts.brightest is None else facts.brightest,
        "pixels": facts.background.pixels,
        "sums": facts.background.sums,
        "contrast": facts.background.contrast or (-1, -1, -1),
        "stamp": facts.stamp or (0, 0, 0, 0),
    }


def _check(arrays: Mapping[str, NDArray[Any]], contents: Mapping[str, DiskImages]) -> None:
    expected = {
        **_FACTS,
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
