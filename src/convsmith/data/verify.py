"""Looking at a whole data set for what is wrong with it; nothing of it is changed."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from statistics import median
from typing import Any

import numpy as np

from convsmith.data.config import DataConfig
from convsmith.data.decode import DecodedImage
from convsmith.data.issues import STOPS, DataIssue, Verification
from convsmith.data.raw import RawData
from convsmith.data.scan import ScanResult, survey
from convsmith.data.sources import find, read

# What a file's name says of its format.
_FORMATS = {
    ".png": ("PNG",),
    ".jpg": ("JPEG", "MPO"),
    ".jpeg": ("JPEG", "MPO"),
    ".bmp": ("BMP", "DIB"),
    ".webp": ("WEBP",),
    ".gif": ("GIF",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
    ".ppm": ("PPM",),
    ".pgm": ("PPM",),
}
# A class has few training images below this number, or below this share of the median class.
FEW, FEW_SHARE = 5, 0.1
_DIGEST_BYTES = 16


def verify(config: DataConfig) -> Verification:
    """Decode every image of a data set as a training would, and tell all that is wrong.

    Files are named by their path below the source's place, rows of parquet files by their number, from 0. Two
    images are duplicates where they have the same pixels, whatever file they are in. What stays in memory is
    about 100 bytes an image, and what was found.

    Args:
        config: The `[data]` table of a recipe. Mixed sizes are not wrong where it has a `resize`.

    Raises:
        DataError: There is no such data set, or nothing of it can be read.

    Example:
        >>> found = verify(DataConfig(source="digits"))
        >>> found.images, found.clean
        ({'train': 1797}, True)
    """
    source = find(config)
    raw = read(source, config)
    notes = _Notes(raw)
    seen = survey(raw, notes)
    findings = [
        *(
            DataIssue(kind="unreadable", file=place, reason=reason)
            for place, reason in raw.unreadable.items()
        ),
        *seen.damaged,
        *(_odd_ones("mixed sizes", notes.sizes, notes.places) if config.resize is None else ()),
        *_thin_classes(raw, seen),
        *notes.duplicates(),
        *notes.wrong_types,
        *_odd_ones("mixed modes", notes.modes, notes.places),
    ]
    order = list(STOPS)
    labels = {name: Counter(seen.labels(raw, name)) for name in raw.splits}
    return Verification(
        title=source.title,
        place=source.place,
        images={name: len(split.labels) for name, split in raw.splits.items()},
        classes={
            name: {split: counts[index] for split, counts in labels.items()}
            for index, name in enumerate(raw.class_names)
        },
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.kind))),
        ignored=raw.ignored,
    )


class _Notes:
    """What is written down of each usable image: a few bytes each."""

    def __init__(self, raw: RawData) -> None:
        self.raw = raw
        self.names = list(raw.splits)
        self.splits, self.indices = array("b"), array("q")
        self.sizes: list[str] = []
        self.modes: list[str] = []
        self.digests = bytearray()
        self.wrong_types: list[DataIssue] = []
        self._texts: dict[Any, str] = {}

    def __call__(self, split: str, index: int, found: DecodedImage) -> None:
        image = found.image
        self.splits.append(self.names.index(split))
        self.indices.append(index)
        # One text for all images of a size.
        self.sizes.append(self._texts.setdefault(image.size, f"{image.width}x{image.height} pixels"))
        self.modes.append(self._texts.setdefault(found.mode, f"mode {found.mode}"))
        pixels = image.convert("RGB").tobytes()
        self.digests += hashlib.sha256(f"{image.size} ".encode() + pixels).digest()[:_DIGEST_BYTES]
        file = self.raw.splits[split].places[index]
        expected = _FORMATS.get(PurePath(file).suffix.lower())
        if found.format and expected and found.format not in expected:
            reason = f"{found.format} by its content"
            self.wrong_types.append(DataIssue(kind="wrong type", file=file, reason=reason))

    @property
    def places(self) -> "_Places":
        return _Places(self)

    def whose(self, number: int) -> tuple[str, int]:
        """The split of an image, and its place in that."""
        return self.names[self.splits[number]], self.indices[number]

    def duplicates(self) -> Iterator[DataIssue]:
        """Images with the pixels of an earlier one."""
        digests = np.frombuffer(bytes(self.digests), dtype=f"S{_DIGEST_BYTES}")
        _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
        originals = first[inverse]
        for number in np.flatnonzero(originals != np.arange(len(digests))):
            (split, index), (other_split, other) = self.whose(int(number)), self.whose(int(originals[number]))
            here, there = self.raw.splits[split], self.raw.splits[other_split]
            reason = f"the same pixels as {there.places[other]}"
            names = [self.raw.class_names[label] for label in (here.labels[index], there.labels[other])]
            if names[0] != names[1]:
                reason += f", which is labelled {names[1]!r}, this {names[0]!r}"
            yield DataIssue(
                kind="duplicate" if split == other_split else "across splits",
                file=here.places[index],
                reason=reason,
            )


class _Places(Sequence[str]):
    def __init__(self, notes: _Notes) -> None:
        self.notes = notes

    def __len__(self) -> int:
        return len(self.notes.indices)

    def __getitem__(self, number: Any) -> Any:
        split, index = self.notes.whose(number)
        return self.notes.raw.splits[split].places[index]


def _odd_ones(kind: Any, values: Sequence[str], places: Sequence[str]) -> Iterator[DataIssue]:
    """The images that differ from what most are."""
    counts = Counter(values)
    if len(counts) < 2:
        return
    usual, count = counts.most_common(1)[0]
    for number, value in enumerate(values):
        if value != usual:
            yield DataIssue(kind=kind, file=places[number], reason=f"{value}; {count:,} images have {usual}")


def _thin_classes(raw: RawData, seen: ScanResult) -> Iterator[DataIssue]:
    for split_name, split in raw.splits.items():
        counts = Counter(seen.labels(raw, split_name))
        usual = median(counts[index] for index in range(len(raw.class_names)))
        for index, name in enumerate(raw.class_names):
            place = split.class_place(name) or f"{split_name}, class {name!r}"
            if not counts[index] and split_name == "train":
                yield DataIssue(kind="empty class", file=place, reason="no usable training images")
            elif not counts[index]:
                yield DataIssue(
                    kind="few images", file=place, reason="no usable test images: cannot be scored"
                )
            elif split_name == "train" and counts[index] < max(FEW, FEW_SHARE * usual):
                reason = f"{counts[index]} training images; {usual:,.0f} is the median of the classes"
                yield DataIssue(kind="few images", file=place, reason=reason)
