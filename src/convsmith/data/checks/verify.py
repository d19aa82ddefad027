"""Check a data set for issues without changing it."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.arrays.registry import check_available
from convsmith.data.cache.index import forget
from convsmith.data.cache.scan import ImageFacts, ScanResult, Visitor, both, scan
from convsmith.data.checks.near_duplicates import NearPair, Thumbnails, near_pairs
from convsmith.data.config import DataConfig
from convsmith.data.groups import groups_of, shown
from convsmith.data.images.background import CANDIDATES, named_colour
from convsmith.data.images.decode import DecodedImage
from convsmith.data.images.input_rule import Colour, flatten
from convsmith.data.issues import STOPS_TRAINING, DataIssue, Kind, Verification
from convsmith.data.raw import RawData, Source
from convsmith.data.sources import find_source, read_source
from convsmith.text import plural

# The formats that belong to a suffix.
_FORMATS = {
    ".png": ("PNG",),
    ".apng": ("PNG",),
    ".avif": ("AVIF",),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), ("JPEG", "MPO")),
    ".bmp": ("BMP", "DIB"),
    ".webp": ("WEBP",),
    ".gif": ("GIF",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), ("PPM",)),
}
# A class has few training images below this number, or below this share of the median class.
FEW, FEW_SHARE = 5, 0.1
_DIGEST_BYTES = 16


def verify(config: DataConfig, *, refresh: bool = False, near_duplicates: bool = False) -> Verification:
    """Decode every image of a data set as training would, and report every issue.

    Files are named by their path relative to the source, rows of parquet files by their index. Images with
    equal pixels are duplicates, whatever their files. Memory use is about 100 bytes per image.

    Args:
        config: The `[data]` table of a recipe. With `resize`, mixed sizes are no issue.
        refresh: Also remove the data set from the cache, so that it is decoded again when it is used.
        near_duplicates: Also find flipped, rotated, shifted, brighter, duller and recompressed copies.
            This needs 4 KB of memory per image.

    Raises:
        DataError: The data set does not exist or is unreadable, a split has no labels, or `data.group`
            gives no group for some images.

    Example:
        >>> verification = verify(DataConfig(source="digits"))
        >>> verification.images, verification.clean
        ({'train': 1797}, True)
    """
    return survey(config, refresh=refresh, near_duplicates=near_duplicates).verification


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What one pass over a data set finds.

    Attributes:
        raw: The data set before decoding.
        result: Which images are usable, and their sizes.
        contradictions: The number of images with the pixels of an earlier image and another class.
    """

    raw: RawData
    result: ScanResult
    verification: Verification
    contradictions: int


def survey(
    config: DataConfig,
    *,
    refresh: bool = False,
    near_duplicates: bool = False,
    visitor: Callable[[RawData], Visitor[Any]] | None = None,
) -> Survey:
    """Decode every image of a data set once, as `verify`.

    Args:
        config: As `verify`.
        refresh: As `verify`.
        near_duplicates: As `verify`.
        visitor: Returns what is called for every usable image as well.

    Raises:
        DataError: As `verify`.
    """
    source = find_source(config)
    if refresh:
        check_available(source)
        forget(source.location)
    raw = read_source(source, config, refresh=refresh)
    colours = {named_colour(config.background, 3)} if config.background else set(CANDIDATES.values())
    table = _ImageTable(raw, sorted(colours), Thumbnails() if near_duplicates else None)
    result = scan(raw, both(table, visitor(raw)) if visitor else table)
    chosen = result.background.colour(3)
    # The mean colour, without transparent training images, is known too late; opaque images look the same.
    background = chosen if chosen in colours else min(colours)
    issues = [
        *(DataIssue(kind="unreadable", file=file, reason=reason) for file, reason in raw.unreadable.items()),
        *result.damaged,
        *(_outliers("mixed sizes", table.sizes, table.locations) if config.resize is None else ()),
        *_small_classes(raw, result),
        *table.duplicates(background),
        *(_shared_groups(raw, result, source, config.group) if config.group else ()),
        *table.near_duplicates(background),
        *table.wrong_types,
        *_outliers("mixed modes", table.modes, table.locations),
    ]
    return Survey(
        raw=raw,
        result=result,
        verification=_verification(source, raw, result, issues),
        contradictions=table.contradictions(background),
    )


def _verification(
    source: Source, raw: RawData, result: ScanResult, issues: Sequence[DataIssue]
) -> Verification:
    order = list(STOPS_TRAINING)
    labels = {name: Counter(result.labels(raw, name)) for name in raw.splits}
    return Verification(
        title=source.title,
        location=source.location,
        images={name: len(split.labels) for name, split in raw.splits.items()},
        classes={
            name: {split: counts[label] for split, counts in labels.items()}
            for label, name in enumerate(raw.class_names)
        },
        issues=tuple(sorted(issues, key=lambda issue: order.index(issue.kind))),
        ignored=raw.ignored,
        notes=_notes(raw, result),
        layout=raw.description,
    )


def _notes(raw: RawData, result: ScanResult) -> tuple[str, ...]:
    pages = plural(result.more_pages, "page") + " or frames after the first of a file are not read"
    return (*raw.notes, *result.notes, *([pages] if result.more_pages else []))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Examined:
    """What is kept of an image: a digest for each background, and its thumbnail."""

    digests: tuple[bytes, ...]
    file_format: str | None
    thumbnail: Image.Image | None


class _ImageTable(Visitor[_Examined]):
    """Size, mode and digests of each usable image, in a few bytes each.

    Which background applies is known at the end, so that there is a digest for each that may.
    """

    def __init__(self, raw: RawData, backgrounds: Sequence[Colour], thumbnails: Thumbnails | None) -> None:
        self.raw, self.thumbnails = raw, thumbnails
        self.names = list(raw.splits)
        self.splits, self.indices = array("b"), array("q")
        self.sizes: list[str] = []
        self.modes: list[str] = []
        self.digests = {colour: bytearray() for colour in backgrounds}
        self.wrong_types: list[DataIssue] = []
        self._texts: dict[Any, str] = {}

    def examine(self, split: str, index: int, decoded: DecodedImage) -> _Examined:
        del split, index
        thumbnail = None
        if self.thumbnails is not None:
            # Black ink and white ink are visible on grey.
            image = flatten(decoded, named_colour("grey", 3))
            thumbnail = self.thumbnails.reduced(Image.fromarray(np.asarray(image)))
        digests: list[bytes] = []
        for colour in self.digests:
            if decoded.alpha is None and digests:
                digests.append(digests[0])
                continue
            content = f"{decoded.image.size} ".encode() + flatten(decoded, colour).tobytes()
            digests.append(hashlib.sha256(content).digest()[:_DIGEST_BYTES])
        return _Examined(digests=tuple(digests), file_format=decoded.format, thumbnail=thumbnail)

    def collect(self, split: str, index: int, facts: ImageFacts, examined: _Examined) -> None:
        self.splits.append(self.names.index(split))
        self.indices.append(index)
        width, height = facts.size
        # Images of equal size or mode share one text.
        self.sizes.append(self._texts.setdefault(facts.size, f"{height}x{width} pixels"))
        self.modes.append(self._texts.setdefault(facts.mode, f"mode {facts.mode}"))
        if self.thumbnails is not None and examined.thumbnail is not None:
            self.thumbnails.add(examined.thumbnail)
        for colour, digest in zip(self.digests, examined.digests, strict=True):
            self.digests[colour] += digest
        file = self.raw.splits[split].locations[index]
        expected = _FORMATS.get(PurePath(file).suffix.lower())
        if examined.file_format and expected and examined.file_format not in expected:
            reason = f"{examined.file_format} by its content"
            self.wrong_types.append(DataIssue(kind="wrong type", file=file, reason=reason))

    @property
    def locations(self) -> "_Locations":
        return _Locations(self)

    @property
    def _places(self) -> Iterator[tuple[int, int]]:
        return zip(self.splits, self.indices, strict=True)

    def position(self, number: int) -> tuple[str, int]:
        """Return the split of an image, and its index in the split."""
        return self.names[self.splits[number]], self.indices[number]

    def duplicates(self, background: Colour) -> Iterator[DataIssue]:
        """Yield an issue for each image with the pixels of an earlier one."""
        originals = self._originals(background)
        for number in np.flatnonzero(originals != np.arange(len(originals))).tolist():
            yield self._copy("duplicate", number, int(originals[number]), "the same pixels as")

    def contradictions(self, background: Colour) -> int:
        """Return the number of images with the pixels of an earlier image and another class."""
        labels = np.array([self.raw.splits[self.names[split]].labels[index] for split, index in self._places])
        return int((labels[self._originals(background)] != labels).sum())

    def near_duplicates(self, background: Colour) -> Iterator[DataIssue]:
        """Yield an issue for each image that is nearly an earlier one, preferably one of another split.

        Of duplicates over the background, only the first one is compared.
        """
        if self.thumbnails is None:
            return
        originals = self._originals(background)
        numbers = np.flatnonzero(originals == np.arange(len(originals)))
        if len(numbers) < 2:
            return
        splits = np.array(self.splits)[numbers]
        closest: dict[int, NearPair] = {}
        for pair in near_pairs(self.thumbnails.pixels()[numbers]):
            best = closest.setdefault(pair.image, pair)
            if splits[pair.image] == splits[best.other] != splits[pair.other]:
                closest[pair.image] = pair
        for pair in closest.values():
            how = f"after alignment, {pair.difference:.1f} of 255 levels from"
            yield self._copy("near-duplicate", int(numbers[pair.image]), int(numbers[pair.other]), how)

    def _originals(self, background: Colour) -> NDArray[np.int64]:
        """Return the number of the first image with the pixels of each image."""
        digests = np.frombuffer(bytes(self.digests[background]), dtype=f"S{_DIGEST_BYTES}")
        _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
        originals: NDArray[np.int64] = first[inverse]
        return originals

    def _copy(
        self, kind: Literal["duplicate", "near-duplicate"], number: int, original: int, how: str
    ) -> DataIssue:
        (split, index), (other_split, other) = self.position(number), self.position(original)
        here, there = self.raw.splits[split], self.raw.splits[other_split]
        reason = f"{how} {there.locations[other]}"
        names = [self.raw.class_names[label] for label in (here.labels[index], there.labels[other])]
        if names[0] != names[1]:
            reason += f", labelled {names[0]!r} here and {names[1]!r} there"
        across: dict[str, Kind] = {
            "duplicate": "across splits",
            "near-duplicate": "near-duplicate across splits",
        }
        return DataIssue(
            kind=kind if split == other_split else across[kind], file=here.locations[index], reason=reason
        )


class _Locations(Sequence[str]):
    def __init__(self, table: _ImageTable) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table.indices)

    def __getitem__(self, number: Any) -> Any:
        split, index = self.table.position(number)
        return self.table.raw.splits[split].locations[index]


def _outliers(kind: Any, values: Sequence[str], locations: Sequence[str]) -> Iterator[DataIssue]:
    """Yield an issue for each image that differs from the most common value."""
    counts = Counter(values)
    if len(counts) < 2:
        return
    usual, count = counts.most_common(1)[0]
    for number, value in enumerate(values):
        if value != usual:
            yield DataIssue(
                kind=kind, file=locations[number], reason=f"{value}; {count:,} images have {usual}"
            )


def _shared_groups(raw: RawData, result: ScanResult, source: Source, group: str) -> Iterator[DataIssue]:
    """Yield an issue for each image whose group an image of another split before it has."""
    first: dict[str, tuple[str, str]] = {}
    for split, images in raw.splits.items():
        groups = groups_of(images, group, source)
        for index in np.flatnonzero(result.usable[split]).tolist():
            file, name = images.locations[index], groups[index]
            place, original = first.setdefault(name, (split, file))
            if place != split:
                reason = f"the group {shown(name)} of {original}"
                yield DataIssue(kind="group across splits", file=file, reason=reason)


def _small_classes(raw: RawData, result: ScanResult) -> Iterator[DataIssue]:
    """Yield an issue for each class without images, or with few training images, and for a single class."""
    if len(raw.class_names) < 2:
        reason = f"one class only, {', '.join(map(repr, raw.class_names))}, expected at least two"
        yield DataIssue(kind="empty class", file="train", reason=reason)
    for split_name, split in raw.splits.items():
        counts = Counter(result.labels(raw, split_name))
        usual = median(counts[index] for index in range(len(raw.class_names)))
        for index, name in enumerate(raw.class_names):
            location = split.class_folder(name) or f"{split_name}, class {name!r}"
            if not counts[index] and split_name == "train":
                yield DataIssue(kind="empty class", file=location, reason="no usable training images")
            elif not counts[index]:
                yield DataIssue(
                    kind="few images",
                    file=location,
                    reason=f"no usable {split_name} images: cannot be scored",
                )
            elif split_name == "train" and counts[index] < max(FEW, FEW_SHARE * usual):
                reason = (
                    f"{plural(counts[index], 'training image')}; the median of the classes is {usual:,.0f}"
                )
                yield DataIssue(kind="few images", file=location, reason=reason)
