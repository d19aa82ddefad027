"""Image folders: the files of each class and split, and what is left out."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from convsmith.data.config import SplitNames
from convsmith.data.files.layout import Layout, Tree, find_layout
from convsmith.data.files.storage import Files, ignored_reason, image_files
from convsmith.data.labels import MERGE, canonical_name, name_notes, nearly_equal
from convsmith.data.raw import RawData, RawSplit, TextArray
from convsmith.errors import DataError

# The files of each class; and of each class, the spellings of its folders.
Classes = dict[str, list[PurePosixPath]]
Spellings = dict[str, set[str]]


def read_class_folders(
    files: Files,
    named: SplitNames | None = None,
    *,
    own_validation: bool = False,
    merge_spellings: bool = False,
) -> RawData:
    """Return the images of class folders by split and class. Subfolders belong to their class.

    Args:
        files: Of a folder or an archive.
        named: The folders of the splits, if the recipe names them.
        own_validation: Whether the validation split is used as such.
        merge_spellings: Whether classes of nearly equal names will be one, so that splits may spell them
            differently.

    Raises:
        DataError: The layout is unknown or ambiguous.
    """
    images = image_files(files)
    layout = find_layout(_tree(files, images), named, own_validation=own_validation)
    spellings: Spellings = {}
    splits = {name: _classes(layout, name, files, images, spellings) for name in layout.folders}
    if not merge_spellings:
        _check_spelling(files, splits)
    names = tuple(sorted(spellings))
    used = {path for classes in splits.values() for found in classes.values() for path in found}
    ignored = {path: _ignored_reason(files, path, layout) for path in files.files if path not in used}
    return RawData(
        splits={name: _split(files, layout, name, classes, names) for name, classes in splits.items()},
        class_names=names,
        ignored={str(path): why for path, why in sorted(({**files.skipped} | ignored).items())},
        notes=(*layout.notes, *_spelling_notes(spellings), *name_notes(names)),
        test_is_validation=layout.test_is_validation,
        description=layout.description,
    )


def _tree(files: Files, images: Sequence[PurePosixPath]) -> Tree:
    pictures = set(images)
    return Tree(
        files.location,
        images=[path.parts for path in images],
        folders=[path.parts for path in files.folders],
        files=[path.parts for path in files.files if path not in pictures],
    )


def _classes(
    layout: Layout, split: str, files: Files, images: Sequence[PurePosixPath], spellings: Spellings
) -> Classes:
    """Return the images of each class of a split; folders of one name in two spellings are one class."""
    parent, inner, labels = layout.folders[split], layout.inner.get(split), layout.classes.get(split)
    classes: Classes = {}
    names: dict[str, str] = {}
    for folder in files.folders:
        if folder.parent != parent or folder in layout.left_out or (labels and folder.name not in labels):
            continue
        spelling = labels[folder.name] if labels else folder.name
        names[folder.name] = canonical_name(spelling)
        spellings.setdefault(names[folder.name], set()).add(spelling)
        classes.setdefault(names[folder.name], [])
    start = parent.parts
    depth = len(start)
    for path in images:
        parts = path.parts
        is_inside = parts[:depth] == start and len(parts) > depth + 1 and parts[depth] in names
        if is_inside and inner in {None, parts[depth + 1]}:
            classes[names[parts[depth]]].append(path)
    return classes


def _check_spelling(files: Files, splits: Mapping[str, Classes]) -> None:
    """Raise DataError if a class of another split has no training images but for its case or separators."""
    train = splits["train"]
    for split in splits.keys() - {"train"}:
        for group in nearly_equal([*train, *splits[split]]):
            own, other = ([name for name in group if name in classes] for classes in (train, splits[split]))
            if set(other) - set(own):
                raise DataError(
                    f"found the class {', '.join(map(repr, own)) or 'none'} in the training set and "
                    f"{', '.join(map(repr, other))} in the {split} set, apart only in case, spaces or "
                    "separators",
                    where=files.location,
                    fix=f"give the folders of one class one name; or {MERGE} joins them",
                )


def _spelling_notes(spellings: Spellings) -> list[str]:
    return [
        f"one class, whose folders spell its letters in two ways (NFC and NFD): {name!r}"
        for name, found in sorted(spellings.items())
        if len(found) > 1
    ]


def _split(files: Files, layout: Layout, split: str, classes: Classes, names: Sequence[str]) -> RawSplit:
    labels = {name: index for index, name in enumerate(names)}
    found = [(path, labels[name]) for name in sorted(classes) for path in classes[name]]
    found.sort(key=lambda each: files.order(each[0]))
    return RawSplit(
        images=files.images([path for path, _ in found]),
        labels=[label for _, label in found],
        locations=TextArray(str(path) for path, _ in found),
        folder=str(layout.folders[split]),
        inner=layout.inner.get(split, ""),
        has_files=True,
        most_parts=files.most_parts,
        folder_names={label: name for name, label in layout.classes.get(split, {}).items()},
    )


def _ignored_reason(files: Files, path: PurePosixPath, layout: Layout) -> str:
    if reason := ignored_reason(files, path):
        return reason
    reasons = [why for folder, why in layout.left_out.items() if path.is_relative_to(folder)]
    return reasons[0] if reasons else "not in a class folder of a used split"
