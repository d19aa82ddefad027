"""One pass over an undecoded data set: which images are usable, and why the others are not.

Every file is decoded once, by threads, which Pillow's decoders and filters let run at the same time, or by
processes that share out the images. Outcomes are collected in the order of the images, so that nothing
depends on the number of threads or processes.
"""

import os
from collections import Counter
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from convsmith.data.cache.facts import ImageFacts, facts_of
from convsmith.data.images.background import BackgroundChoice
from convsmith.data.images.decode import (
    MAX_BYTES,
    DecodedImage,
    Encoded,
    UnusableImageError,
    decode_image,
    own_settings,
)
from convsmith.data.issues import DataIssue
from convsmith.data.labels import LabelArray, label_problem
from convsmith.data.raw import RawData, RawSplit, is_class_index
from convsmith.system.parallel import Budget, num_workers, ordered_map
from convsmith.system.progress import track
from convsmith.text import plural

# The highest level of values that leave the first bit unused, such as those of a camera with 12 bits.
_HALF = 127
# Images that a thread takes at once: small ones are decoded in less time than it takes to pass them on.
_GROUP_IMAGES, _GROUP_BYTES = 16, 2**18
# Pixels being decoded take at most this share of the memory, or 1 GiB, or what a single image needs.
_MEMORY_SHARE, _LEAST_MEMORY = 1 / 8, 2**30
T = TypeVar("T")


class Visitor(Generic[T]):
    """What is done with the usable images of a scan."""

    def known(self, split: str, index: int, encoded: Encoded) -> tuple[ImageFacts, T] | None:
        """Return what an earlier scan found about the same content; called from threads."""
        del split, index, encoded
        return None

    def examine(self, split: str, index: int, decoded: DecodedImage) -> T:
        """Return what is to be kept of a usable image; called from threads, in any order."""
        raise NotImplementedError

    def collect(self, split: str, index: int, facts: ImageFacts, examined: T) -> None:
        """Keep it; called in the order of the images, training images first."""

    def after_training_images(self, background: BackgroundChoice) -> None:
        """Called once the default background is known, before any other image is decoded."""

    def close(self) -> None:
        """Close open files; called after the last image."""

    def remote(self) -> "Remote":
        """Return what makes an equal visitor in another process, which examines a part of a split."""
        raise NotImplementedError

    def pack(self, examined: Sequence[T]) -> dict[str, NDArray[Any]]:
        """Return what `examine` returned for several images as arrays, to be written to a file."""
        raise NotImplementedError

    def unpack(self, arrays: Mapping[str, NDArray[Any]]) -> Iterable[T]:
        """Return what `pack` was given."""
        raise NotImplementedError


class Remote(Hashable, Protocol):
    """Makes a visitor in another process, to which it is sent by pickle."""

    def open(
        self, raw: RawData, split: str, start: int, folder: Path
    ) -> AbstractContextManager[Visitor[Any]]:
        """Return a visitor for the images of a split from `start` on; it may write files to `folder`."""
        ...


class _Both(Visitor[tuple[Any, Any]]):
    def __init__(self, first: Visitor[Any], second: Visitor[Any]) -> None:
        self.visitors = (first, second)

    def examine(self, split: str, index: int, decoded: DecodedImage) -> tuple[Any, Any]:
        first, second = self.visitors
        return first.examine(split, index, decoded), second.examine(split, index, decoded)

    def collect(self, split: str, index: int, facts: ImageFacts, examined: tuple[Any, Any]) -> None:
        for visitor, each in zip(self.visitors, examined, strict=True):
            visitor.collect(split, index, facts, each)

    def after_training_images(self, background: BackgroundChoice) -> None:
        for visitor in self.visitors:
            visitor.after_training_images(background)


def both(first: Visitor[Any], second: Visitor[Any]) -> Visitor[Any]:
    """Return a visitor that is both of two."""
    return _Both(first, second)


class _NoVisitor(Visitor[None]):
    def examine(self, split: str, index: int, decoded: DecodedImage) -> None:
        del split, index, decoded


class DecodingMemory:
    """The memory of all threads that decode: of encoded files, and of pixels.

    Each thread holds one file and the pixels of one image, as far as both budgets allow. A budget is exceeded
    only by a single image, which is then alone.
    """

    def __init__(self, pixels: int | None = None, files: int = MAX_BYTES) -> None:
        self.budgets = {"file": Budget(files), "pixels": Budget(pixels or pixel_memory())}

    def close(self) -> None:
        for budget in self.budgets.values():
            budget.close()


def pixel_memory() -> int:
    """Return how many bytes decoded pixels may take on this machine at once."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Windows has neither.
    except (AttributeError, ValueError, OSError):
        memory = 0
    return max(_LEAST_MEMORY, int(_MEMORY_SHARE * memory))


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """The contents of a data set.

    Attributes:
        damaged: Unusable images, in their order.
        usable: For each split `(N,)` bool: whether an image is usable.
        sizes: The number of usable images of each size `(width, height)`.
        examples: The location of the first image of each size.
        grey: Whether all usable images are grey.
        more_pages: The number of pages after the first of usable images, and animation frames likewise.
        background: What the default background follows from: the usable training images.
        sixteen_bits: The number of usable grey images of 16 bits.
        brightest: The highest level of 0 to 255 in these.
    """

    damaged: tuple[DataIssue, ...]
    usable: dict[str, NDArray[np.bool_]]
    sizes: Counter[tuple[int, int]]
    examples: dict[tuple[int, int], str]
    grey: bool
    background: BackgroundChoice
    more_pages: int = 0
    sixteen_bits: int = 0
    brightest: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What may not be meant, for the log."""
        if not self.sixteen_bits or self.brightest > _HALF:
            return ()
        images = plural(self.sixteen_bits, "image") + " of 16 bits"
        levels = f"{self.brightest + 1} of 256 brightness levels"
        return (f"{images}: the high byte has only {levels}; scale their values to 0 to 65,535 first",)

    @property
    def channels(self) -> int:
        """1 if all usable images are grey, else 3."""
        return 1 if self.grey else 3

    def labels(self, raw: RawData, split: str) -> NDArray[np.int64]:
        """Return the labels of the usable images of a split, in their order."""
        labels = LabelArray.of(raw.splits[split].labels)
        return labels.indices[self.usable[split]].astype(np.int64)

    def class_counts(self, raw: RawData, split: str) -> list[int]:
        """Return the number of usable images of each class of a split."""
        indices = LabelArray.of(raw.splits[split].labels).indices[self.usable[split]]
        counts: list[int] = np.bincount(indices, minlength=len(raw.class_names)).tolist()
        return counts


# Why an image is unusable; or its facts, and what a visitor keeps of it.
Outcome = DataIssue | tuple[ImageFacts, T]


class Sharing(Protocol):
    """How the images of a scan are shared out."""

    def outcomes(self, raw: RawData, name: str, visitor: Visitor[T]) -> Generator[Outcome[T], None, None]:
        """Yield the outcome for each image of a split, in their order."""
        ...


class InThreads:
    """The images are shared out over threads of this process."""

    def __init__(self, memory: DecodingMemory | None = None) -> None:
        self.memory = memory

    def outcomes(self, raw: RawData, name: str, visitor: Visitor[T]) -> Generator[Outcome[T], None, None]:
        count = len(raw.splits[name].labels)
        return examined(raw, name, visitor, 0, count, memory=self.memory or DecodingMemory())


def scan(
    raw: RawData,
    visitor: Visitor[Any] | None = None,
    *,
    memory: DecodingMemory | None = None,
    sharing: Sharing | None = None,
) -> ScanResult:
    """Decode every image once, without keeping it in memory.

    Args:
        raw: From `read_source`.
        visitor: Gets every usable image.
        memory: What decoded images may take at once in this process.
        sharing: Over what the images are shared out, by default over threads.
    """
    visitor, sharing = visitor or _NoVisitor(), sharing or InThreads(memory)
    tally = _Tally(raw)
    # The training images decide on the background, before others are composited over it.
    for name in sorted(raw.splits, key=lambda name: name != "train"):
        outcomes = sharing.outcomes(raw, name, visitor)
        with closing(outcomes), own_settings():
            results = track(outcomes, f"Decoding {name} images", len(raw.splits[name].labels))
            for index, result in enumerate(results):
                if isinstance(result, DataIssue):
                    tally.damaged[name].append(result)
                else:
                    tally.add(name, index, result[0])
                    visitor.collect(name, index, *result)
        if name == "train":
            visitor.after_training_images(tally.background)
    return tally.result()


_Job = tuple[int, Encoded | UnusableImageError]


def examined(
    raw: RawData, name: str, visitor: Visitor[T], start: int, stop: int, *, memory: DecodingMemory
) -> Generator[Outcome[T], None, None]:
    """Yield the outcomes for the images of a split from `start` to the one before `stop`."""
    split, num_classes = raw.splits[name], len(raw.class_names)

    def one(index: int, encoded: Encoded | UnusableImageError) -> Outcome[T]:
        label = split.labels[index]
        try:
            if isinstance(encoded, UnusableImageError):
                raise encoded
            is_valid = is_class_index(label) and label < num_classes
            if is_valid and (found := visitor.known(name, index, encoded)):
                return found
            with ExitStack() as held:
                decoded = decode_image(encoded, lambda kind, size: _hold(held, memory, kind, size))
                if is_valid:
                    return facts_of(decoded), visitor.examine(name, index, decoded)
        except UnusableImageError as error:
            return DataIssue(kind=error.kind, file=split.locations[index], reason=error.reason)
        reason = label_problem(label, num_classes)
        return DataIssue(kind="bad label", file=split.locations[index], reason=reason)

    def several(group: tuple[int, list[_Job]]) -> list[Outcome[T]]:
        size, jobs = group
        try:
            return [one(*job) for job in jobs]
        finally:
            memory.budgets["file"].release(size)

    groups = _groups(split, start, stop, memory.budgets["file"])
    with closing(ordered_map(several, groups, workers=num_workers(), stop=memory.close)) as results:
        for group in results:
            yield from group


def _hold(held: ExitStack, memory: DecodingMemory, kind: Literal["file", "pixels"], size: int) -> None:
    held.enter_context(memory.budgets[kind].hold(size))


def _groups(split: RawSplit, start: int, stop: int, budget: Budget) -> Iterator[tuple[int, list[_Job]]]:
    """Yield small groups of images, and the bytes that they hold of the budget."""
    group: list[_Job] = []
    size = 0
    for index, encoded in enumerate(split.part(start, stop), start):
        group.append((index, encoded))
        size += len(encoded) if isinstance(encoded, bytes) else 0
        if len(group) == _GROUP_IMAGES or size >= _GROUP_BYTES:
            budget.acquire(size)
            yield size, group
            group, size = [], 0
    budget.acquire(size)
    yield size, group


class _Tally:
    """Adds up the facts of images, in their order."""

    def __init__(self, raw: RawData) -> None:
        self.damaged: dict[str, list[DataIssue]] = {name: [] for name in raw.splits}
        self.usable = {
            name: np.zeros(len(split.labels), dtype=np.bool_) for name, split in raw.splits.items()
        }
        self.first: dict[tuple[int, int], tuple[str, int]] = {}
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.background = BackgroundChoice()
        self.grey = True
        self.more_pages = self.sixteen_bits = self.brightest = 0
        self.raw = raw

    def add(self, name: str, index: int, facts: ImageFacts) -> None:
        self.usable[name][index] = True
        self.sizes[facts.size] += 1
        self.first.setdefault(facts.size, (name, index))
        self.grey = self.grey and facts.is_grey
        self.more_pages += facts.pages - 1
        if facts.brightest is not None:
            self.sixteen_bits += 1
            self.brightest = max(self.brightest, facts.brightest)
        if name == "train":
            self.background.add(facts.background)

    def result(self) -> ScanResult:
        splits = self.raw.splits
        return ScanResult(
            damaged=tuple(issue for name in splits for issue in self.damaged[name]),
            usable=self.usable,
            sizes=self.sizes,
            examples={size: splits[name].locations[index] for size, (name, index) in self.first.items()},
            grey=self.grey,
            more_pages=self.more_pages,
            background=self.background,
            sixteen_bits=self.sixteen_bits,
            brightest=self.brightest,
        )
