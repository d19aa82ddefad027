"""Small data sets in every format that is no image file, written by their documented formats."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from helpers.sources import png

TRAIN, TEST = 12, 6


def pixels(height: int, width: int, channels: int, count: int = TRAIN + TEST) -> np.ndarray:
    shape = (count, height, width, channels)
    return np.random.default_rng(channels).integers(0, 256, shape, dtype=np.uint8)


def labels(count: int = TRAIN + TEST) -> np.ndarray:
    return np.arange(count, dtype=np.uint8) % 2


def write_idx(root: Path, *, suffix: str = ".gz") -> None:
    images = pixels(4, 5, 1)[..., 0]
    for name, part in (("train", slice(TRAIN)), ("t10k", slice(TRAIN, None))):
        for kind, array in (("images-idx3", images[part]), ("labels-idx1", labels()[part])):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            content = header + array.tobytes()
            if suffix:
                content = gzip.compress(content, mtime=0)
            (root / f"{name}-{kind}-ubyte{suffix}").write_bytes(content)


def write_cifar(root: Path) -> None:
    images = pixels(32, 32, 3).transpose(0, 3, 1, 2).reshape(TRAIN + TEST, -1)
    rows = np.concatenate([labels()[:, None], images], axis=1)
    for name, part in (("data_batch_1", rows[:TRAIN]), ("test_batch", rows[TRAIN:])):
        (root / f"{name}.bin").write_bytes(part.tobytes())
    (root / "batches.meta.txt").write_text("cat\ndog\n")


def write_stl(root: Path) -> None:
    images = pixels(96, 96, 3).transpose(0, 3, 2, 1)
    for name, part in (("train", slice(TRAIN)), ("test", slice(TRAIN, None))):
        (root / f"{name}_X.bin").write_bytes(images[part].tobytes())
        (root / f"{name}_y.bin").write_bytes((labels()[part] + 1).tobytes())


def write_npz(root: Path) -> None:
    x, y = pixels(6, 5, 3), labels()
    np.savez_compressed(
        root / "set.npz", x_train=x[:TRAIN], y_train=y[:TRAIN], x_test=x[TRAIN:], y_test=y[TRAIN:]
    )


def write_npy(root: Path, *, order: str = "C") -> None:
    for name, part in (("train", slice(TRAIN)), ("test", slice(TRAIN, None))):
        (root / name).mkdir()
        np.save(root / name / "x.npy", np.asarray(pixels(6, 5, 3)[part], order=order))  # type: ignore[call-overload]
        np.save(root / name / "y.npy", labels()[part])


def write_parquet(root: Path) -> None:
    for name, part in (("train", range(TRAIN)), ("test", range(TRAIN, TRAIN + TEST))):
        columns = {
            "image": [png(10 * number) for number in part],
            "label": [number % 2 for number in part],
            "place": [f"place {number // 4}" for number in part],
        }
        datasets.Dataset.from_dict(columns).to_parquet(str(root / f"{name}-00000-of-00001.parquet"))


def write_parquet_with_paths(root: Path) -> None:
    (root / "images").mkdir()
    for number in range(TRAIN):
        Image.new("L", (4, 4), number).save(root / "images" / f"{number}.png")
    cells = [{"bytes": None, "path": f"images/{number}.png"} for number in range(TRAIN)]
    columns = {"image": cells, "label": [number % 2 for number in range(TRAIN)]}
    datasets.Dataset.from_dict(columns).to_parquet(str(root / "train.parquet"))


WRITERS: dict[str, Callable[[Path], None]] = {
    "IDX, packed": write_idx,
    "IDX": lambda root: write_idx(root, suffix=""),
    "CIFAR-10": write_cifar,
    "STL-10": write_stl,
    "npz": write_npz,
    "npy": write_npy,
    "npy, by columns": lambda root: write_npy(root, order="F"),
    "parquet": write_parquet,
    "parquet with paths": write_parquet_with_paths,
}


def write(kind: str, root: Path) -> Path:
    """Write a data set of a kind into a new folder."""
    root.mkdir(parents=True)
    WRITERS[kind](root)
    (root / "README.md").write_text("text")
    return root
