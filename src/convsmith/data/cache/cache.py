"""The uint8 cache: images decoded once, in an order and under a fingerprint that follow from the content."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsmith.cluster.engine import Engine
from convsmith.data.arrays.registry import check_available
from convsmith.data.cache.contents import CACHE_VERSION, content_folder, latest_decoding, verified_meta
from convsmith.data.cache.index import (
    LATEST,
    SOURCES,
    Entry,
    entry_path,
    forget,
    read_entry,
    write_entry,
)
from convsmith.data.cache.parts import in_processes, starts_of
from convsmith.data.cache.scan import InThreads, ScanResult, Sharing, scan
from convsmith.data.cache.spool import PixelFiles, Spool, pixel_digest
from convsmith.data.config import DataConfig
from convsmith.data.groups import groups_of
from convsmith.data.hub.parquet import unreadable_files
from convsmith.data.images.background import named_colour
from convsmith.data.images.input_rule import Colour, InputRule
from convsmith.data.images.memory_mapped import write_images
from convsmith.data.issues import DataIssue
from convsmith.data.raw import RawData, Source, SourceLayout
from convsmith.data.signatures import decode_signature, pixel_signature
from convsmith.data.sizes import size_lines, suggest_size
from convsmith.data.sources import read_source
from convsmith.errors import DataError, FileError, Problem
from convsmith.system import files, folders, reading
from convsmith.system.folders import cache_folder
from convsmith.system.progress import track
from convsmith.text import join_first, one_line, plural

MAX_LISTED = 5
# Digests that are copied at once.
_DIGESTS = 2**14


@dataclass(frozen=True, kw_only=True)
class CachedSplit:
    """Decoded images `(N, H, W, C)` uint8, mapped from disk, labels and group numbers `(N,)` int64."""

    images: np.memmap[Any, np.dtype[np.uint8]]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True)
class CachedData:
    """A decoded data set.

    Attributes:
        fingerprint: A hash of its content, independent of order and file names.
        background: The colour behind transparent pixels, a level for each channel.
        folder: With the images.
        dropped: Unusable images that were left out, if the recipe allows it.
        layout: What was decided about the source's splits and names, and what is not read.
    """

    splits: Mapping[str, CachedSplit]
    class_names: tuple[str, ...]
    fingerprint: str
    background: Colour
    folder: Path
    dropped: tuple[DataIssue, ...] = ()
    layout: SourceLayout = field(default_factory=SourceLayout)


def load_cached(
    source: Source,
    config: DataConfig,
    *,
    refresh: bool = False,
    engine: Engine | None = None,
    workers: int | None = None,
) -> CachedData:
    """Return a source's decoded images from the cache; decode them into it if they are missing.

    Args:
        source: From `find_source`. Other files, or another decoder, have another entry in the cache.
        config: The `[data]` table of a recipe.
        refresh: Decode the images even if they are in the cache, and replace them there.
        engine: Decode on its workers; by default in this process. The cache is the same, to the byte.
        workers: How many of them.

    Raises:
        DataError: Images are unreadable or of mixed sizes, labels are out of range, or the cache is damaged.
        UsageError: As `parts.in_processes`; so are BusyError and ProcessError.
    """
    key = _key(source, config)
    if refresh:
        check_available(source)
        forget(source.location)
    entry = _find_entry(key)
    if entry is None:
        entry, _ = _decode(source, config, key, refresh=refresh, engine=engine, workers=workers)
    return _load(entry)


def image_locations(source: Source, config: DataConfig) -> dict[str, list[str]]:
    """Return where each image of the cache is in the source, by split: a file, or a row of a file.

    Args:
        source: From `find_source`.
        config: The `[data]` table of a recipe.

    Raises:
        DataError: As `load_cached`.
    """
    key = _key(source, config)
    entry = _find_entry(key)
    # Data in memory have the same name in any order.
    positions = _find_positions(key, entry) if entry and source.kind != "memory" else None
    if positions is None:
        # Older versions kept no positions, too.
        positions = _decode(source, config, key)[1]
    found = {}
    for name, split in read_source(source, config).splits.items():
        usable = np.flatnonzero(positions[name] >= 0)
        order = usable[np.argsort(positions[name][usable])]
        found[name] = [split.locations[index] for index in order.tolist()]
    return found


def _key(source: Source, config: DataConfig) -> str:
    text = f"{CACHE_VERSION} {source.signature} {decode_signature(config)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _find_entry(key: str) -> Entry | None:
    """Return an entry whose images are there."""
    entry = read_entry(key)
    has_images = entry and os.path.isdir(content_folder() / entry.content)  # noqa: PTH112 - never raises
    return entry if has_images else None


def _find_positions(key: str, entry: Entry) -> dict[str, NDArray[np.int64]] | None:
    """Read the positions that belong to an entry; None if they are missing, or not what was written."""
    path = entry_path(key, SOURCES).with_suffix(".npz")
    try:
        return reading.read_arrays(path) if reading.sha256(path) == entry.arrays_sha256 else None
    except (FileError, ValueError):
        return None


def _decode(
    source: Source,
    config: DataConfig,
    key: str,
    *,
    refresh: bool = False,
    engine: Engine | None = None,
    workers: int | None = None,
) -> tuple[Entry, dict[str, NDArray[np.int64]]]:
    """Decode a source into the cache; return its entry, and the stored position of each image by split."""
    raw = read_source(source, config, refresh=refresh)
    try:
        entry, positions = _store(raw, source, config, engine, workers)
        if source.identified:
            path = entry_path(key, SOURCES).with_suffix(".npz")
            files.make_folder(path.parent)
            # Not read again: another process that refreshes may have removed it.
            entry = replace(entry, arrays_sha256=files.write_arrays(path, dict(positions)))
            write_entry(key, entry)
    except OSError as error:
        # Exceptions of NumPy's writers do not name the file.
        raise files.write_error(cache_folder(), error) from error
    return entry, positions


def fingerprint(images: Iterable[NDArray[np.uint8]], labels: Sequence[int]) -> str:
    """Return a SHA-256 of images and labels that does not depend on their order.

    Example:
        >>> a, b = np.zeros((2, 2, 1), np.uint8), np.ones((2, 2, 1), np.uint8)
        >>> fingerprint([a, b], [0, 1]) == fingerprint([b, a], [1, 0])
        True
        >>> fingerprint([a, b], [0, 1]) == fingerprint([a, b], [1, 0])
        False
    """
    digests = np.empty((len(labels), 32), np.uint8)
    for row, image, label in zip(digests, images, labels, strict=True):
        row[...] = np.frombuffer(image_digest(image, label), np.uint8)
    return _combined(digests, _sorted_order(digests))


def image_digest(image: NDArray[np.uint8], label: int) -> bytes:
    """Return the SHA-256 of an image `(H, W, C)` and its label, which the cache is sorted by."""
    return pixel_digest(image.tobytes(), image.shape, label)


def _sorted_order(digests: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the order of digests `(N, 32)`; equal ones stay in their order."""
    return np.argsort(digests.view("S32").reshape(-1), kind="stable")


def _combined(digests: NDArray[np.uint8], order: NDArray[np.int64]) -> str:
    """Return the SHA-256 of digests in an order."""
    total = hashlib.sha256()
    for start in range(0, len(order), _DIGESTS):
        total.update(digests[order[start : start + _DIGESTS]].tobytes())
    return total.hexdigest()


def _store(
    raw: RawData, source: Source, config: DataConfig, engine: Engine | None, workers: int | None
) -> tuple[Entry, dict[str, NDArray[np.int64]]]:
    """Decode all images, each once, into files sorted by their digests; return their positions too.

    A copy with other file names, or in another order, therefore trains identically.
    """
    if raw.unreadable:
        raise unreadable_files(source, raw.unreadable)
    destination = cache_folder()
    folders.check_destination(destination)
    latest = hashlib.sha256(
        f"{CACHE_VERSION} {source.location} {pixel_signature(config)}".encode()
    ).hexdigest()
    earlier = latest_decoding(latest, config)
    with ExitStack() as stack:
        if engine is None:
            sharing: Sharing = InThreads()
            folder = stack.enter_context(folders.scratch_folder(destination, name="decoding"))
            starts = {name: [0] for name in raw.splits}
        else:
            details = earlier.origin.arrays_sha256 if earlier else ""
            shared = in_processes(source, config, engine, workers, purpose="decode", details=details)
            sharing = in_parts = stack.enter_context(shared)
            folder, starts = in_parts.folder, {name: starts_of(split) for name, split in raw.splits.items()}
        check_space = partial(folders.check_destination, destination)
        spool = Spool(PixelFiles(folder, starts), raw, config, earlier, check_space)
        stack.enter_context(closing(spool))
        result = scan(raw, spool, sharing=sharing)
        entry, positions, record = _stored(raw, result, source, config, spool)
        _write_latest(latest, entry, record)
        return entry, positions


def _stored(
    raw: RawData, result: ScanResult, source: Source, config: DataConfig, spool: Spool
) -> tuple[Entry, dict[str, NDArray[np.int64]], dict[str, NDArray[Any]]]:
    """Write decoded images to their place; return their entry, their positions and the record of files."""
    if result.damaged and not config.skip_damaged:
        raise _damaged_images_error(result.damaged, source)
    _check_classes(raw, result, source)
    _check_sizes(result, source, config)
    rule = _input_rule(result, config)
    spool.complete(rule)
    sorted_images = _write_sorted(raw, result, spool, rule)
    orders = sorted_images.orders
    entry = Entry(
        content=sorted_images.content,
        meta_sha256=sorted_images.meta_sha256,
        source=source.location,
        class_names=raw.class_names,
        background=rule.background,
        dropped=result.damaged,
        layout=raw.layout(result.more_pages, result.notes),
        groups=_groups(raw, result, source, config.group, orders) if config.group else None,
    )
    positions = sorted_images.positions(result)
    return entry, positions, spool.record(rule, positions)


@dataclass(frozen=True, kw_only=True)
class _Sorted:
    """A folder of sorted images; for each split, the positions of its images among the usable ones."""

    content: str
    meta_sha256: str
    orders: Mapping[str, NDArray[np.int64]]

    def positions(self, result: ScanResult) -> dict[str, NDArray[np.int64]]:
        """Return the stored position of each image, by split; -1 for images that are not usable."""
        positions = {}
        for name, order in self.orders.items():
            positions[name] = np.full(len(result.usable[name]), -1, np.int64)
            positions[name][np.flatnonzero(result.usable[name])[order]] = np.arange(len(order))
        return positions


def _write_sorted(raw: RawData, result: ScanResult, spool: Spool, rule: InputRule) -> _Sorted:
    usable = {name: np.flatnonzero(result.usable[name]) for name in raw.splits}
    orders, texts = {}, {}
    for name, indices in usable.items():
        digests = spool.digests(name, indices, rule)
        orders[name] = _sorted_order(digests)
        texts[name] = f"{name} {_combined(digests, orders[name])} "
    text = "".join(texts[name] for name in sorted(texts))
    total = hashlib.sha256(text.encode()).hexdigest()
    with folders.scratch_folder(content_folder(), name="sorted") as folder:
        sums = {}
        for name, order in orders.items():
            images = spool.images(name, usable[name][order], rule)
            shape = (len(order), rule.height, rule.width, rule.channels)
            path = folder / f"{name}-images.npy"
            progress = track(images, f"Writing {name} images to the cache", len(order))
            sums[path.name] = write_images(path, progress, shape)
            np.save(folder / f"{name}-labels.npy", result.labels(raw, name)[order])
            sums[f"{name}-labels.npy"] = reading.sha256(folder / f"{name}-labels.npy")
        sums = dict(sorted(sums.items()))
        files.write_json(folder / "meta.json", {"fingerprint": total, "sha256": sums})
        meta_sha256 = reading.sha256(folder / "meta.json")
        # Equal images are stored once, whatever files and options they come from.
        content = content_folder() / f"{total}-{meta_sha256[:16]}"
        _publish(folder, content)
    return _Sorted(content=content.name, meta_sha256=meta_sha256, orders=orders)


def _write_latest(key: str, entry: Entry, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Record the decoded files for a later decoding, unless nothing identifies them."""
    if not len(arrays["path"]):
        return
    path = entry_path(key, LATEST).with_suffix(".npz")
    files.make_folder(path.parent)
    written = files.write_arrays(path, dict(arrays))
    write_entry(key, replace(entry, arrays_sha256=written), LATEST)


def _groups(
    raw: RawData, result: ScanResult, source: Source, group: str, orders: Mapping[str, NDArray[np.int64]]
) -> dict[str, list[int]]:
    """Return the number of the group of each stored image, by split; equal names have equal numbers."""
    numbers: dict[str, int] = {}
    groups = {}
    for name, split in raw.splits.items():
        names = groups_of(split, group, source)
        usable = [each for each, use in zip(names, result.usable[name], strict=True) if use]
        groups[name] = [numbers.setdefault(usable[index], len(numbers)) for index in orders[name].tolist()]
    return groups


def _publish(folder: Path, content: Path) -> None:
    """Move decoded images to their place, in steps that leave every file whole.

    Files that are there already had the same bytes when they were written, and may be in use.
    """
    try:
        folder.chmod(0o755)
        folder.rename(content)
    except OSError:
        if not content.is_dir():
            raise
        for path in folder.iterdir():
            path.replace(content / path.name)
    files.sync_folder(content.parent)


def _input_rule(result: ScanResult, config: DataConfig) -> InputRule:
    """Return the rule of a data set; without `resize` its images have one size."""
    height, width = config.size or next(iter(result.sizes))[::-1]
    background = (
        named_colour(config.background, result.channels)
        if config.background
        else result.background.colour(result.channels)
    )
    return InputRule(
        channels=result.channels,
        height=height,
        width=width,
        resize_policy=config.policy,
        background=background,
    )


def _load(entry: Entry) -> CachedData:
    content = content_folder() / entry.content
    try:
        meta = verified_meta(content, entry.meta_sha256)
        splits = {
            name: CachedSplit(
                images=np.load(content / f"{name}-images.npy", mmap_mode="r"),
                labels=np.load(content / f"{name}-labels.npy"),
                groups=np.array(entry.groups[name], dtype=np.int64) if entry.groups else None,
            )
            for name in ("train", "validation", "test")
            if f"{name}-labels.npy" in meta["sha256"]
        }
    except (FileError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error)
        if isinstance(error, FileError):
            reason = f"{error.problems[0].what}: {Path(error.problems[0].where).name}"
        raise DataError(
            f"the cache is damaged: {reason}",
            where=str(content),
            fix="decode the images again with --refresh (in Python refresh=True), or remove this folder",
        ) from error
    return CachedData(
        splits=splits,
        class_names=entry.class_names,
        fingerprint=meta["fingerprint"],
        background=entry.background,
        folder=content,
        dropped=entry.dropped,
        layout=entry.layout,
    )


def _damaged_images_error(damaged: Sequence[DataIssue], source: Source) -> DataError:
    """Return an error that lists the first damaged images and counts the others; missing ones in one line."""
    missing = [issue for issue in damaged if issue.kind == "missing"]
    if missing:
        return DataError.of([_missing_problem(missing, len(damaged) - len(missing), source)])
    rest = len(damaged) - MAX_LISTED
    fix = (f"{rest:,} more; " if rest > 0 else "") + (
        "repair or remove them (`convsmith data verify` lists all), or leave them out: "
        "data.skip_damaged=true; no file was changed"
    )
    problems = [_problem(issue, source) for issue in damaged[:MAX_LISTED]]
    return DataError.of([*problems[:-1], replace(problems[-1], fix=fix)])


def _missing_problem(missing: Sequence[DataIssue], damaged: int, source: Source) -> Problem:
    """Return the problem of files that a table names, and that the source lacks."""
    files = join_first((one_line(issue.file) for issue in missing), MAX_LISTED)
    also = f"; {damaged:,} more images are damaged" if damaged else ""
    return Problem(
        what=f"found no files for {plural(len(missing), 'row')} of a table: {files} "
        f"(the first is {missing[0].reason}){also}",
        where=source.location,
        fix="add the files, or remove the rows (`convsmith data verify` lists all), or leave them out: "
        "data.skip_damaged=true",
    )


def _problem(issue: DataIssue, source: Source) -> Problem:
    return Problem(what=f"{issue.kind}: {issue.reason}", where=f"{source.location}/{issue.file}")


def _check_classes(raw: RawData, result: ScanResult, source: Source) -> None:
    for name, split in raw.splits.items():
        if not result.usable[name].any():
            what = "has no usable images" if len(split.labels) else "is empty"
            fix = "repair its images, or name other splits: data.splits.train, data.splits.test"
            raise DataError(f"the {name} split {what}", where=source.location, fix=fix)
    counts = result.class_counts(raw, "train")
    empty = [name for index, name in enumerate(raw.class_names) if not counts[index]]
    if empty:
        folder = raw.splits["train"].class_folder(empty[0])
        raise DataError(
            f"no training images of {', '.join(map(repr, empty[:MAX_LISTED]))}",
            where=f"{source.location}/{folder}" if folder else source.location,
            fix="add images of every class, or remove the class"
            if folder
            else "add images of every class; texts are spelled alike in all files, numbers have no gaps",
        )
    if len(raw.class_names) < 2:
        raise DataError(
            f"found one class, {', '.join(map(repr, raw.class_names))}, expected at least two",
            where=source.location,
            fix="add images of another class, or name another column of labels: data.label_column=NAME",
        )


def _check_sizes(result: ScanResult, source: Source, config: DataConfig) -> None:
    if len(result.sizes) > 1 and config.resize is None:
        suggestion = suggest_size(result.sizes)
        raise DataError(
            f"found images of {len(result.sizes):,} sizes, expected one",
            where=source.location,
            context="\n".join([*size_lines(result.sizes, result.examples), suggestion.reason]),
            fix=f"resize them, for example {suggestion.settings}",
        )
