"""Many small images as parquet shards in the layout of the Hugging Face hub: noisy repeats of CIFAR-10.

`python -m benchmarks.many_images FOLDER COUNT` writes them. A million take 2.5 GB and five minutes on
two cores.
"""

import io
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

ROWS, CLASSES, SIDE, NOISE = 10_000, 10, 32, 3
# What the library `datasets` writes into the metadata of such a file.
_FEATURES = (
    '{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": %s, "_type": "ClassLabel"}}}}'
)


def write_shards(
    folder: Path, count: int, *, split: str = "train", rows: int = ROWS, seed: int = 0, processes: int = 2
) -> list[Path]:
    """Write `count` different images with their labels, and return the files.

    Args:
        folder: Files are written to `folder/data`; those that exist are kept.
        count: The number of images. A shard has the same images for any larger count.
        split: In the names of the files: `train-00000-of-00100.parquet`.
        rows: Images in a shard.
        seed: Another one gives other images.
        processes: How many write at once.
    """
    starts = range(0, count, rows)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    paths = [
        folder / "data" / f"{split}-{number:05}-of-{len(starts):05}.parquet" for number in range(len(starts))
    ]
    sizes = [min(rows, count - start) for start in starts]
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(_write_shard, paths, sizes, [[seed, number] for number in range(len(paths))]))
    return paths


def _write_shard(path: Path, count: int, seed: list[int]) -> None:
    if path.exists():
        return
    generator = np.random.default_rng(seed)
    images, labels = _originals()
    chosen = generator.integers(0, len(images), count)
    cells = [{"bytes": _png(images[index], generator), "path": None} for index in chosen]
    names = "[{}]".format(", ".join(f'"class {number}"' for number in range(CLASSES)))
    fields = [
        pa.field("image", pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        pa.field("label", pa.int64()),
    ]
    schema = pa.schema(fields, metadata={"huggingface": _FEATURES % names})
    table = pa.Table.from_pydict({"image": cells, "label": labels[chosen]}, schema=schema)
    partial = path.with_suffix(f".{os.getpid()}")
    pq.write_table(table, partial, row_group_size=1000)
    partial.rename(path)


def _png(image: NDArray[np.uint8], generator: np.random.Generator) -> bytes:
    noise = generator.integers(-NOISE, NOISE + 1, image.shape, dtype=np.int16)
    stream = io.BytesIO()
    Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


@cache
def _originals() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the test images of CIFAR-10 `(N, H, W, C)` and their labels; without them gradients."""
    files = sorted(Path(os.environ.get("CONVSMITH_DATA", "."), "cifar10", "data").glob("test-*.parquet"))
    if not files:
        generator = np.random.default_rng(0)
        corners = generator.integers(0, 256, (1000, 2, 2, 3), dtype=np.uint8)
        drawn = [Image.fromarray(each).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for each in corners]
        images = [np.asarray(each) for each in drawn]
        return np.stack(images), np.arange(len(images)) % CLASSES
    tables = pa.concat_tables([pq.read_table(file) for file in files])
    cells = tables["img"].to_pylist()
    images = [np.asarray(Image.open(io.BytesIO(each["bytes"])).convert("RGB")) for each in cells]
    return np.stack(images), tables["label"].to_numpy()


if __name__ == "__main__":
    for written in write_shards(Path(sys.argv[1]), int(sys.argv[2])):
        print(written)
