"""Classify many images into a folder of tables, alone or on the workers of an engine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal

from convsmith.cluster.engine import chosen_engine, connect
from convsmith.cluster.pool import WorkerPool
from convsmith.errors import StoppedError, UsageError, suggest
from convsmith.models.arguments import ModelArguments
from convsmith.models.classifier import BATCH_SIZE
from convsmith.models.image_blocks import STDIN
from convsmith.models.image_listing import image_blocks
from convsmith.models.prediction_folder import PredictionFolder, PredictionsRecord, new_record
from convsmith.models.prediction_parts import ModelReference, Part, PartSettings, predict_part, write_listing
from convsmith.models.prediction_rows import FORMATS
from convsmith.models.trained import TEMPORARY, trained_model
from convsmith.modules.access import CodeAccess
from convsmith.system import files, folders, locks, progress
from convsmith.system.device import choose_device
from convsmith.system.signals import stop_on_signals
from convsmith.text import plural

# Batches in a part.
_PART_BATCHES = 16


def predict_many(
    target: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *overrides: str,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    on: str | None = None,
    workers: int | None = None,
    table_format: Literal["parquet", "csv"] = "parquet",
    part_size: int | None = None,
    batch_size: int = BATCH_SIZE,
    top_k: int = 3,
    image_column: str | None = None,
    device: str | None = None,
    trust_code: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> PredictionsRecord:
    """Classify many images, and write a folder of tables with a row for each.

    The memory that this takes does not depend on the number of images. The folder is written in parts. After
    an interruption the same call goes on with the parts that are missing. The rows are those of `predict`
    with the same batch size, in the same order, however many workers share the work.

    Args:
        target: As for `load`.
        images: One or several paths of files, folders, archives and parquet files, patterns, or http(s)
            addresses.
        out: The folder: new, empty, or with a part of these predictions. It gets `part-00000.parquet` and so
            on, and `_predictions.json`.
        overrides: As for `load`, as are the three arguments that follow.
        weights: A file of weights that were trained elsewhere.
        data: The data set that they were trained on.
        on: The engine that shares out the parts: "loky" for processes of this machine,
            "dask://HOST:PORT" or "ray://HOST:PORT" for a cluster, whose workers see model, images and `out`
            under the same paths. By default this process makes them.
        workers: With `on`: how many parts are made at once.
        table_format: "parquet" or "csv".
        part_size: Images in each file, a multiple of `batch_size`; by default 16 batches.
        batch_size: Images per forward pass.
        top_k: Number of top classes in each row.
        image_column: Of parquet files; by default the only one with images.
        device: As for `load`.
        trust_code: As for `load`.
        log: Takes notes, one sentence at a time.

    Returns:
        The record of the folder. An image that could not be read has a row with the reason.

    Raises:
        ConvsmithError: As `load`; UsageError for arguments that do not fit; FileError if a path does not
            exist, the folder has other files or other predictions, or a disk is full; MissingExtraError if
            the engine is not installed; ProcessError if it does not answer, or a worker has another version,
            model or images.
        StoppedError: Ctrl-C or SIGTERM; the same call goes on.

    Example:
        >>> import convsmith as cs
        >>> record = cs.predict_many("cifar10-sprint", "shards", "answers", on="loky")  # doctest: +SKIP
        >>> record.count, record.unreadable  # doctest: +SKIP
        (1000000, 0)
    """
    texts = [str(each) for each in ([images] if isinstance(images, str | Path) else images)]
    part_size = _PART_BATCHES * batch_size if part_size is None else part_size
    engine = chosen_engine(on, workers)
    _check_sizes(part_size, batch_size, top_k)
    _check_names(texts, table_format, device)
    access = CodeAccess(trust=trust_code)
    arguments = ModelArguments.of(target, weights, data, overrides, access)
    folder = PredictionFolder(path=Path(out))
    folder.check_content()
    blocks = chain.from_iterable(image_blocks(texts, log, image_column))
    with ExitStack() as stack:
        files.make_folder(folder.path)
        stack.callback(folders.remove_empty, folder.path)
        stack.enter_context(locks.lock_folder(folder.path))
        folders.remove_temporary(folder.path, TEMPORARY)
        pool = stack.enter_context(connect(engine, folder.path, workers)) if engine else None
        model = stack.enter_context(trained_model(arguments, access, log, folder.path))
        settings = PartSettings(
            model=ModelReference.of(model, device, trust_code=trust_code or weights is not None),
            folder=str(folder.path.absolute()),
            images_folder=str(Path.cwd()),
            table_format=table_format,
            top_k=top_k,
            batch_size=batch_size,
            on_workers=pool is not None,
        )
        listing = write_listing(folder.path, blocks, part_size)
        record = new_record(settings, listing, model=str(target), images=texts)
        folder.start(record)
        parts = listing.parts(settings)
        _make(parts, pool)
        return folder.finish(record, parts)


def _check_sizes(part_size: int, batch_size: int, top_k: int) -> None:
    """Check numbers. Parts of whole batches have the batches of all images, and so the same rounding."""
    for name, value in (("--part-size", part_size), ("--batch-size", batch_size), ("--top-k", top_k)):
        if value < 1:
            raise UsageError(f"found {value}, expected at least 1", where=name, fix="leave it out")
    if part_size % batch_size:
        raise UsageError(
            f"found {part_size:,}, expected a multiple of --batch-size, {batch_size:,}",
            where="--part-size",
            fix=f"write --part-size {-(-part_size // batch_size) * batch_size}",
        )


def _check_names(texts: Sequence[str], table_format: str, device: str | None) -> None:
    if STDIN in texts:
        raise UsageError(
            "standard input cannot be read again after an interruption",
            where="--out",
            fix="name a file, or leave --out out",
        )
    if table_format not in FORMATS:
        raise UsageError(
            f"unknown format {table_format!r}", where="--format", fix=suggest(table_format, FORMATS)
        )
    if device is not None:
        choose_device(device)


def _make(parts: Sequence[Part], pool: WorkerPool | None) -> None:
    """Make the parts that are missing."""
    total = sum(part.count for part in parts)
    left = [part for part in parts if not part.is_done]
    done = total - sum(part.count for part in left)
    progress.report("Predicting", done, total)
    try:
        for part in _results(left, pool):
            done += part.count
            progress.report("Predicting", done, total)
    except StoppedError as error:
        fix = f"the same command goes on from there: {done:,} of {plural(total, 'image')} are done"
        error.problems = tuple(replace(problem, fix=fix) for problem in error.problems)
        raise


def _results(parts: Sequence[Part], pool: WorkerPool | None) -> Iterator[Part]:
    """Yield parts as they are complete."""
    if pool is not None:
        yield from (part for part, _ in pool.run_all(predict_part, parts, is_done=lambda part: part.is_done))
        return
    with stop_on_signals() as stop:
        for number, part in enumerate(parts):
            if stop.signal:
                raise StoppedError(stop.signal, f"with {len(parts) - number} of {len(parts)} parts left")
            predict_part(part)
            yield part
