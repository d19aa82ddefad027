"""The images of a class: prepared once, and read by the process of every submission.

The process has no network and no cache of its own. It reads plain arrays in a folder that it cannot write.
"""

from pathlib import Path
from typing import Any

import numpy as np

from convsmith.data.config import DataConfig
from convsmith.data.dataset import DatasetInfo, ImageDataset, Split, load
from convsmith.data.images.input_rule import InputRule
from convsmith.data.images.memory_mapped import DiskImages
from convsmith.errors import FileError
from convsmith.system import files, reading

_META = "images.json"


def prepare(config: DataConfig, folder: Path) -> DatasetInfo:
    """Write the images of a data set into a folder, for `read`.

    Args:
        config: The `[data]` table of a recipe.
        folder: It is created if it is missing; files of the same name are replaced.

    Returns:
        The shape of one image, and the number of classes.

    Raises:
        DataError: The data set cannot be found or read.
        FileError: The folder cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> prepare(DataConfig(source="digits", test_fraction=0.25), folder).image_shape
        (1, 8, 8)
        >>> len(read(folder).test)
        450
    """
    data = load(config)
    files.make_folder(folder)
    for name, split in data.splits.items():
        for kind, values in (("images", np.asarray(split.images)), ("labels", split.labels)):
            try:
                np.save(folder / f"{name}-{kind}.npy", values)
            except OSError as error:
                raise files.write_error(folder / f"{name}-{kind}.npy", error) from error
    meta = {
        "title": data.title,
        "location": data.location,
        "identity": data.identity,
        "fingerprint": data.fingerprint,
        "class_names": list(data.class_names),
        "mean": list(data.mean),
        "std": list(data.std),
        "rule": {
            "channels": data.rule.channels,
            "height": data.rule.height,
            "width": data.rule.width,
            "resize_policy": data.rule.resize_policy,
            "background": list(data.rule.background),
        },
        "test_is_split_off": data.test_is_split_off,
        "splits": list(data.splits),
    }
    files.write_json(folder / _META, meta)
    return data.info


def read(folder: Path, *, trains: bool = False) -> ImageDataset:
    """Read the images that `prepare` wrote.

    Args:
        folder: As for `prepare`.
        trains: Whether the training images are read into memory; otherwise they stay on disk until used.

    Raises:
        FileError: A file is missing or damaged.
    """
    meta: dict[str, Any] = reading.read_json(folder / _META)
    try:
        splits = {
            name: _split(folder, name, resident=trains or name == "test") for name in meta.pop("splits")
        }
        rule = meta.pop("rule")
        fields: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in meta.items()
        }
        return ImageDataset(
            **fields,
            rule=InputRule(**{**rule, "background": tuple(rule["background"])}),
            train=splits["train"],
            validation=splits.get("validation"),
            test=splits["test"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"the prepared images are damaged: {error}", where=str(folder)) from error


def _split(folder: Path, name: str, *, resident: bool) -> Split:
    path = folder / f"{name}-images.npy"
    images = np.load(path) if resident else DiskImages(np.load(path, mmap_mode="r"))
    return Split(images=images, labels=np.load(folder / f"{name}-labels.npy"))
