"""Data sets that tests write and load."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from convsmith.data.config import DataConfig, SplitNames
from convsmith.data.dataset import load
from convsmith.data.files.folders import read_class_folders
from convsmith.data.files.storage import FolderFiles
from convsmith.data.raw import RawData
from convsmith.errors import DataError

Folder = Callable[..., Path]


def config(source: object, **values: object) -> DataConfig:
    return DataConfig.model_validate({"source": str(source), **values})


def problems(source: object, **values: object) -> str:
    with pytest.raises(DataError) as caught:
        load(config(source, **values))
    return str(caught.value)


def read_image_folder(
    root: Path, named: SplitNames | None = None, *, own_validation: bool = False
) -> RawData:
    return read_class_folders(FolderFiles(root), named, own_validation=own_validation)


def tree(root: Path, *paths: str) -> Path:
    """Write files: an image of another grey for each path that ends in a suffix, a folder for the others."""
    for number, text in enumerate(paths):
        path = root / text
        if not path.suffix:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in {".csv", ".txt", ".heic"}:
            path.write_text("text")
        else:
            Image.new("L", (4, 4), number % 256).save(path, format="PNG")
    return root


def classes(parent: str, names: Sequence[str] = ("cat", "dog"), images: int = 2) -> list[str]:
    """Return the paths of images in class folders, for `tree`."""
    return [f"{parent}/{name}/{number}.png".lstrip("/") for name in names for number in range(images)]


def parquet(folder: Path, columns: dict[str, object], features: datasets.Features | None = None) -> Path:
    (folder / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict(columns, features=features)
    table.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    return folder


def png(value: int, size: tuple[int, int] = (8, 8)) -> dict[str, object]:
    content = io.BytesIO()
    Image.new("L", size, value).save(content, format="PNG")
    return {"bytes": content.getvalue(), "path": None}


def shard(path: Path, count: int, first: int = 0, **options: Any) -> Path:
    """Write a parquet file of images of one grey each, from `first` on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": [png((first + index) % 256) for index in range(count)], "label": [0] * count}
    pq.write_table(pa.table(columns), path, **options)
    return path
