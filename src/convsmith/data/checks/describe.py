"""Describe a data set in one pass over its images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.cache.facts import ImageFacts
from convsmith.data.cache.scan import Visitor
from convsmith.data.checks.description import Balance, Description, Pictures, Sizes, listed_classes
from convsmith.data.checks.verify import Survey, survey
from convsmith.data.config import DataConfig
from convsmith.data.images.background import CANDIDATES, named_colour
from convsmith.data.images.decode import DecodedImage
from convsmith.data.images.input_rule import flatten
from convsmith.data.images.modes import SIXTEEN_BIT_MODES
from convsmith.data.raw import RawData, is_class_index
from convsmith.data.sources import find_source, read_source
from convsmith.errors import DataError

# Longest side of an example, side of a mean image, and examples of a class by the number of classes.
EXAMPLE_SIDE, MEAN_SIDE = 96, 32
_EXAMPLES = ((12, 8), (30, 5))
# A damaged image has no picture, so that more are chosen than are shown.
_SPARE = 3
# Levels of 0 to 255 between the channels of a thumbnail of a grey image that JPEG stored in colour.
_GREY_LEVELS = 6
_GREY = named_colour("grey", 3)


def describe(config: DataConfig, *, source: str = "", refresh: bool = False) -> Description:
    """Decode every image of a data set once, and describe classes, sizes, files, pixels and issues.

    Args:
        config: The `[data]` table of a recipe. With `resize`, mixed sizes are no issue.
        source: What the data set is called in commands; by default `data.source`.
        refresh: Also remove the data set from the cache, so that it is decoded again when it is used.

    Raises:
        DataError: As `convsmith.data.checks.verify.verify`.

    Example:
        >>> description = describe(DataConfig(source="digits"))
        >>> description.splits, description.sizes.distinct, round(description.balance.effective, 2)
        ({'train': 1797}, 1, 10.0)
    """
    table: list[_Album] = []

    def album(raw: RawData) -> _Album:
        table.append(_Album(raw, config))
        return table[0]

    found = survey(config, refresh=refresh, visitor=album)
    return _description(source or config.source, found, table[0])


def with_every_split(config: DataConfig) -> DataConfig:
    """Return a config that uses the validation split of its source, if that has one beside a test split.

    A config that says how validation images are held out, or where the splits are, is unchanged.

    Raises:
        DataError: The data set does not exist.
    """
    if {"validation", "splits"} & config.model_fields_set:
        return config
    candidate = config.model_copy(update={"validation": "split"})
    try:
        raw = read_source(find_source(config), candidate)
    except DataError:
        return config
    return candidate if {"validation", "test"} <= raw.splits.keys() else config


def _description(source: str, found: Survey, album: "_Album") -> Description:
    raw, result, verification = found.raw, found.result, found.verification
    chosen = result.background.colour(3)
    mean, std = album.mean_and_std(chosen, result.channels)
    training = {name: counts["train"] for name, counts in verification.classes.items()}
    layout = raw.layout(result.more_pages)
    return Description(
        source=source,
        verification=verification,
        layout=raw.description,
        splits={name: int(usable.sum()) for name, usable in result.usable.items()},
        channels=result.channels,
        sizes=Sizes.of(result.sizes) if result.sizes else None,
        balance=Balance.of(training) if any(training.values()) else None,
        modes=dict(album.modes.most_common()),
        formats=dict(album.formats.most_common()),
        bits=dict(sorted(album.bits.items())),
        transparent=album.transparent,
        grey_content=album.grey_content,
        mean=mean,
        std=std,
        contradictions=found.contradictions,
        left_out=layout.left_out,
        pictures=album.pictures(raw.class_names),
    )


@dataclass
class _Moments:
    """Sums over images of the mean of each channel, and of the mean of the squares."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]

    def add(self, moments: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        self.first += moments[0]
        self.second += moments[1]


def _moments_of(image: Image.Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of each channel of an RGB image, and of its squares, scaled to 0..1."""
    histogram = np.array(image.histogram(), dtype=np.float64).reshape(3, 256)
    shares, levels = histogram / (image.width * image.height), np.arange(256) / 255
    return shares @ levels, shares @ levels**2


_Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """What is kept of an image.

    Attributes:
        thumbnail: `(32, 32, 3)`.
        moments: Over each background; for training images.
        example: The picture that may be shown.
    """

    file_format: str | None
    is_transparent: bool
    thumbnail: NDArray[np.int16]
    moments: tuple[_Pair, ...]
    example: NDArray[np.uint8] | None


class _Album(Visitor[_Measured]):
    """Collects what is not in a verification: files, pixels and pictures."""

    def __init__(self, raw: RawData, config: DataConfig) -> None:
        self.raw = raw
        self.modes: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()
        self.bits: Counter[int] = Counter()
        self.transparent = self.grey_content = self.training = 0
        names = [config.background] if config.background else [*CANDIDATES]
        # Which background applies is known at the end.
        self.moments = {named_colour(name, 3): _Moments(np.zeros(3), np.zeros(3)) for name in names}
        self.sums = np.zeros((MEAN_SIDE, MEAN_SIDE, 3))
        self._chosen, self._labels = _chosen_examples(raw)
        self.examples: dict[int, list[NDArray[np.uint8]]] = {label: [] for label in self._labels}
        self.class_sums = {label: np.zeros_like(self.sums) for label in self._labels}
        self.class_counts: Counter[int] = Counter()

    def examine(self, split: str, index: int, decoded: DecodedImage) -> _Measured:
        # Black ink and white ink are visible on grey.
        image = flatten(decoded, _GREY).convert("RGB")
        thumbnail = np.asarray(image.resize((MEAN_SIDE, MEAN_SIDE), Image.Resampling.BOX), dtype=np.int16)
        moments: list[_Pair] = []
        example = None
        if split == "train":
            for colour in self.moments:
                same = decoded.alpha is None and moments
                moments.append(moments[0] if same else _moments_of(flatten(decoded, colour)))
            if index in self._chosen:
                image.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE), Image.Resampling.BOX)
                example = np.asarray(image)
        return _Measured(
            file_format=decoded.format,
            is_transparent=decoded.alpha is not None,
            thumbnail=thumbnail,
            moments=tuple(moments),
            example=example,
        )

    def collect(self, split: str, index: int, facts: ImageFacts, examined: _Measured) -> None:
        self.modes[facts.mode] += 1
        self.formats.update([examined.file_format] if examined.file_format else [])
        self.bits[bits_of(facts.mode)] += 1
        self.transparent += examined.is_transparent
        levels = int(np.ptp(examined.thumbnail, axis=2).max())
        self.grey_content += not facts.is_grey and levels <= _GREY_LEVELS
        if split == "train":
            self._add_training_image(index, examined)

    def _add_training_image(self, index: int, examined: _Measured) -> None:
        self.training += 1
        self.sums += examined.thumbnail
        for moments, pair in zip(self.moments.values(), examined.moments, strict=True):
            moments.add(pair)
        label = self.raw.splits["train"].labels[index]
        if label in self.class_sums:
            self.class_sums[label] += examined.thumbnail
            self.class_counts[label] += 1
        count = _examples_of_a_class(len(self._labels))
        if examined.example is not None and len(self.examples[label]) < count:
            self.examples[label].append(examined.example)

    def mean_and_std(
        self, background: tuple[int, ...], channels: int
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation per channel; empty without training images."""
        if not self.training:
            return (), ()
        moments = self.moments.get(background) or next(iter(self.moments.values()))
        mean, square = moments.first / self.training, moments.second / self.training
        std = np.sqrt(np.maximum(square - mean**2, 0))
        return tuple(map(float, mean[:channels])), tuple(map(float, std[:channels]))

    def pictures(self, names: Sequence[str]) -> Pictures:
        """Return examples and means of the chosen classes."""
        labels = self._labels
        return Pictures(
            classes=tuple(names[label] for label in labels),
            examples=tuple(tuple(self.examples[label]) for label in labels),
            means=tuple(_mean(self.class_sums[label], self.class_counts[label]) for label in labels),
            mean=_mean(self.sums, self.training),
        )


def bits_of(mode: str) -> int:
    """Return the bits per channel of a mode of Pillow, as far as it tells.

    >>> bits_of("1"), bits_of("RGB"), bits_of("I;16B"), bits_of("F")
    (1, 8, 16, 32)
    """
    if mode in SIXTEEN_BIT_MODES:
        return 16
    return {"1": 1, "F": 32}.get(mode, 8)


def _mean(sums: NDArray[np.float64], count: int) -> NDArray[np.uint8] | None:
    return np.rint(sums / count).astype(np.uint8) if count else None


def _examples_of_a_class(classes: int) -> int:
    return next((count for most, count in _EXAMPLES if classes <= most), 2)


def _chosen_examples(raw: RawData) -> tuple[set[int], list[int]]:
    """Choose the training images that are shown, before any is decoded, and their classes."""
    labels = raw.splits["train"].labels
    counts = Counter(label for label in labels if is_class_index(label) and label < len(raw.class_names))
    names = {name: {"train": counts[label]} for label, name in enumerate(raw.class_names)}
    listed = set(listed_classes(names)[0])
    shown = [label for label, name in enumerate(raw.class_names) if name in listed]
    each = _SPARE * _examples_of_a_class(len(shown))
    wanted: dict[int, int] = dict.fromkeys(shown, each)
    chosen: set[int] = set()
    for index in np.random.default_rng(0).permutation(len(labels)).tolist():
        label = labels[index]
        if is_class_index(label) and wanted.get(label, 0):
            wanted[label] -= 1
            chosen.add(index)
    return chosen, shown
