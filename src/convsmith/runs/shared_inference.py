"""Share out the forward passes of an evaluation over the workers of an engine.

A part is successive batches of a split. A worker writes its logits and features to one file in the run
folder, so that the same command goes on after it was killed:

RUN/.evaluation/NAME/test-0000000000.npz
"""

import hashlib
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.cluster.engine import Engine, connect
from convsmith.cluster.pool import WorkerPool
from convsmith.errors import ConvsmithError, FileError, ProcessError, StoppedError
from convsmith.modules.access import CodeAccess
from convsmith.recipes.session import Session
from convsmith.runs.evaluation import load_net
from convsmith.runs.folder import RECIPE, WEIGHTS, RunFolder
from convsmith.runs.schema import FILES, DataRecord
from convsmith.runs.session import open_run
from convsmith.system import files, paths, progress, reading
from convsmith.system.signals import stop_on_signals
from convsmith.training.metrics import (
    EVALUATION_BATCH,
    Outputs,
    SplitMetrics,
    compute_outputs,
    metrics_of_batches,
)

_FOLDER = ".evaluation"
# Batches in a part: few enough to be lost in a kill, and for the memory of a worker.
_PART_BATCHES = 4


@dataclass(frozen=True, kw_only=True)
class RunReference:
    """A run that a worker opens.

    Attributes:
        path: Absolute.
        sha256: Of all that its logits depend on.
        trust_code: Whether code in it may be run.
    """

    path: str
    sha256: str
    trust_code: bool


@dataclass(frozen=True, kw_only=True)
class Part:
    """The images of a split from `start` to the one before `stop`.

    Attributes:
        run: Whose net sees them.
        folder: Of the files of all parts, absolute.
        split: Its name.
        start: A multiple of the batch size, so that the batches, and their rounding, are those of the split.
        stop: At most the number of images.
    """

    run: RunReference
    folder: str
    split: str
    start: int
    stop: int

    @property
    def path(self) -> Path:
        """The file of the outputs; it is complete if it exists."""
        return Path(self.folder) / f"{self.split}-{self.start:010}.npz"

    @property
    def is_done(self) -> bool:
        return paths.is_file(self.path)

    def __len__(self) -> int:
        return self.stop - self.start


class SharedInference:
    """What workers have computed; an `Inference`."""

    def __init__(self, parts: list[Part], session: Session) -> None:
        self.parts, self.session = parts, session

    def metrics(self, name: str) -> SplitMetrics:
        batches = (
            batch
            for arrays in self._arrays(name)
            for batch in torch.split(torch.from_numpy(arrays["logits"]), EVALUATION_BATCH)
        )
        return metrics_of_batches(batches, self.session.data.splits[name].labels)

    def outputs(self, name: str) -> Outputs:
        parts = list(self._arrays(name))
        has_features = all("features" in arrays for arrays in parts)
        return Outputs(
            logits=_joined(arrays["logits"] for arrays in parts),
            features=_joined(arrays["features"] for arrays in parts) if has_features else None,
        )

    def logits(self, name: str) -> Tensor:
        return _joined(arrays["logits"] for arrays in self._arrays(name))

    def _arrays(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the logits and features of the parts of a split, in the order of the images."""
        for part in self.parts:
            if part.split == name:
                try:
                    arrays = reading.read_arrays(part.path)
                    count = len(arrays["logits"])
                except (FileError, KeyError):
                    count = 0
                if count != len(part):
                    raise FileError(
                        f"the outputs of a worker are damaged: found {count:,}, expected {len(part):,}",
                        where=str(part.path),
                        fix="remove this file, and repeat the command",
                    )
                yield arrays


def _joined(arrays: Iterator[Any]) -> Tensor:
    return torch.from_numpy(np.concatenate(list(arrays)))


@contextmanager
def shared_inference(
    folder: RunFolder, session: Session, engine: Engine, workers: int | None, *, trust_code: bool
) -> Iterator[SharedInference]:
    """Compute the outputs for all images of a run on the workers of an engine.

    Parts that an earlier command has left are used. The files of all parts are removed at the end of the
    block, unless an exception ends it.

    Args:
        folder: Of the run, locked by this process. All workers see it under the same path.
        session: Of the run. Workers find its data under the same path too.
        engine: Where the workers are.
        workers: How many parts are computed at once, by default as many as the engine can.
        trust_code: Whether workers may run code in the run.

    Raises:
        MissingExtraError: The engine is not installed.
        ProcessError: It does not answer, or a worker has another version, run or data.
        FileError: A part cannot be written or read.
        StoppedError: Ctrl-C or SIGTERM; the same command goes on.
    """
    run = RunReference(
        path=str(folder.path.absolute()), sha256=_digest(folder, session), trust_code=trust_code
    )
    parent = files.make_folder(folder.path.absolute() / _FOLDER)
    for other in parent.iterdir():
        if other.name != run.sha256:
            # Of weights or data that were others.
            shutil.rmtree(other, ignore_errors=True)
    place = files.make_folder(parent / run.sha256)
    parts = _parts_of(session, run, place)
    with connect(engine, place, workers) as pool:
        _compute(parts, pool)
    yield SharedInference(parts, session)
    remove_parts(folder)


def remove_parts(folder: RunFolder) -> None:
    """Remove the outputs of workers from a run."""
    shutil.rmtree(folder.path / _FOLDER, ignore_errors=True)


def _parts_of(session: Session, run: RunReference, place: Path) -> list[Part]:
    size = _PART_BATCHES * EVALUATION_BATCH
    return [
        Part(run=run, folder=str(place), split=name, start=start, stop=min(start + size, len(split)))
        for name, split in session.data.splits.items()
        for start in range(0, len(split), size)
    ]


def _compute(parts: list[Part], pool: WorkerPool) -> None:
    """Compute the parts that are missing."""
    left, total = [part for part in parts if not part.is_done], sum(map(len, parts))
    done = total - sum(map(len, left))
    progress.report("Evaluating images", done, total)
    try:
        for part, _ in pool.run_all(compute_part, left, is_done=lambda part: part.is_done):
            done += len(part)
            progress.report("Evaluating images", done, total)
    except StoppedError as error:
        fix = f"the same command goes on from there: {done:,} of {total:,} images are done"
        error.problems = tuple(replace(problem, fix=fix) for problem in error.problems)
        raise


def _digest(folder: RunFolder, session: Session) -> str:
    """Return the SHA-256 of what logits depend on: net, weights, images, normalization, precision.

    The images are those of the run's record, as `open_run` has checked.
    """
    hashes = [reading.sha256(folder.path / name) for name in (RECIPE, WEIGHTS, FILES[DataRecord])]
    code = session.architecture.identity().get("source")
    values = [*hashes, code, session.data.mean, session.data.std, str(session.dtype)]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def compute_part(part: Part) -> None:
    """Compute the outputs of a part in a worker, and write its file.

    Raises:
        ProcessError: This worker has another run or other data than the main process.
        FileError: The file cannot be written.
    """
    session, net = _opened(part.run)
    split = session.data.splits[part.split]
    batches = []
    with session.threads(), progress.silent(), stop_on_signals() as stop:
        for start in range(part.start, part.stop, EVALUATION_BATCH):
            if stop.signal:
                raise StoppedError(stop.signal, f"in the {part.split} images from {start:,}")
            batch = split.select(np.arange(start, min(start + EVALUATION_BATCH, part.stop)))
            batches.append(compute_outputs(net, batch, session.normalizer, session.dtype))
    arrays = {"logits": np.concatenate([each.logits.numpy() for each in batches])}
    features = [each.features.numpy() for each in batches if each.features is not None]
    if len(features) == len(batches):
        arrays["features"] = np.concatenate(features)
    files.write_arrays(part.path, arrays, compressed=False)


@lru_cache(maxsize=1)
def _opened(run: RunReference) -> tuple[Session, nn.Module]:
    """Return the session and the net of a run; the parts that follow use them again."""
    try:
        access = CodeAccess(trust=run.trust_code)
        folder, session = open_run(Path(run.path), access=access, keep_in="disk")
        same = _digest(folder, session) == run.sha256
    except ConvsmithError as error:
        raise _other_run(run, error.problems[0].what) from error
    if not same:
        raise _other_run(run, "another run is there")
    return session, load_net(folder, session)[0]


def _other_run(run: RunReference, what: str) -> ProcessError:
    return ProcessError(
        f"the worker on {socket.gethostname()} cannot evaluate this run: {what}",
        where=run.path,
        fix="put the run and its data into folders that all workers have under the same path",
    )
