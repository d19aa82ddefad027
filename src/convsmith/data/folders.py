"""Image folders: the files of each class and split, and what is left out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from convsmith.data.config import SplitNames
from convsmith.data.labels import canonical_name, name_notes, nearly_equal
from convsmith.data.layout import Layout, Tree, find_layout
from convsmith.data.listing import SUFFIXES, Listing, is_image, list_folder
from convsmith.data.raw import RawData, RawSplit
from convsmith.errors import DataError
from convsmith.system import paths

# The files of each class; and of each class, the spellings of its folders.
Classes = dict[str, list[Path]]
Spellings = dict[str, set[str]]


def read_image_folder(root: Path, named: SplitNames | None = None) -> RawData:
    """Return the files of an image folder by split and class. Subfolders belong to their class.

    Args:
        root: The folder.
        named: The folders of the splits, if the recipe names them.

    Raises:
        DataError: The layout is unknown or ambiguous, or the folder cannot be listed.
    """
    listing = list_folder(root)
    images = [path for path in listing.files if is_image(path)]
    layout = find_layout(_tree(root, listing, images), named)
    spellings: Spellings = {}
    splits = {
        name: _classes(root / folder, listing, images, spellings) for name, folder in layout.folders.items()
    }
    _check_spelling(root, splits)
    names = tuple(sorted(spellings))
    raw = {
        name: _split(root, root / layout.folders[name], classes, names) for name, classes in splits.items()
    }
    used = {path for classes in splits.values() for files in classes.values() for path in files}
    ignored = {path: _ignored_reason(root, path, layout) for path in listing.files if path not in used}
    return RawData(
        splits=raw,
        class_names=names,
        ignored={
            str(path.relative_to(root)): why for path, why in sorted((listing.skipped | ignored).items())
        },
        notes=(*layout.notes, *_spelling_notes(spellings), *name_notes(names)),
        test_is_validation=layout.test_is_validation,
    )


def _tree(root: Path, listing: Listing, images: Sequence[Path]) -> Tree:
    pictures = set(images)
    return Tree(
        str(root),
        images=[path.relative_to(root).parts for path in images],
        folders=[path.relative_to(root).parts for path in listing.folders],
        files=[path.relative_to(root).parts for path in listing.files if path not in pictures],
    )


def _classes(parent: Path, listing: Listing, images: Sequence[Path], spellings: Spellings) -> Classes:
    """Return the images of each folder in `parent`; folders of one name in two spellings are one class."""
    classes: Classes = {}
    for folder in listing.folders:
        if folder.parent == parent:
            name = canonical_name(folder.name)
            spellings.setdefault(name, set()).add(folder.name)
            classes.setdefault(name, [])
    depth = len(parent.parts)
    for path in images:
        if path.is_relative_to(parent) and len(path.parts) > depth + 1:
            classes[canonical_name(path.parts[depth])].append(path)
    return classes


def _check_spelling(root: Path, splits: Mapping[str, Classes]) -> None:
    """Raise DataError if a test class has no training images but for its case or separators."""
    train, test = splits["train"], splits.get("test", {})
    for group in nearly_equal([*train, *test]):
        own, other = ([name for name in group if name in classes] for classes in (train, test))
        if set(other) - set(own):
            raise DataError(
                f"found the class {', '.join(map(repr, own)) or 'none'} in the training set and "
                f"{', '.join(map(repr, other))} in the test set, apart only in case, spaces or separators",
                where=str(root),
                fix="give the folders of one class one name",
            )


def _spelling_notes(spellings: Spellings) -> list[str]:
    return [
        f"one class, whose folders spell its letters in two ways (NFC and NFD): {name!r}"
        for name, found in sorted(spellings.items())
        if len(found) > 1
    ]


def _split(root: Path, folder: Path, classes: Classes, names: Sequence[str]) -> RawSplit:
    labels = {name: index for index, name in enumerate(names)}
    files = [(path, labels[name]) for name in sorted(classes) for path in classes[name]]
    return RawSplit(
        images=[str(path) for path, _ in files],
        labels=[label for _, label in files],
        locations=[str(path.relative_to(root)) for path, _ in files],
        folder=str(folder.relative_to(root)),
    )


def _ignored_reason(root: Path, path: Path, layout: Layout) -> str:
    if path.is_symlink() and not paths.exists(path):
        return "a broken link"
    if not paths.is_file(path):
        return "not a regular file"
    if path.suffix.lower() not in SUFFIXES:
        return f"not an image: {f'suffix {path.suffix}' if path.suffix else 'no suffix'}"
    relative = path.relative_to(root)
    reasons = [why for folder, why in layout.left_out.items() if relative.is_relative_to(folder)]
    return reasons[0] if reasons else "not in a class folder of a used split"
