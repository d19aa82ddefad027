"""Data sets of PyTorch: anything with a length whose items are images and integers."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from convsmith.data.images.decode import Encoded
from convsmith.errors import DataError
from convsmith.system.progress import track

# Items that are read twice, to notice a random transform.
_TWICE = 4
_ITEM_FIX = "items are (image, label): a Pillow image, an array or a tensor, and a whole number"


@dataclass(frozen=True, kw_only=True)
class FoundDataset:
    """The items of a data set.

    Attributes:
        images: A list of arrays or tensors, or Pillow images that are read again whenever they are used.
        labels: One for each image.
        class_names: None if the data set does not tell.
    """

    images: "list[Any] | DatasetImages"
    labels: list[Any]
    class_names: Sequence[str] | None


class DatasetImages:
    """The Pillow images of a data set, in order. Each iteration reads them again."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[Encoded]:
        for index in range(len(self)):
            image = _item(self.data, index)[0]
            yield image if isinstance(image, Image.Image) else None


def is_dataset(data: Any) -> bool:
    """Return whether data have a length and items, as a `torch.utils.data.Dataset`, or a list, has.

    >>> is_dataset([(Image.new("L", (2, 2)), 0)]), is_dataset(3)
    (True, False)
    """
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | bytes)


def read_dataset(data: Any, name: str) -> FoundDataset:
    """Return the images and labels of a data set.

    Args:
        data: Items are read by their index, from 0.
        name: Of the split, for errors.

    Raises:
        DataError: It is empty, an item is no image with a label, or an image differs when it is read again.
    """
    where = f"{name} data"
    count = _length(data, where)
    for index in range(min(count, _TWICE)):
        if _digest(_item(data, index)[0]) != _digest(_item(data, index)[0]):
            raise DataError(
                f"item {index} is another image when it is read again: a random transform",
                where=where,
                fix="pass the data set without its transform: convsmith augments by [augment] of the recipe",
            )
    images, labels, are_pictures = [], [], isinstance(_item(data, 0)[0], Image.Image)
    for index in track(range(count), "Reading the data set", count):
        image, label = _item(data, index)
        if isinstance(image, Image.Image) != are_pictures:
            raise DataError(
                f"item {index} is a {type(image).__name__}, item 0 is not", where=where, fix=_ITEM_FIX
            )
        labels.append(_scalar(label))
        if not are_pictures:
            images.append(image)
    return FoundDataset(
        images=DatasetImages(data) if are_pictures else images,
        labels=labels,
        class_names=_class_names(data, labels),
    )


def _length(data: Any, where: str) -> int:
    try:
        count = len(data)
    except TypeError as error:
        raise DataError("the data set has no length", where=where, fix="pass list(dataset)") from error
    if not count:
        raise DataError("the data set is empty", where=where, fix="add images of every class")
    return count


def _item(data: Any, index: int) -> tuple[Any, Any]:
    """Return the image and the label of an item."""
    try:
        item = data[index]
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"item {index} cannot be read: {type(error).__name__}: {reason}", where="data", fix=_ITEM_FIX
        ) from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        found = (
            f"{type(item).__name__} of {len(item)}"
            if isinstance(item, tuple | list | dict)
            else type(item).__name__
        )
        raise DataError(f"item {index} is a {found}", where="data", fix=_ITEM_FIX)
    image, label = item
    is_image = isinstance(image, Image.Image) or len(getattr(image, "shape", ())) in {2, 3}
    if not is_image:
        raise DataError(
            f"item {index} has a {type(image).__name__}{_shape(image)} as its image",
            where="data",
            fix=_ITEM_FIX,
        )
    return image, label


def _shape(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return "" if shape is None else f" of the shape {tuple(shape)}"


def _scalar(label: Any) -> Any:
    """Return a label of one number, such as a tensor without axes, as a number."""
    return label.item() if hasattr(label, "item") and getattr(label, "shape", ()) in {(), (1,)} else label


def _digest(image: Any) -> bytes:
    if hasattr(image, "detach"):
        image = image.detach().cpu().float().numpy()
    return hashlib.sha256(np.ascontiguousarray(np.asarray(image)).tobytes()).digest()


def _class_names(data: Any, labels: Sequence[Any]) -> Sequence[str] | None:
    """Return the names that a data set, or the one that it is a part of, has in `classes`."""
    while data is not None:
        names = getattr(data, "classes", None)
        if isinstance(names, list | tuple) and names and all(isinstance(each, str) for each in names):
            numbers = [label for label in labels if isinstance(label, int)]
            return names if max(numbers, default=0) < len(names) else None
        data = getattr(data, "dataset", None)
    return None
