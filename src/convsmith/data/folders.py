"""Image folders: `root/<split>/<class>/*`, or `root/<class>/*`, which is split later."""

import os
from collections.abc import Sequence
from pathlib import Path

from convsmith.data.raw import SPLIT_NAMES, RawData, RawSplit, chosen_splits
from convsmith.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
LAYOUT = "expected root/train/<class>/*.png and root/test/<class>/*.png, or root/<class>/*.png"


def read_image_folder(root: Path) -> RawData:
    """The files of an image folder by split and class. A class is a folder, with all that is below it.

    Raises:
        DataError: There are no class folders, no split named train, or the folder cannot be listed.
    """
    splits = _split_folders(root)
    classes = {target: _folders(folder) for target, folder in splits.items()}
    names = tuple(sorted({path.name for folders in classes.values() for path in folders}))
    raw: dict[str, RawSplit] = {
        target: _split(root, splits[target], classes[target], names)
        for target in ("train", "test")
        if target in splits
    }
    used = {root / place for split in raw.values() for place in split.places}
    ignored = {str(path.relative_to(root)): _why_not(path) for path in everything(root) if path not in used}
    return RawData(splits=raw, class_names=names, ignored=ignored)


def split_folders(root: Path) -> dict[str, str]:
    """The folders of an image folder's splits, "train" and "test"; "" where the classes lie at the top.

    Raises:
        DataError: The folder is not laid out as it should be.
    """
    return {target: "" if folder == root else folder.name for target, folder in _split_folders(root).items()}


def everything(folder: Path) -> list[Path]:
    """All below a folder that is no folder, in a fixed order, hidden ones left out.

    Raises:
        DataError: It cannot be listed.
    """
    found, seen = [], set()
    try:
        # A link to a folder is followed, unless it leads in a circle.
        for top, folders, names in os.walk(folder, followlinks=True, onerror=_raised):
            real = os.path.realpath(top)
            folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
            if real not in seen:
                found += [Path(top, name) for name in names if not name.startswith(".")]
            seen.add(real)
    except OSError as error:
        raise DataError(f"cannot be listed: {error.strerror}", where=str(error.filename or folder)) from error
    return sorted(found)


def _raised(error: OSError) -> None:
    raise error


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name. What is no plain file, a pipe for example, is none."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders that hold the classes, by what they are used as."""
    folders = _folders(root)
    if not folders:
        raise DataError("found no class folders", where=str(root), fix=LAYOUT)
    if not all(folder.name.lower() in SPLIT_NAMES for folder in folders):
        return {"train": root}
    named = {folder.name.lower(): folder for folder in folders}
    if "train" not in named:
        raise DataError(
            f"found the splits {', '.join(named)}, expected one named train", where=str(root), fix=LAYOUT
        )
    splits = {target: named[name] for name, target in chosen_splits(list(named)).items()}
    for folder in splits.values():
        if not _folders(folder):
            raise DataError("found no class folders", where=str(folder), fix=LAYOUT)
    return splits


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot be listed: {error.strerror}", where=str(folder)) from error


def _split(root: Path, folder: Path, classes: Sequence[Path], names: Sequence[str]) -> RawSplit:
    files = [
        (path, names.index(each.name)) for each in classes for path in everything(each) if is_image(path)
    ]
    return RawSplit(
        images=[str(path) for path, _ in files],
        labels=[label for _, label in files],
        places=[str(path.relative_to(root)) for path, _ in files],
        folder=str(folder.relative_to(root)),
    )


def _why_not(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "a link to nowhere"
    if not path.is_file():
        return "no plain file"
    if path.suffix.lower() not in SUFFIXES:
        return f"no image by its name: {path.suffix or 'no suffix'}"
    return "in no class folder of a split that is used"
