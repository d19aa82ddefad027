"""Image folders: `root/<split>/<class>/*`, or `root/<class>/*`, which is split later."""

import os
from collections.abc import Sequence
from pathlib import Path

from convsmith.data.raw import SPLIT_NAMES, RawData, RawSplit, select_splits
from convsmith.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
LAYOUT_HINT = "expected root/train/<class>/*.png and root/test/<class>/*.png, or root/<class>/*.png"


def read_image_folder(root: Path) -> RawData:
    """Return the files of an image folder by split and class. Subfolders belong to their class.

    Raises:
        DataError: There are no class folders, no split is named train, or the folder cannot be listed.
    """
    splits = _split_folders(root)
    classes = {target: _folders(folder) for target, folder in splits.items()}
    names = tuple(sorted({path.name for folders in classes.values() for path in folders}))
    raw: dict[str, RawSplit] = {
        target: _split(root, splits[target], classes[target], names)
        for target in ("train", "test")
        if target in splits
    }
    used = {root / location for split in raw.values() for location in split.locations}
    ignored = {
        str(path.relative_to(root)): _ignored_reason(path) for path in list_files(root) if path not in used
    }
    return RawData(splits=raw, class_names=names, ignored=ignored)


def split_folders(root: Path) -> dict[str, str]:
    """Return the folders of the splits "train" and "test"; "" if the class folders are at the top.

    Raises:
        DataError: The folder does not have the expected layout.
    """
    return {target: "" if folder == root else folder.name for target, folder in _split_folders(root).items()}


def list_files(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted, without hidden ones.

    Raises:
        DataError: The folder cannot be listed.
    """
    paths, visited = [], set()
    try:
        # Links to folders are followed, but not in cycles.
        for top, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
            real = os.path.realpath(top)
            folders[:] = [] if real in visited else [name for name in folders if not name.startswith(".")]
            if real not in visited:
                paths += [Path(top, name) for name in names if not name.startswith(".")]
            visited.add(real)
    except OSError as error:
        raise DataError(f"cannot be listed: {error.strerror}", where=str(error.filename or folder)) from error
    return sorted(paths)


def _raise(error: OSError) -> None:
    raise error


def is_image(path: Path) -> bool:
    """Return whether a path is a regular file with the suffix of an image."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the parent folders of the classes, by the split that they are used as."""
    folders = _folders(root)
    if not folders:
        raise DataError("found no class folders", where=str(root), fix=LAYOUT_HINT)
    if not all(folder.name.lower() in SPLIT_NAMES for folder in folders):
        return {"train": root}
    named = {folder.name.lower(): folder for folder in folders}
    if "train" not in named:
        raise DataError(
            f"found the splits {', '.join(named)}, expected one named train", where=str(root), fix=LAYOUT_HINT
        )
    splits = {target: named[name] for name, target in select_splits(list(named)).items()}
    for folder in splits.values():
        if not _folders(folder):
            raise DataError("found no class folders", where=str(folder), fix=LAYOUT_HINT)
    return splits


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot be listed: {error.strerror}", where=str(folder)) from error


def _split(root: Path, folder: Path, classes: Sequence[Path], names: Sequence[str]) -> RawSplit:
    files = [
        (path, names.index(each.name)) for each in classes for path in list_files(each) if is_image(path)
    ]
    return RawSplit(
        images=[str(path) for path, _ in files],
        labels=[label for _, label in files],
        locations=[str(path.relative_to(root)) for path, _ in files],
        folder=str(folder.relative_to(root)),
    )


def _ignored_reason(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "a broken link"
    if not path.is_file():
        return "not a regular file"
    if path.suffix.lower() not in SUFFIXES:
        return f"not an image: {f'suffix {path.suffix}' if path.suffix else 'no suffix'}"
    return "not in a class folder of a used split"
