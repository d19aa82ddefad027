"""The session of a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from convsmith.data.arrays.in_memory import source_of
from convsmith.data.arrays.registry import MEMORY_PREFIX
from convsmith.data.dataset import ImageDataset
from convsmith.data.labels import canonical_name
from convsmith.errors import RunError
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.recipes.session import Session
from convsmith.runs.code import architecture_of_run
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import DataRecord


def changed_classes(before: Sequence[str], now: Sequence[str]) -> str:
    """Return the first class whose name has changed; empty if none has, regardless of composed letters.

    >>> changed_classes(["cat", "dog"], ["dog", "cat"])
    "class 0 was 'cat', is 'dog'"
    """
    if len(before) != len(now):
        return f"found {len(now):,}, expected {len(before):,}"
    for index, names in enumerate(zip(before, now, strict=True)):
        old, new = map(canonical_name, names)
        if old != new:
            return f"class {index} was {old!r}, is {new!r}"
    return ""


def open_run(
    run: Path,
    *,
    access: CodeAccess = NO_CODE,
    refresh: bool = False,
    keep_in: Literal["memory", "disk"] | None = None,
) -> tuple[RunFolder, Session]:
    """Open a run, and load its recipe with the data that it was trained on.

    Args:
        run: The run folder.
        access: Whether code in it may be run.
        refresh: Decode the images again, even if the cache has them.
        keep_in: Where the images are kept, instead of the recipe's `data.keep_in`.

    Raises:
        RunError: The run does not exist or is damaged, or its data set has changed.
        UntrustedCodeError: Its net is a module, and its code may not be run.
        DataError: The data set does not exist or cannot be read.
    """
    folder = RunFolder.open(run)
    recipe = folder.recipe()
    if keep_in:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"keep_in": keep_in})})
    architecture = architecture_of_run(folder, recipe, access)
    load_weights = folder.load_weights if recipe.is_trained_elsewhere else None
    session = Session.load(recipe, architecture=architecture, load_weights=load_weights, refresh=refresh)
    check_data(folder.read(DataRecord), session.data)
    return folder, session


@contextmanager
def run_data(run: Path, data: object) -> Iterator[None]:
    """Hold the data in memory that a run was trained on, as long as the block lasts.

    Args:
        run: The run folder.
        data: The data of the training again; None to do nothing.

    Raises:
        RunError: The run was trained on other data, or on files.
        DataError: The data cannot be read.
    """
    if data is None:
        yield
        return
    recipe = RunFolder.open(run).recipe()
    expected = recipe.data.source
    if not expected.startswith(MEMORY_PREFIX):
        raise RunError(
            f"this run was trained on {expected!r}, not on data in memory",
            where=str(run),
            fix="leave data out: a run knows its files",
        )
    with source_of(data, recipe.data) as config:
        if config.source != expected:
            raise RunError(
                f"the data are not those of this run: found {config.source}, expected {expected}",
                where=str(run),
                fix="pass the images and labels that it was trained on, in the same splits, or train again",
            )
        yield


def check_data(record: DataRecord, data: ImageDataset) -> None:
    """Check that a data set is the one of a run: its classes, its images, and their splits.

    Raises:
        RunError: It has changed, or images are in other splits: older versions put equal images in several.
    """
    fix = "bring the data set back to what it was, or train again"
    if changed := changed_classes(record.class_names, data.class_names):
        what = f"the class names are not those of this run: {changed}"
        raise RunError(what, where=data.location, fix=fix)
    found, expected = data.fingerprint, record.fingerprint
    if found != expected:
        what = f"the data set is not the one of this run: fingerprint {found[:12]}, expected {expected[:12]}"
        raise RunError(what, where=data.location, fix=fix)
    prints = data.split_fingerprints()
    moved = [name for name, split in record.splits.items() if split.fingerprint != prints.get(name)]
    if moved:
        raise RunError(
            f"the splits are not those of this run: {', '.join(moved)}; equal images now stay in one split",
            where=data.location,
            fix="train again",
        )
