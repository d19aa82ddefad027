"""Images and labels in memory as a data set: arrays, tensors, Hugging Face and PyTorch data sets."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.arrays.files import NamedArray, SplitArrays, assemble, raw_arrays
from convsmith.data.arrays.lazy import lazy_array
from convsmith.data.arrays.registry import register
from convsmith.data.arrays.torch_datasets import is_dataset, read_dataset
from convsmith.data.config import DataConfig
from convsmith.data.hub.tables import read_tables
from convsmith.data.raw import RawData, Source
from convsmith.data.splits import choose_splits, named_splits, role_of
from convsmith.errors import DataError

_WHERE = "data"
_FORMS = (
    "pass (x, y), ((x, y), (x_test, y_test)), a dict of those by train, validation and test, a Hugging Face "
    "Dataset or DatasetDict, or a torch Dataset of images and integers"
)
# What `assemble` takes as the images and the labels of one split, and the names of their classes.
_Part = tuple[SplitArrays, Sequence[str] | None]


@contextmanager
def source_of(data: object, config: DataConfig) -> Iterator[DataConfig]:
    """Return a `[data]` table whose source is data in memory, as long as the block lasts.

    Args:
        data: A pair of images and labels, two pairs for training and test set, a mapping of pairs by the
            names of their splits, a mapping of arrays as in a `.npz` file, a `Dataset` or `DatasetDict` of
            Hugging Face, a `Dataset` of PyTorch, or a name or a folder, as `data.source`.
        config: The other settings, for example the names of columns.

    Raises:
        DataError: The data are none of these, or no images and labels.

    Example:
        >>> x, y = np.zeros((4, 2, 2), np.uint8), np.array([0, 1, 0, 1])
        >>> with source_of((x, y), DataConfig(source="digits")) as config:
        ...     config.source
        'memory:7df70be7901e4bb4543410a4335908ba'
    """
    if isinstance(data, str | Path):
        yield config.model_copy(update={"source": str(data)})
        return
    with register(raw_data(data, config)) as name:
        yield config.model_copy(update={"source": name})


def raw_data(data: object, config: DataConfig) -> RawData:
    """Return data in memory as a data set before decoding.

    Raises:
        DataError: As `source_of`.
    """
    if _is_table(data):
        return _from_tables(data, config)
    if isinstance(data, Mapping):
        if data and all(map(_is_table, data.values())):
            return _from_tables(data, config)
        if data and all(map(_is_array, data.values())):
            named = [
                NamedArray(path=(str(key),), array=lazy_array(str(key), _array(each)))
                for key, each in data.items()
            ]
            return raw_arrays(named, config, _WHERE)
        return _from_splits({str(key): each for key, each in data.items()}, config)
    if _is_two_splits(data):
        two: Any = dict(zip(("train", "test"), data, strict=True))  # type: ignore[call-overload]
        return _from_tables(two, config) if all(map(_is_table, two.values())) else _from_splits(two, config)
    return _from_splits({"train": data}, config)


def _from_splits(splits: Mapping[str, Any], config: DataConfig) -> RawData:
    """Return splits in memory by their names."""
    if not splits:
        raise DataError("found an empty dict", where=_WHERE, fix=_FORMS)
    if config.splits is not None:
        chosen = named_splits(config.splits, splits)
    else:
        roles = {name: role_of(name) for name in splits}
        chosen = choose_splits(roles, {}, _WHERE, own_validation=config.own_validation)
    parts = {role: _part(splits[name], name) for role, name in chosen.by_role().items()}
    names = next((names for _, names in parts.values() if names), None)
    raw = assemble({role: part for role, (part, _) in parts.items()}, config, class_names=names)
    used = chosen.by_role().values()
    return RawData(
        **{
            **vars(raw),
            "ignored": {name: f"in the split {name}" for name in splits if name not in used},
            "notes": (*chosen.notes, *raw.notes),
            "test_is_validation": chosen.test_is_validation,
            "description": "images and labels in memory",
        }
    )


def _part(data: Any, name: str) -> _Part:
    """Return the images and the labels of one split, and the names of their classes if they are known."""
    if _is_table(data):
        raise DataError(
            "found Hugging Face data sets beside others",
            where=_WHERE,
            fix="pass all splits as one kind of data",
        )
    if _is_pair(data):
        images, labels = data
        array = lazy_array(f"{name} labels", _labels(labels, name))
        return SplitArrays(images=_images(images, name), labels=array), None
    if is_dataset(data) and not _is_array(data) and not isinstance(data, Mapping):
        found = read_dataset(data, name)
        images = _images(found.images, name) if isinstance(found.images, list) else found.images
        array = lazy_array(f"{name} labels", _labels(found.labels, name))
        return SplitArrays(images=images, labels=array), found.class_names
    what = f"found {_kind(data)}, expected images and labels"
    if hasattr(data, "dataset"):
        raise DataError(what, where=_WHERE, fix="pass the data set of the loader: data=loader.dataset")
    is_stream = hasattr(data, "__iter__") and not hasattr(data, "__len__")
    raise DataError(
        what, where=_WHERE, fix=f"read all of it: data=list(data); or {_FORMS}" if is_stream else _FORMS
    )


def _images(images: Any, name: str) -> Any:
    """Return the images of a split: an array whose rows are images, or a list of images."""
    location = f"{name} images"
    if not isinstance(images, list | tuple):
        return lazy_array(location, _array(images))
    if images and all(isinstance(each, Image.Image | str | Path) for each in images):
        return [str(each) if isinstance(each, Path) else each for each in images]
    arrays = [_array(each) for each in images]
    if len({each.shape for each in arrays}) == 1:
        return lazy_array(location, np.stack(arrays))
    wrong = [index for index, each in enumerate(arrays) if each.dtype != np.uint8 or each.ndim not in {2, 3}]
    if wrong or not arrays:
        what = f"image {wrong[0]} is {arrays[wrong[0]].dtype} {arrays[wrong[0]].shape}" if wrong else "none"
        raise DataError(
            f"found images of several shapes, of which {what}",
            where=location,
            fix="pass images of several sizes as uint8 (H, W) or (H, W, C), or as Pillow images",
        )
    return [np.ascontiguousarray(each) for each in arrays]


def _labels(labels: Any, name: str) -> NDArray[Any]:
    array = _array(labels)
    if array.dtype.kind != "O":
        return array
    values = array.ravel().tolist()
    for kind, dtype in ((str, np.str_), (int, np.int64)):
        if values and all(isinstance(each, kind) for each in values):
            return np.array(values, dtype)
    odd = next((each for each in values if not isinstance(each, str)), None)
    raise DataError(
        f"found labels such as {odd!r}, expected whole numbers or texts",
        where=f"{name} labels",
        fix="pass one class for each image: a whole number of 0, 1, 2, ..., or a name",
    )


def _array(value: Any) -> NDArray[Any]:
    """Return an array, a tensor, a column of pandas or a list as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy has no bfloat16.
        value = value.float().numpy() if str(value.dtype) == "torch.bfloat16" else value.numpy()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    try:
        return np.asarray(value)
    except ValueError:
        # Rows of different lengths.
        rows = np.empty(len(value), dtype=object)
        rows[:] = list(value)
        return rows


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and not isinstance(value, Image.Image) and hasattr(value, "shape")


def _is_images(value: Any) -> bool:
    """Return whether a value has several images: an array of them, or a list of images or paths."""
    if _is_array(value):
        return True
    if not isinstance(value, list | tuple) or not value:
        return False
    first = value[0]
    return isinstance(first, Image.Image | str | Path) or (_is_array(first) and len(first.shape) > 1)


def _is_pair(data: Any) -> bool:
    """Return whether data are images and labels, `(x, y)`, not a list of two images with their labels."""
    is_two = isinstance(data, tuple | list) and len(data) == 2
    return is_two and _is_images(data[0]) and not isinstance(data[1], int | float | str)


def _is_two_splits(data: Any) -> bool:
    """Return whether data are a training and a test set."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        return False
    return all(_is_table(each) or _is_pair(each) or _is_one_split(each) for each in data)


def _is_one_split(data: Any) -> bool:
    return is_dataset(data) and not isinstance(data, list | tuple) and not _is_array(data)


def _is_table(data: object) -> bool:
    """Return whether data are of Hugging Face's `datasets`."""
    return type(data).__module__.partition(".")[0] == "datasets"


def _from_tables(data: Any, config: DataConfig) -> RawData:
    tables = dict(data) if isinstance(data, Mapping) else {"train": data}
    for each in tables.values():
        if "Iterable" in type(each).__name__:
            raise DataError(
                f"found {_kind(each)}, which is streamed",
                where=_WHERE,
                fix="load it without streaming, or convert it: datasets.Dataset.from_list(list(data))",
            )
    source = Source(title=_WHERE, location=_WHERE, signature="", kind="memory")
    # A format or a transform of the user's changes what rows look like.
    raw = read_tables({name: each.with_format(None) for name, each in tables.items()}, source, config)
    return RawData(**{**vars(raw), "description": f"a Hugging Face data set in memory ({raw.description})"})


def _kind(value: object) -> str:
    shape = getattr(value, "shape", None)
    shown = f" of the shape {tuple(shape)}" if shape is not None else ""
    length = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{type(value).__name__}{shown}{length}"
