"""The images of a project whose data set is arrays: a file with the splits, as the training had them."""

import io
import math
from typing import Any

import numpy as np

from convsmith.data.config import DataConfig
from convsmith.data.dataset import load
from convsmith.data.raw import Source
from convsmith.data.sources import find_source, layout_kind, source_files
from convsmith.errors import DataError

ARRAYS = "data.npz"
_KINDS = frozenset({"idx", "arrays", "binary", "memory"})
_MAX_BYTES = 2**29


def array_files(config: DataConfig, kind: str) -> dict[str, bytes]:
    """Return the file of images and labels of a project by its path; none for other data sets.

    Args:
        config: The `[data]` table of the run.
        kind: How the project reads its data.

    Raises:
        DataError: The images do not fit into a project.
    """
    if kind != "arrays":
        return {}
    data = load(config)
    size = sum(math.prod(split.images.shape) for split in data.splits.values())
    if size > _MAX_BYTES:
        raise DataError(
            f"the images are {size:,} bytes, and an ejected project holds at most {_MAX_BYTES:,}",
            where=data.location,
            fix="write the images into class folders or a folder of parquet files, train on these, and eject "
            "that run",
        )
    arrays: dict[str, Any] = {}
    for name, split in data.splits.items():
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = np.asarray(split.images), split.labels
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return {ARRAYS: content.getvalue()}


def project_kind(source: Source) -> str:
    """Return the kind of source that a project reads: `"arrays"` for what it does not read itself.

    Images of an archive are `"images"`; other files in an archive, such as parquet files, become arrays.
    """
    if source.kind == "archive":
        return "images" if layout_kind(source_files(source)) == "images" else "arrays"
    return "arrays" if source.kind in _KINDS else source.kind


def data_place(config: DataConfig) -> str:
    """Return the data set of a project on this machine, as its notebook names it."""
    source = find_source(config)
    return ARRAYS if project_kind(source) == "arrays" else source.location
