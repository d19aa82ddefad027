"""What a data set consists of: classes, sizes, files, pixels and issues, and their report as text."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsmith.data.issues import DataIssue, Kind, Verification
from convsmith.text import in_line, one_line, percent, plural

# Classes in the text and on the page: with more of them, the largest and the smallest.
MOST_LARGE, MOST_SMALL = 20, 10
# Sizes and files of each kind that are listed, and from which ratio on classes are called unbalanced.
MOST_SIZES, MOST_FILES, UNBALANCED = 8, 5, 3.0
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TITLES = ("smallest", "5 %", "25 %", "median", "75 %", "95 %", "largest")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The distribution of a number over images: its smallest and largest value, and percentiles that occur.

    Example:
        >>> Spread.of({10: 95, 300: 5})
        Spread(low=10.0, p5=10.0, p25=10.0, median=10.0, p75=10.0, p95=10.0, high=300.0)
    """

    low: float
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    high: float

    @classmethod
    def of(cls, counts: Mapping[float, int]) -> "Spread":
        """Return the spread of values that occur so many times; there must be at least one.

        A percentile is the smallest value that at least this share of the images does not exceed.
        """
        values = sorted(counts)
        heap = np.cumsum([counts[value] for value in values])
        places = [int(np.searchsorted(heap, math.ceil(share * int(heap[-1])))) for share in _SHARES]
        shares = (float(values[place]) for place in places)
        return cls(
            **dict(zip(("p5", "p25", "median", "p75", "p95"), shares, strict=True)),
            low=float(values[0]),
            high=float(values[-1]),
        )

    @property
    def numbers(self) -> tuple[float, ...]:
        """All of them, in rising order."""
        return (self.low, self.p5, self.p25, self.median, self.p75, self.p95, self.high)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of the usable images, after they are turned upright.

    Attributes:
        distinct: The number of different sizes.
        common: The most common `(width, height)`, with the number of images.
        width: In pixels.
        height: In pixels.
        shorter: The shorter side in pixels.
        aspect: Width over height.
        counts: The number of images of each `(width, height)`.
    """

    distinct: int
    common: tuple[tuple[tuple[int, int], int], ...]
    width: Spread
    height: Spread
    shorter: Spread
    aspect: Spread
    counts: Mapping[tuple[int, int], int] = field(repr=False)

    @classmethod
    def of(cls, counts: Mapping[tuple[int, int], int]) -> "Sizes":
        """Return the sizes of images, at least one, from the number of images of each `(width, height)`."""

        def spread(measure: Any) -> Spread:
            values: Counter[float] = Counter()
            for size, count in counts.items():
                values[measure(*size)] += count
            return Spread.of(values)

        return cls(
            distinct=len(counts),
            common=tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_SIZES]),
            width=spread(lambda width, _: width),
            height=spread(lambda _, height: height),
            shorter=spread(min),
            aspect=spread(lambda width, height: width / height),
            counts=dict(counts),
        )


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How evenly the training images are distributed over the classes.

    Attributes:
        largest: The name of the class with the most images, and their number.
        smallest: The name of the class with the fewest images, and their number.
        effective: The effective number of classes: the exponential of the entropy of their shares, which is
            the number of classes if all are equally frequent.
        majority: The share of the largest class: the accuracy of always predicting it.

    Example:
        >>> balance = Balance.of({"cat": 90, "dog": 10})
        >>> balance.ratio, round(balance.effective, 2), balance.majority
        (9.0, 1.38, 0.9)
    """

    largest: tuple[str, int]
    smallest: tuple[str, int]
    effective: float
    majority: float

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> "Balance":
        """Return the balance of classes from their number of training images; one class must have some."""
        total = sum(counts.values())
        shares = [count / total for count in counts.values() if count]
        largest = max(counts.items(), key=lambda item: item[1])
        return cls(
            largest=largest,
            smallest=min(counts.items(), key=lambda item: item[1]),
            effective=math.exp(-sum(share * math.log(share) for share in shares)),
            majority=largest[1] / total,
        )

    @property
    def ratio(self) -> float | None:
        """Images of the largest class over those of the smallest; None if that has none."""
        return self.largest[1] / self.smallest[1] if self.smallest[1] else None

    @property
    def is_even(self) -> bool:
        """Whether the ratio is below 3."""
        return self.ratio is not None and self.ratio < UNBALANCED


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Small pictures of a data set.

    Attributes:
        classes: The names of the classes that have pictures.
        examples: Of each class, some training images `(H, W, 3)` uint8, downscaled.
        means: Of each class `(32, 32, 3)` uint8, the mean of its training images, stretched to one size.
        mean: The mean of all training images, likewise; None without any.
    """

    classes: tuple[str, ...]
    examples: tuple[tuple[NDArray[np.uint8], ...], ...]
    means: tuple[NDArray[np.uint8] | None, ...]
    mean: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True)
class Description:
    """The result of describing a data set.

    Attributes:
        source: What was described, as it was named.
        settings: The fields of `[data]` that were set for it, as `key=value`.
        verification: Its name, splits and classes, and every issue; sizes that differ are one of them.
        layout: One line that names the layout of the source; empty for built-in data.
        splits: The number of usable images of each split.
        channels: 1 if all images are stored in grey, else 3.
        sizes: None if no image is usable.
        balance: Of the training images; None if none is usable.
        modes: The number of images of each mode of Pillow, the most frequent first.
        formats: The number of images of each file format; empty for images that are no files.
        bits: The number of images with so many bits per channel.
        transparent: The number of images with transparent pixels.
        grey_content: The number of images that are stored in colour and show only grey.
        mean: Of the training images, per channel, pixels scaled to 0..1; each image counts the same. Empty
            if there are none.
        std: Standard deviation, likewise.
        contradictions: The number of images with the pixels of an earlier image and another class.
        left_out: How many files are not read, by reason.
        pictures: Examples and means.
    """

    source: str
    verification: Verification
    layout: str
    splits: Mapping[str, int]
    channels: int
    sizes: Sizes | None
    balance: Balance | None
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    bits: Mapping[int, int]
    transparent: int
    grey_content: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    contradictions: int
    left_out: Mapping[str, int]
    pictures: Pictures = field(repr=False)
    settings: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """The number of usable images."""
        return sum(self.splits.values())

    def issues(self, kind: Kind) -> tuple[DataIssue, ...]:
        """Return the issues of a kind."""
        return tuple(issue for issue in self.verification.issues if issue.kind == kind)

    def record(self) -> dict[str, Any]:
        """Return plain tables, for `--json`; of each kind of issue, the first files."""
        verification = self.verification
        sizes = asdict(self.sizes) if self.sizes else None
        if sizes:
            del sizes["counts"]
        balance = asdict(self.balance) | {"ratio": self.balance.ratio} if self.balance else None
        return {
            "title": verification.title,
            "location": verification.location,
            "layout": self.layout,
            "notes": list(verification.notes),
            "images": dict(self.splits),
            "classes": {name: dict(counts) for name, counts in verification.classes.items()},
            "balance": balance,
            "sizes": sizes,
            "channels": self.channels,
            "modes": dict(self.modes),
            "formats": dict(self.formats),
            "bits": {str(bits): count for bits, count in self.bits.items()},
            "transparent": self.transparent,
            "grey_content": self.grey_content,
            "mean": list(self.mean),
            "std": list(self.std),
            "contradictions": self.contradictions,
            "issues": dict(verification.counts),
            "first_issues": {
                kind: [asdict(issue) for issue in self.issues(kind)[:MOST_FILES]]
                for kind in verification.counts
            },
            "left_out": dict(self.left_out),
        }


def listed_classes(classes: Mapping[str, Mapping[str, int]]) -> tuple[list[str], int]:
    """Return the classes to list, the largest training set first, and how many between them are left out.

    Example:
        >>> names, left_out = listed_classes({f"c{n}": {"train": n} for n in range(100)})
        >>> names[0], names[19], names[20], names[-1], left_out
        ('c99', 'c80', 'c9', 'c0', 70)
    """
    ranked = sorted(classes, key=lambda name: -classes[name].get("train", 0))
    left_out = len(ranked) - MOST_LARGE - MOST_SMALL
    if left_out <= 0:
        return ranked, 0
    return [*ranked[:MOST_LARGE], *ranked[-MOST_SMALL:]], left_out


def description_lines(description: Description) -> list[str]:
    """Format a description as lines of text, of a length that does not depend on the number of classes."""
    verification = description.verification
    splits = ", ".join(f"{count:,} {name}" for name, count in description.splits.items())
    classes = plural(len(verification.classes), "class")
    lines = [f"{verification.title}: {plural(description.total, 'image')} ({splits}), {classes}"]
    lines += [f"layout: {one_line(description.layout)}"] if description.layout else []
    lines += [f"note: {one_line(note)}" for note in verification.notes]
    lines += ["", *_class_lines(description), *_balance_lines(description), "", *_size_lines(description)]
    lines += [*_file_lines(description), *_pixel_lines(description), "", *_issue_lines(description)]
    for number, advice in enumerate(advices(description)):
        lines += [*([] if number else ["", "what to do"]), f"  {advice}"]
    return [*lines, "", "next", *(f"  {command}" for command in next_commands(description))]


def _class_lines(description: Description) -> Iterator[str]:
    classes, splits = description.verification.classes, list(description.splits)
    names, left_out = listed_classes(classes)
    width = min(max((len(one_line(name)) for name in names), default=5), 40)
    yield "  ".join(["class".ljust(width), *(split.rjust(10) for split in splits)])
    for number, name in enumerate(names):
        if left_out and number == MOST_LARGE:
            yield f"... {left_out:,} more ..."
        counts = [f"{classes[name].get(split, 0):,}".rjust(10) for split in splits]
        yield "  ".join([one_line(name)[:width].ljust(width), *counts])


def _balance_lines(description: Description) -> Iterator[str]:
    balance, count = description.balance, len(description.verification.classes)
    if balance is not None:
        yield f"balance: {balance_text(balance, count)}"


def balance_text(balance: Balance, count: int) -> str:
    """Return the balance of so many classes in words."""
    if balance.ratio == 1.0:
        every = "both" if count == 2 else f"all {count:,}"
        return f"{every} classes have {plural(balance.largest[1], 'training image')}"
    ratio = "" if balance.ratio is None else f", a ratio of {balance.ratio:.3g}"
    (largest, most), (smallest, fewest) = balance.largest, balance.smallest
    return (
        f"{plural(most, 'training image')} of {one_line(largest)!r}, {fewest:,} of {one_line(smallest)!r}"
        f"{ratio}; effective number of classes {balance.effective:.3g} of {count:,}; always predicting the "
        f"largest is right for {percent(balance.majority, 1)}"
    )


def _size_lines(description: Description) -> Iterator[str]:
    sizes = description.sizes
    if sizes is None:
        return
    (width, height), _ = sizes.common[0]
    if sizes.distinct == 1:
        yield f"size: all images have {height}x{width} pixels"
        return
    yield "  ".join(["pixels".ljust(12), *(title.rjust(8) for title in _TITLES)])
    for name, spread in size_rows(sizes):
        yield "  ".join([name.ljust(12), *(f"{number:.4g}".rjust(8) for number in spread.numbers)])
    yield f"sizes: {sizes.distinct:,}; the most common are {common_sizes(sizes)}"


def size_rows(sizes: Sizes) -> list[tuple[str, Spread]]:
    """Return the rows of the table of sizes."""
    return [
        ("width", sizes.width),
        ("height", sizes.height),
        ("shorter side", sizes.shorter),
        ("width/height", sizes.aspect),
    ]


def common_sizes(sizes: Sizes, most: int = 3) -> str:
    """Return the most common sizes, height first, in words."""
    return ", ".join(f"{height}x{width} ({count:,})" for (width, height), count in sizes.common[:most])


def _file_lines(description: Description) -> Iterator[str]:
    yield f"files: {files_text(description)}"


def files_text(description: Description) -> str:
    """Return formats, modes and bits in words."""
    parts = [f"{name} {count:,}" for name, count in description.formats.items()]
    modes = ", ".join(f"{name} {count:,}" for name, count in description.modes.items())
    bits = ", ".join(f"{bits} ({count:,})" for bits, count in description.bits.items())
    parts += [f"modes {modes}", f"bits per channel {bits}"]
    if description.transparent:
        parts.append(f"{plural(description.transparent, 'image')} with transparent pixels")
    return "; ".join(parts) if description.modes else "no usable image"


def _pixel_lines(description: Description) -> Iterator[str]:
    if description.mean:
        mean, std = (
            " ".join(f"{each:.4f}" for each in values) for values in (description.mean, description.std)
        )
        colour = "grey" if description.channels == 1 else "red, green, blue"
        yield f"pixels, 0 to 1: mean {mean}, standard deviation {std} ({colour}; training images)"


def _issue_lines(description: Description) -> Iterator[str]:
    verification = description.verification
    if not verification.counts:
        yield "issues: none"
    for kind, count in verification.counts.items():
        yield f"{kind}: {count:,}"
        if kind not in {"mixed sizes", "mixed modes"}:
            listed = description.issues(kind)[:MOST_FILES]
            yield from (f"  {issue.line()}" for issue in listed)
            if count > len(listed):
                yield f"  and {count - len(listed):,} more"
    for reason, count in description.left_out.items():
        yield f"not read: {count:,}, {one_line(reason)}"


def advices(description: Description) -> list[str]:
    """Return what is worth doing before a training, one sentence each."""
    return [*_advice_on_files(description), *_advice_on_classes(description)]


def _advice_on_files(description: Description) -> Iterator[str]:
    counts, sizes = description.verification.counts, description.sizes
    if sizes and sizes.distinct > 1:
        yield "sizes differ: a recipe needs data.resize; `convsmith init` chooses it from the sides"
    if damaged := sum(counts.get(kind, 0) for kind in ("unreadable", "oversized", "bad label")):
        yield f"{plural(damaged, 'image')} cannot be used: repair them, or write data.skip_damaged=true"
    if across := counts.get("across splits"):
        yield (
            f"{plural(across, 'image')} of one split are in another one too: remove them from the training "
            "set, or the accuracy is too high"
        )
    if count := description.contradictions:
        yield f"{plural(count, 'image')} with two classes: `convsmith data verify --all` names the duplicates"
    if description.channels == 3 and description.grey_content == description.total:
        yield "all images are stored in colour and show only grey: save them in grey, for fewer operations"


def _advice_on_classes(description: Description) -> Iterator[str]:
    balance, counts = description.balance, description.verification.counts
    if balance and not balance.is_even:
        yield "the classes are unbalanced: judge by the recall of each class, not by the accuracy alone"
    if empty := counts.get("empty class"):
        yield f"{plural(empty, 'class')} without training images: add some, or remove the class"
    if few := counts.get("few images"):
        yield f"{plural(few, 'class')} with few images: add some; their recall is uncertain"


def next_commands(description: Description) -> list[str]:
    """Return the commands that start a training."""
    import shlex

    given = " ".join(shlex.quote(in_line(each)) for each in (description.source, *description.settings))
    return [f"convsmith init {given} > mine.toml", "convsmith train mine.toml"]
