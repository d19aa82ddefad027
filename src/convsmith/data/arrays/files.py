"""Data sets of arrays, as Keras and MedMNIST write them: `.npz` files, and `.npy` files in a folder."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import PurePath, PurePosixPath

import numpy as np

from convsmith.data.arrays.labels import array_labels, notes_of
from convsmith.data.arrays.lazy import LazyArray, read_npy, read_npz
from convsmith.data.arrays.names import ArrayName, Part, array_name
from convsmith.data.arrays.pixels import ArrayImages, PixelRule, pixel_rule
from convsmith.data.config import DataConfig
from convsmith.data.files.storage import Files
from convsmith.data.images.decode import Encoded, UnusableImageError
from convsmith.data.labels import combined, name_notes
from convsmith.data.raw import NumberedLocations, RawData, RawSplit
from convsmith.data.splits import Chosen, choose_splits, named_splits
from convsmith.errors import DataError

SUFFIXES = frozenset({".npz", ".npy"})
NAMES_HINT = "x_train and y_train, x_test and y_test, or train_images and train_labels, or images and labels"


def is_array(path: PurePath) -> bool:
    """Return whether a file is named like one of arrays."""
    return path.suffix.lower() in SUFFIXES


@dataclass(frozen=True, kw_only=True)
class NamedArray:
    """An array with the path that names it: folders, file, and the name in the file."""

    path: tuple[str, ...]
    array: LazyArray


@dataclass(frozen=True, kw_only=True)
class SplitArrays:
    """The labels of a split, and its images: an array, or one by one."""

    images: LazyArray | Collection[Encoded | UnusableImageError]
    labels: LazyArray


def read_array_files(files: Files, config: DataConfig, where: str) -> RawData:
    """Return the images and labels of `.npz` and `.npy` files.

    Args:
        files: Of a folder or an archive, or a single one.
        config: The `[data]` table of a recipe.
        where: The source, for errors.

    Raises:
        DataError: A file is damaged or has pickled objects, or the names of the arrays do not tell what they
            are.
    """
    read = [path for path in files.files if is_array(path) and not files.unread_reason(path)]
    files.prepare(read)
    named = [each for path in read for each in _arrays_of(files, path)]
    raw = raw_arrays(named, config, where)
    skipped = {
        str(path): reason
        for path, reason in (
            *files.skipped.items(),
            *((path, "beside arrays, which are read") for path in files.files if path not in read),
        )
    }
    return RawData(**{**vars(raw), "ignored": {**raw.ignored, **skipped}})


def raw_arrays(named: Sequence[NamedArray], config: DataConfig, where: str) -> RawData:
    """Return the images and labels of arrays that are told apart by their names.

    Args:
        named: The arrays; those that are neither images nor labels are left out.
        config: `data.splits` names splits, `data.image_column` and `data.label_column` name arrays.
        where: The source, for errors.

    Raises:
        DataError: The names do not tell what the arrays are, or the arrays are no images and labels.
    """
    names = _names(named, config, where)
    splits = _pairs(names, where)
    chosen = _choose(splits, names, config, where)
    used = {role: splits[name] for role, name in chosen.by_role().items()}
    arrays = {role: _complete(pair, chosen.by_role()[role], where) for role, pair in used.items()}
    class_names, name_array = _class_names(names)
    raw = assemble(arrays, config, class_names=class_names)
    read = {id(each) for pair in used.values() for each in pair.values()}
    other = "not images or labels by its name"
    ignored = {
        each.array.location: f"in the split {name.split}" if name.part in {"images", "labels"} else other
        for each, name in names
        if id(each.array) not in read and each.array is not name_array
    }
    listed = ", ".join(f"{pair['images'].location} and {pair['labels'].location}" for pair in used.values())
    return RawData(
        **{
            **vars(raw),
            "ignored": ignored,
            "notes": (*chosen.notes, *raw.notes),
            "test_is_validation": chosen.test_is_validation,
            "description": f"arrays ({listed})",
        }
    )


def assemble(
    arrays: Mapping[str, SplitArrays],
    config: DataConfig,
    class_names: Sequence[str] | None = None,
) -> RawData:
    """Return the images and labels of the arrays of each split, the training set first.

    Raises:
        DataError: The arrays are no images and labels, or those of the splits do not agree.
    """
    pairs = list(arrays.values())
    stored = [each.images for each in pairs if isinstance(each.images, LazyArray)]
    rule = pixel_rule(stored, config.channels) if stored else None
    labels = array_labels([each.labels for each in pairs], [len(each.images) for each in pairs], class_names)
    names, values = combined(labels[:1], labels[1:])
    splits = {
        role: RawSplit(
            images=_encoded(pair.images, rule),
            labels=value,
            locations=NumberedLocations(_location(pair.images) or role, "image", len(pair.images)),
        )
        for (role, pair), value in zip(arrays.items(), values, strict=True)
    }
    return RawData(
        splits=splits,
        class_names=names,
        notes=(
            *(rule.notes if rule else ()),
            *(note for each in pairs for note in notes_of(each.labels)),
            *name_notes(names),
        ),
    )


def _encoded(
    images: LazyArray | Collection[Encoded | UnusableImageError], rule: PixelRule | None
) -> Collection[Encoded | UnusableImageError]:
    if isinstance(images, LazyArray):
        assert rule is not None
        return ArrayImages(images, rule)
    return images


def _location(images: object) -> str:
    return images.location if isinstance(images, LazyArray) else ""


def _arrays_of(files: Files, path: PurePosixPath) -> Iterable[NamedArray]:
    start = (*path.parent.parts, path.stem)
    if path.suffix.lower() == ".npy":
        yield NamedArray(path=start, array=read_npy(files, path))
        return
    for name, array in read_npz(files, path).items():
        yield NamedArray(path=(*start, name), array=array)


_Names = list[tuple[NamedArray, ArrayName]]


def _names(named: Sequence[NamedArray], config: DataConfig, where: str) -> _Names:
    """Return what the name of each array says, without the folders and files that all of them share."""
    levels = zip(*(each.path[:-1] for each in named), strict=False)
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    parts: dict[str, Part] | None = None
    if config.image_column or config.label_column:
        parts = {config.image_column or "": "images", config.label_column or "": "labels"}
        parts.pop("", None)
    found: _Names = []
    for each in named:
        name = array_name(each.path[shared:])
        if parts and (chosen := array_name(each.path[shared:], parts)).part:
            name = chosen
        elif parts and name.part in parts.values():
            name = ArrayName(split=name.split, part=None, role=name.role)
        found.append((each, name))
    counts = {len(each.array) for each, name in found if name.part == "images"}
    found = [
        (each, replace(name, part="names") if _is_list_of_names(each.array, counts) else name)
        if name.part in {"labels", "names"}
        else (each, name)
        for each, name in found
    ]
    if not any(name.part == "images" for _, name in found):
        return _by_shape(found, where)
    return found


def _is_list_of_names(array: LazyArray, counts: Collection[int]) -> bool:
    """Return whether an array, such as `classes`, has the names of the classes: texts, not one an image."""
    return array.dtype.kind in "US" and len(array.shape) == 1 and len(array) not in counts


def _by_shape(names: _Names, where: str) -> _Names:
    """Tell images and labels by their shapes, if there are two arrays whose names say nothing."""
    images = [each for each, _ in names if len(each.array.shape) in {3, 4}]
    labels = [each for each, _ in names if len(each.array.shape) in {1, 2}]
    if len(names) == 2 and len(images) == len(labels) == 1:
        return [
            (images[0], ArrayName(split="", part="images", role=None)),
            (labels[0], ArrayName(split="", part="labels", role=None)),
        ]
    found = ", ".join(f"{each.array.location} {each.array.shape}" for each, _ in names) or "none"
    raise DataError(
        f"no array is named as images are, found {found}",
        where=where,
        fix=f"name them: {NAMES_HINT}; or tell the names: data.image_column=NAME data.label_column=NAME",
    )


def _pairs(names: _Names, where: str) -> dict[str, dict[str, LazyArray]]:
    """Return the arrays of images and labels of each split by its name."""
    splits: dict[str, dict[str, LazyArray]] = {}
    for each, name in names:
        if name.part not in {"images", "labels"}:
            continue
        pair = splits.setdefault(name.split, {})
        other = pair.setdefault(name.part, each.array)
        if other is not each.array:
            column = "image" if name.part == "images" else "label"
            raise DataError(
                f"two arrays could hold the {name.part}{f' of {name.split!r}' if name.split else ''}: "
                f"{other.location}, {each.array.location}",
                where=where,
                fix=f"name one: data.{column}_column={each.path[-1]}",
            )
    return splits


def _choose(
    splits: Mapping[str, Mapping[str, LazyArray]], names: _Names, config: DataConfig, where: str
) -> Chosen:
    if config.splits is not None:
        return named_splits(config.splits, splits)
    roles = {name.split: name.role for _, name in names if name.split in splits}
    sizes = {name: len(pair["images"]) for name, pair in splits.items() if "images" in pair}
    return choose_splits(roles, sizes, where, own_validation=config.own_validation)


def _complete(pair: Mapping[str, LazyArray], name: str, where: str) -> SplitArrays:
    for part, other in (("images", "labels"), ("labels", "images")):
        if part not in pair:
            column = f"data.{part.removesuffix('s')}_column=NAME"
            without = "; or name the splits to use: data.splits.train=NAME" if name else ""
            raise DataError(
                f"found the {other} {pair[other].location} without {part}",
                where=where,
                fix=f"name them alike: {NAMES_HINT}; or tell the name: {column}{without}",
            )
    return SplitArrays(images=pair["images"], labels=pair["labels"])


def _class_names(names: _Names) -> tuple[Sequence[str] | None, LazyArray | None]:
    """Return the names of the classes, if one array has them."""
    found = [each.array for each, name in names if name.part == "names" and each.array.dtype.kind in "US"]
    if len(found) != 1:
        return None, None
    texts = found[0].load()
    texts = texts if texts.dtype.kind == "U" else np.char.decode(texts, "utf-8", "replace")
    return texts.tolist(), found[0]
