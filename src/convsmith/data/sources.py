"""Data sources: the built-in digits, folders, archives, and the Hugging Face hub."""

import dataclasses
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from convsmith.data.arrays.binary import is_binary, read_binary
from convsmith.data.arrays.files import is_array, read_array_files
from convsmith.data.arrays.idx import is_idx, read_idx
from convsmith.data.arrays.registry import MEMORY_PREFIX, memory_data
from convsmith.data.config import DataConfig
from convsmith.data.files.layout import LAYOUT_HINT
from convsmith.data.files.listing import is_image_name
from convsmith.data.files.storage import ArchiveFiles, Files, FolderFiles, SingleFile
from convsmith.data.hub.parquet import is_parquet, read_parquet
from convsmith.data.hub.revisions import current_revision
from convsmith.data.hub.tables import read_tables
from convsmith.data.labels import BadLabel, LabelArray, merged_spellings
from convsmith.data.pictures import read_pictures
from convsmith.data.raw import RawData, RawSplit, Source, is_class_index
from convsmith.data.signatures import file_signature, package_signature
from convsmith.data.splits import no_validation_error
from convsmith.data.tables.text import TABLE_SUFFIXES
from convsmith.errors import DataError, suggest
from convsmith.system import paths
from convsmith.system.archives import ArchiveError, is_archive_name
from convsmith.system.folders import expand_user
from convsmith.text import join_first, one_line, plural

HUB_NAMES = {
    "cifar10": "uoft-cs/cifar10",
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
NAMES = ("digits", *HUB_NAMES)
_MAX_LISTED = 5
# Pickled files of CIFAR-10 and CIFAR-100 in their original distribution.
_PICKLED = re.compile(r"data_batch_\d|test_batch|batches\.meta")
_PICKLED_CIFAR_100 = {("cifar-100-python", name) for name in ("train", "test", "meta")}
# What the name of a file says about a source, the first kind that occurs.
_KINDS: dict[str, Callable[[PurePath], bool]] = {
    "parquet": is_parquet,
    "idx": is_idx,
    "binary": is_binary,
    "images": is_image_name,
    "arrays": is_array,
}
_FOREIGN_ARRAYS = (".mat", ".h5", ".hdf5")
_PICKLED_CIFAR = (
    "these are pickles, which can run code and are not read; the same images without: data.source=cifar10 "
    "(or uoft-cs/cifar100 with data.label_column=fine_label), or the binary version of the same page, "
    "cifar-10-binary.tar.gz: name its folder with data_batch_1.bin"
)
_WRITE_ARRAYS = (
    "write the arrays with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...), or pass them "
    "in Python: cs.train(recipe, data=(x, y))"
)


def find_source(config: DataConfig, *, now: int | None = None) -> Source:
    """Locate a recipe's data set without reading it.

    A name is looked up in `$CONVSMITH_DATA`, then on the hub. A name with a slash is a folder if that exists,
    and a name on the hub otherwise.

    Args:
        config: The `[data]` table of a recipe.
        now: `Source.now` of another look at the same files, to compare the signatures.

    Raises:
        DataError: The name or folder does not exist, or the folder holds no images.
    """
    now = now or time.time_ns()
    return dataclasses.replace(_find(config, now), now=now)


def _find(config: DataConfig, now: int) -> Source:
    name = config.source
    if name.startswith(MEMORY_PREFIX):
        return Source(title="data in memory", location=name, signature=name, kind="memory")
    if name == "digits":
        signature = f"digits {package_signature('scikit-learn')}"
        return Source(title="digits", location="scikit-learn", signature=signature, kind="digits")
    if name in HUB_NAMES:
        return _local_copy(name, now) or _hub_source(name, HUB_NAMES[name])
    folder = expand_user(name)
    if paths.is_folder(folder):
        return _with_table(_folder_source(folder_title(folder), folder, now), config, now)
    if paths.is_file(folder):
        return _with_table(_file_source(name, folder, now), config, now)
    if name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~")):
        return _local_copy(name, now) or _hub_source(name, name)
    if "/" in name or name.startswith(".") or is_archive_name(name):
        what = "archive" if is_archive_name(name) else "folder"
        raise DataError(f"no such {what}", where=name, fix=_suggest_folder(folder, what))
    raise DataError(f"unknown data set {name!r}", where="data.source", fix=suggest(name, NAMES))


def read_source(source: Source, config: DataConfig, *, refresh: bool = False) -> RawData:
    """Return a source's encoded images, which are read lazily, and its unchecked labels.

    Args:
        source: From `find_source`.
        config: The `[data]` table of a recipe.
        refresh: Download a data set on the hub again.

    Raises:
        DataError: Nothing can be read, columns are missing or ambiguous, or a split has no labels.
    """
    _check_settings(source, config)
    if source.table is not None:
        config = config.model_copy(update={"table": source.table})
    raw = _read(source, config, refresh=refresh)
    _check_labels(raw, source)
    raw = merged_spellings(raw) if config.merge_spellings else raw
    splits = {
        name: dataclasses.replace(split, labels=LabelArray.of(split.labels))
        for name, split in raw.splits.items()
    }
    return dataclasses.replace(raw, splits=splits, notes=(*raw.notes, *_lacking_notes(raw)))


def _read(source: Source, config: DataConfig, *, refresh: bool) -> RawData:
    match source.kind:
        case "digits":
            return _read_digits()
        case "memory":
            return memory_data(source.location)
        case "hub":
            return _read_hub(source, config, refresh=refresh)
        case "archive":
            return _read_archive(source, config)
        case _:
            return _read_files(source_files(source), source, config)


def source_files(source: Source) -> Files:
    """Return the files of a source that has some: a folder, an archive, or a single file of arrays.

    Raises:
        DataError: A folder cannot be listed, or an archive is damaged or not safe to read.
    """
    place = Path(source.location)
    if source.kind == "archive":
        return ArchiveFiles(place)
    return FolderFiles(place) if paths.is_folder(place) else SingleFile(place)


def layout_kind(files: Files) -> str | None:
    """Return the kind of source that the names of files stand for, other than archives; None for none.

    The first of these that occurs: `"parquet"`, `"idx"`, `"binary"`, `"images"`, `"arrays"`.
    """
    found = {
        kind
        for path in files.files
        for kind, is_one in _KINDS.items()
        if is_one(path) and not files.unread_reason(path)
    }
    return next((kind for kind in _KINDS if kind in found), None)


def _read_files(files: Files, source: Source, config: DataConfig) -> RawData:
    match source.kind:
        case "parquet":
            return read_parquet(files, source, config)
        case "idx":
            return read_idx(files, config.splits, own_validation=config.own_validation)
        case "arrays":
            return read_array_files(files, config, source.location)
        case "binary":
            return read_binary(files, config)
        case _:
            return read_pictures(files, config)


def _lacking_notes(raw: RawData) -> list[str]:
    """Return a note for each split without images of some classes; the training set must have all."""
    notes = []
    for split in raw.splits.keys() - {"train"}:
        present = {label for label in raw.splits[split].labels if is_class_index(label)}
        lacking = [name for index, name in enumerate(raw.class_names) if index not in present]
        if lacking and raw.splits[split].labels:
            names = join_first(map(repr, lacking), _MAX_LISTED)
            notes.append(f"the {split} split has no images of {names}, which cannot be scored")
    return sorted(notes)


def _check_settings(source: Source, config: DataConfig) -> None:
    """Raise DataError for settings without an effect on this kind of source."""
    if source.kind == "digits" and config.own_validation:
        raise no_validation_error("one set of images", source.location)
    # What a setting names, and the sources without that.
    columns = {"digits", "idx", "binary"}
    others = {*columns, "parquet", "hub", "arrays"}
    named = {
        "splits": ("splits", {"digits", "binary"}),
        "image_column": ("columns", columns),
        "label_column": ("columns", columns),
        "channels": ("arrays", {*columns, "images", "parquet", "hub"}),
        "table": ("images beside a table", others),
        "label_columns": ("images beside a table", others),
    }
    for name, (what, kinds) in named.items():
        if source.kind in kinds and getattr(config, name) is not None:
            raise DataError(
                f"data.{name} has no effect: the source has no {what}",
                where=source.location,
                fix=f"remove data.{name}",
            )


def _check_labels(raw: RawData, source: Source) -> None:
    """Raise DataError for a split without labels, as the test sets of competitions are."""
    for name, split in raw.splits.items():
        if split.labels and not any(
            is_class_index(label) and label < len(raw.class_names) for label in split.labels
        ):
            other = {
                "test": "the training set alone with data.splits.train",
                "validation": "none: data.validation=0.1 holds out a share of the training set",
            }.get(name, "another one")
            raise DataError(
                f"the {name} split has no labels: the first of {plural(len(split.labels), 'image')}, "
                f"{split.locations[0]}, has {BadLabel(split.labels[0])!r}",
                where=source.location,
                fix=f"add the labels, or name {other}, or another column: data.label_column=NAME",
            )


def _local_copy(name: str, now: int) -> Source | None:
    root = os.environ.get("CONVSMITH_DATA")
    if not root:
        return None
    if not paths.is_folder(Path(root)):
        raise DataError("no such folder", where=f"CONVSMITH_DATA={root}", fix="unset it, or name a folder")
    for candidate in (name, name.rsplit("/", 1)[-1]):
        folder = Path(root) / candidate
        if paths.is_folder(folder):
            return _folder_source(name, folder, now)
    return None


def folder_title(folder: Path) -> str:
    r"""Return the name of a folder as a line; with its parent's if it alone is that of a well-known data set.

    >>> folder_title(Path("pets")), folder_title(Path("/data/mini/MNIST")), folder_title(Path("a\nb"))
    ('pets', 'mini/MNIST', 'a?b')
    """
    *_, parent, name = ("", *folder.absolute().parts)
    is_well_known = re.sub(r"[^a-z0-9]", "", name.lower()) in {each.replace("-", "") for each in NAMES}
    return one_line(f"{parent}/{name}" if is_well_known else name)


def _hub_source(title: str, hub_id: str) -> Source:
    revision = current_revision(hub_id)
    return Source(
        title=title,
        location=hub_id,
        signature=f"hub {hub_id} {revision.commit}",
        kind="hub",
        # Offline, `datasets` reads its newest copy, whatever revision that has.
        identified=revision.confirmed,
        revision=revision.commit if revision.confirmed else None,
    )


def _folder_source(title: str, folder: Path, now: int) -> Source:
    folder = folder.resolve()
    files = FolderFiles(folder)
    kind = layout_kind(files)
    if kind is None:
        regular = [folder / path for path in files.files if not files.unread_reason(path)]
        packed = [file for file in regular if is_archive_name(file.name.lower())]
        hints = {hint for file in regular if file not in packed[1:] and (hint := _unsupported_hint(file))}
        if len(packed) > 1:
            hints.add("or unpack all of them, in one folder")
        raise DataError(
            f"the folder holds no images ({plural(len(regular), 'other file')})",
            where=str(folder),
            fix="; ".join(sorted(hints, key=lambda hint: (hint.startswith("or "), hint)))
            or f"{LAYOUT_HINT}, or parquet files",
        )
    each = (folder / path for path in files.files if not files.unread_reason(path))
    signature = f"{kind} {os.fsencode(folder).hex()} {file_signature(each, folder, now)}"
    return Source(title=title, location=str(folder), signature=signature, kind=kind)


def _with_table(source: Source, config: DataConfig, now: int) -> Source:
    """Return a source whose signature covers the table that the recipe names, which may be outside of it."""
    if config.table is None:
        return source
    location = Path(source.location)
    file = (location if source.kind == "images" else location.parent) / expand_user(config.table)
    table = file_signature([file], file.parent, now)
    return dataclasses.replace(source, signature=f"{source.signature} {table}")


def _file_source(name: str, file: Path, now: int) -> Source:
    """Return the source of an archive, of a table beside images, or of a file of arrays."""
    if file.suffix.lower() in TABLE_SUFFIXES:
        source = _folder_source(folder_title(file.absolute().parent), file.parent, now)
        if source.kind == "images":
            signature = f"{source.signature} table {os.fsencode(file.name).hex()}"
            return dataclasses.replace(source, signature=signature, table=file.name)
    kind = "archive" if is_archive_name(file.name) else "arrays"
    if kind == "arrays" and not file.name.lower().endswith(".npz"):
        raise DataError(
            "found a file, expected a folder, an archive or a file of arrays",
            where=name,
            fix=_unsupported_hint(file) or f"name a folder: {LAYOUT_HINT}, or parquet files",
        )
    file = file.resolve()
    signature = f"{kind} {os.fsencode(file).hex()} {file_signature([file], file.parent, now)}"
    return Source(title=folder_title(file), location=str(file), signature=signature, kind=kind)


def _read_archive(source: Source, config: DataConfig) -> RawData:
    files = source_files(source)
    kind = layout_kind(files)
    if kind is None:
        hints = {_unsupported_hint(Path(path)) for path in files.files} - {""}
        raise DataError(
            f"the archive holds no images ({plural(len(files.files), 'other file')})",
            where=source.location,
            fix="; ".join(sorted(hints)) or f"{LAYOUT_HINT}, or parquet files",
        )
    inner = dataclasses.replace(source, kind=kind)
    _check_settings(inner, config)
    try:
        raw = _read_files(files, inner, config)
    except ArchiveError as error:
        raise DataError(str(error), where=source.location, fix="unpack it, and name the folder") from error
    return dataclasses.replace(raw, description=f"an archive of {raw.description}")


def _array_hint(file: Path) -> str:
    """Return the fix for a file of arrays that is not read where it is; empty for other files."""
    name = file.name.lower()
    if _PICKLED.fullmatch(name) or (file.parent.name, name) in _PICKLED_CIFAR_100:
        return _PICKLED_CIFAR
    if name.endswith(".npy"):
        return "labels belong to the images of an array: name the folder of both, such as x.npy and y.npy"
    if name.endswith((".pkl", ".pickle", ".pt", ".pth")):
        return f"pickles can run code and are not read: {_WRITE_ARRAYS}"
    if is_binary(file) or name.endswith(".npz"):
        return f"name {'the folder with ' if is_binary(file) else ''}{file.name} itself, unpacked"
    return f"{file.suffix} files are not read: {_WRITE_ARRAYS}" if name.endswith(_FOREIGN_ARRAYS) else ""


def _unsupported_hint(file: Path) -> str:
    """Return the fix for a file of a well-known unsupported type; empty for other files."""
    name = file.name.lower()
    if hint := _array_hint(file):
        return hint
    if is_idx(file):
        return "name the folder that this IDX file is in"
    if is_archive_name(name):
        hint = f'name the archive itself, "{one_line(str(file))}", or the unpacked folder'
    elif name.endswith((".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")):
        hint = "archives of this kind are not read: unpack it, and name the folder"
    elif name.endswith(".arrow"):
        return 'a data set of save_to_disk is not read: write it with dataset.to_parquet("train.parquet")'
    elif name.endswith((".csv", ".tsv", ".jsonl")):
        return 'a table needs its images: name their folder, and the table with data.table="/path/labels.csv"'
    elif name.endswith((".tfrecord", ".mdb", ".beton")):
        hint = "records are not supported: name a folder of images or parquet files"
    elif name.endswith((".heic", ".heif", ".jxl", ".jp2", ".svg", ".dng", ".psd", ".dcm")):
        return f"{Path(name).suffix} files are not read: convert them to PNG"
    else:
        return ""
    title = next((each for each in ("cifar10", "mnist") if each in re.sub(r"[^a-z0-9]", "", name)), "")
    return f"{hint}, for example data.source={title}" if title else hint


def _suggest_folder(folder: Path, what: str) -> str:
    parent = folder.parent
    if not paths.is_folder(parent):
        return f"its parent folder {parent} does not exist either"
    siblings = [
        path.name
        for path in paths.children(parent)
        if (paths.is_folder(path) if what == "folder" else is_archive_name(path.name))
    ]
    return suggest(folder.name, siblings) if siblings else f"{parent} has no {what}s"


def _read_digits() -> RawData:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Scale the 17 levels, 0 to 16, to the range of a byte.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    locations = [f"image {index}" for index in range(len(images))]
    split = RawSplit(images=list(images), labels=[int(each) for each in digits.target], locations=locations)
    return RawData(splits={"train": split}, class_names=tuple(map(str, digits.target_names)))


def _read_hub(source: Source, config: DataConfig, *, refresh: bool) -> RawData:
    import datasets

    mode = datasets.DownloadMode.FORCE_REDOWNLOAD if refresh else None
    with _quiet(datasets):
        try:
            splits = datasets.load_dataset(source.location, revision=source.revision, download_mode=mode)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise DataError(
                f"cannot be read from the Hugging Face hub: {reason[0]}",
                where=source.location,
                fix="check the name and the network, or set CONVSMITH_DATA to a folder with a copy of it",
            ) from error
        raw = read_tables(splits, source, config)
    return dataclasses.replace(raw, description=f"a data set of the hub ({raw.description})")


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Disable the progress bars and log messages of `datasets`; errors contain what matters."""
    import huggingface_hub.utils.logging as hub_logging

    loggers = (datasets.logging, hub_logging)
    verbosities = [logger.get_verbosity() for logger in loggers]
    bars = datasets.is_progress_bar_enabled()
    for logger in loggers:
        logger.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for logger, verbosity in zip(loggers, verbosities, strict=True):
            logger.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()
