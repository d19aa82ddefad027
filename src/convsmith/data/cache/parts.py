"""Share out the images of a scan over the workers of an engine.

A part is a range of the images of a split. Workers write its outcomes to one file in a folder of the cache,
so that the same command goes on after it was killed:

CACHE/parts/NAME/train-0000000000.npz               outcomes of a part
CACHE/parts/NAME/train-0000000000-3-opaque.pixels   its pixels, if the scan keeps them
"""

import hashlib
import json
import shutil
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import convsmith
from convsmith.cluster.engine import Engine, connect
from convsmith.cluster.pool import WorkerPool
from convsmith.data.cache.facts import columns_of, facts_in
from convsmith.data.cache.scan import DecodingMemory, Outcome, Remote, Visitor, examined, pixel_memory
from convsmith.data.cache.worker_source import find_worker_source, other_data
from convsmith.data.config import DataConfig
from convsmith.data.images.decode import own_settings
from convsmith.data.issues import DataIssue
from convsmith.data.raw import RawData, RawSplit, Source
from convsmith.data.signatures import decode_signature
from convsmith.data.sources import read_source
from convsmith.errors import DataError, FileError, StoppedError, UsageError
from convsmith.system import files, folders, locks, paths, reading
from convsmith.system.folders import cache_folder
from convsmith.system.signals import stop_on_signals

T = TypeVar("T")
# Incremented when the files of parts change, so that those of another version are not read.
_VERSION = 1
# Parts of a split, and images of a part: few enough for the memory of a worker, and to be lost in a kill.
_PARTS, _LEAST, _MOST = 256, 256, 4096
_FOLDER, _ISSUES, _USABLE = "parts", "issues", "usable"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the parts of a scan have in common.

    Attributes:
        folder: For the files of the parts; all workers see it.
        config: The `[data]` table of a recipe, with an absolute source.
        signature: Of the source in the main process.
        now: When it was examined.
        pixels: Bytes of decoded pixels that a worker may hold at once.
    """

    folder: str
    config: DataConfig
    signature: str
    now: int
    pixels: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """The images of a split from `start` to the one before `stop`, and what examines them."""

    job: Job
    remote: Remote
    split: str
    start: int
    stop: int

    @property
    def path(self) -> Path:
        """The file of its outcomes."""
        return Path(self.job.folder) / f"{self.split}-{self.start:010}.npz"

    @property
    def is_done(self) -> bool:
        return paths.is_file(self.path)


def starts_of(split: RawSplit) -> list[int]:
    """Return the first image of each part of a split. They do not depend on the number of workers."""
    count = len(split.labels)
    size = max(-(-count // (split.most_parts or _PARTS)), _LEAST)
    return list(range(0, count, size if split.most_parts else min(size, _MOST))) or [0]


class InProcesses:
    """The images are shared out over the workers of an engine; a `scan.Sharing`."""

    def __init__(self, pool: WorkerPool, job: Job) -> None:
        self.pool, self.job = pool, job
        self.folder = Path(job.folder)

    def outcomes(self, raw: RawData, name: str, visitor: Visitor[T]) -> Generator[Outcome[T], None, None]:
        """Yield the outcome for each image of a split, in their order, while workers examine later ones."""
        split, remote = raw.splits[name], visitor.remote()
        starts = [*starts_of(split), len(split.labels)]
        parts = [
            Part(job=self.job, remote=remote, split=name, start=start, stop=stop)
            for start, stop in pairwise(starts)
        ]
        due = [part for part in parts if not part.is_done]
        with closing(_generator(self.pool.run_all(examine_part, due, is_done=_is_done))) as finished:
            for part in parts:
                while not part.is_done and next(finished, None) is not None:
                    pass
                yield from _outcomes(part, split, visitor)
            # A request to stop, and losses of workers, are raised at the end.
            for _ in finished:
                pass


@contextmanager
def in_processes(
    source: Source,
    config: DataConfig,
    engine: Engine,
    workers: int | None,
    *,
    purpose: str,
    details: str = "",
) -> Iterator[InProcesses]:
    """Share out a scan over the workers of an engine.

    Parts that an earlier command has left are used. The files of all parts are removed at the end of the
    block, unless an exception ends it that is no DataError.

    Args:
        source: From `find_source`.
        config: The `[data]` table of a recipe.
        engine: Where the workers are. All of them have the same files under the same path.
        workers: How many parts are examined at once, by default as many as the engine can.
        purpose: A word for the scan. Scans of different purposes do not use each other's parts.
        details: On what else the outcomes depend.

    Raises:
        UsageError: The data are in the memory of this process.
        BusyError: The same command runs already.
        ProcessError: Workers cannot be reached, or have another version or other data.
    """
    if source.kind == "memory":
        raise UsageError(
            "the data are in the memory of this process, and workers do not share it",
            where="--on",
            fix="write the images to files, or leave out on=",
        )
    folder = _folder(source, config, purpose, details)
    files.make_folder(folder)
    try:
        with locks.lock_folder(folder):
            try:
                with connect(engine, folder, workers) as pool:
                    job = Job(
                        folder=str(folder),
                        config=_portable(config, source),
                        signature=source.signature,
                        now=source.now,
                        pixels=pixel_memory() // (1 if engine.host else pool.count),
                    )
                    yield InProcesses(pool, job)
            except DataError:
                # The same command would find the same, and another one has other parts.
                _remove_parts(folder)
                raise
            _remove_parts(folder)
    finally:
        # Unless parts are left, or the same command has begun meanwhile.
        with suppress(OSError):
            folder.rmdir()


def _remove_parts(folder: Path) -> None:
    for path in folder.glob("*-*"):
        if path.is_dir():
            # Of a worker that was killed.
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def examine_part(part: Part) -> int:
    """Examine the images of a part in a worker, and write their outcomes; return how many there are.

    Raises:
        ProcessError: This worker does not have the data of the main process.
        FileError: The outcomes cannot be written, for example because the disk is full.
        StoppedError: The main process was asked to stop.
    """
    if part.is_done:
        return part.stop - part.start
    raw = _raw(part.job)
    folder = Path(part.job.folder)
    memory = DecodingMemory(pixels=part.job.pixels)
    try:
        with (
            folders.scratch_folder(folder, name="part") as scratch,
            part.remote.open(raw, part.split, part.start, scratch) as visitor,
        ):
            outcomes = list(
                _stoppable(examined(raw, part.split, visitor, part.start, part.stop, memory=memory))
            )
            arrays = _packed(outcomes, visitor)
            visitor.close()
            for path in scratch.iterdir():
                files.sync_file(path)
                path.replace(folder / path.name)
        files.write_arrays(part.path, arrays, compressed=False)
    except OSError as error:
        raise files.write_error(folder, error) from error
    return len(outcomes)


def _is_done(part: Part) -> bool:
    return part.is_done


def _generator(items: Iterator[T]) -> Generator[T, None, None]:
    yield from items


def _stoppable(outcomes: Generator[Outcome[T], None, None]) -> Iterator[Outcome[T]]:
    with closing(outcomes), own_settings(), stop_on_signals() as stop:
        for outcome in outcomes:
            if stop.signal:
                raise StoppedError(stop.signal, "while images were decoded")
            yield outcome


def _packed(outcomes: Sequence[Outcome[T]], visitor: Visitor[T]) -> dict[str, NDArray[Any] | None]:
    """Return the outcomes of a part as arrays; `_outcomes` is the reverse."""
    usable = [each for each in outcomes if not isinstance(each, DataIssue)]
    issues = [asdict(each) for each in outcomes if isinstance(each, DataIssue)]
    return {
        _USABLE: np.array([not isinstance(each, DataIssue) for each in outcomes], np.bool_),
        # Names of files need not be UTF-8.
        _ISSUES: np.frombuffer(json.dumps(issues).encode(), np.uint8),
        **{f"facts {name}": column for name, column in columns_of([each[0] for each in usable]).items()},
        **{f"examined {name}": array for name, array in visitor.pack([each[1] for each in usable]).items()},
    }


def _outcomes(part: Part, split: RawSplit, visitor: Visitor[T]) -> Iterator[Outcome[T]]:
    """Yield the outcomes that a worker has written."""
    try:
        arrays = reading.read_arrays(part.path)
        usable, issues = arrays[_USABLE].tolist(), iter(json.loads(arrays[_ISSUES].tobytes()))
        facts = facts_in(_with_prefix(arrays, "facts "))
        found = zip(facts, visitor.unpack(_with_prefix(arrays, "examined ")), strict=True)
        for is_usable in usable:
            yield next(found) if is_usable else DataIssue(**next(issues))
    except (FileError, KeyError, ValueError) as error:
        reason = error.problems[0].what if isinstance(error, FileError) else error
        raise DataError(
            f"the outcomes of {split.locations[part.start]} and after it are damaged: {reason}",
            where=str(part.path),
            fix="repeat the command, which decodes all images again",
        ) from error


def _with_prefix(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _folder(source: Source, config: DataConfig, purpose: str, details: str) -> Path:
    """Return the folder of the parts of a scan, after those of earlier states of the source are removed."""
    place = hashlib.sha256(source.location.encode(errors="surrogateescape")).hexdigest()[:16]
    text = f"{_VERSION} {convsmith.__version__} {source.signature} {decode_signature(config)} {details}"
    name = f"{purpose}-{place}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    parent = cache_folder().absolute() / _FOLDER
    for path in parent.glob(f"{purpose}-{place}-*"):
        if path.name != name:
            # Of a command that still runs.
            with suppress(FileError), locks.lock_folder(path):
                shutil.rmtree(path, ignore_errors=True)
    return parent / name


def _portable(config: DataConfig, source: Source) -> DataConfig:
    """Return a config whose source is the same place in every process on every machine."""
    if source.kind in {"digits", "hub"}:
        return config.model_copy(update={"source": "digits" if source.kind == "digits" else source.location})
    place = Path(source.location, source.table) if source.table else Path(source.location)
    return config.model_copy(update={"source": str(place)})


_lock = threading.Lock()


def _raw(job: Job) -> RawData:
    """Return the data set of a job, which a worker reads once."""
    with _lock:
        return _read(job)


@lru_cache(maxsize=1)
def _read(job: Job) -> RawData:
    source = find_worker_source(job.config, now=job.now)
    if source.signature != job.signature:
        hint = "; a copy of the files has other times, and counts as another data set"
        raise other_data(job.config, "files", hint)
    return read_source(source, job.config)
