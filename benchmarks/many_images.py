"""Many small images as parquet shards in the layout of the Hugging Face hub: noisy repeats of CIFAR-10.

`python -m benchmarks.many_images FOLDER COUNT` writes them. A million take 2.5 GB and five minutes on
two cores. `python -m benchmarks many_images` measures `predict` on them, on two workers: once without, once
with a kill of all processes when half of the files are there. `IMAGES` and `MODEL` are variables of the
environment.
"""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

ROWS, CLASSES, SIDE, NOISE = 10_000, 10, 32, 3
COUNTS, MODEL = os.environ.get("IMAGES", "100000,1000000"), os.environ.get("MODEL", "cifar10-sprint")
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


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a command took.

    Attributes:
        seconds: Until it ended, or was killed.
        main: The peak memory of the main process, in MiB.
        workers: The largest of the peaks of all other processes, in MiB.
    """

    seconds: float
    main: float
    workers: float


def watch(command: Sequence[str], stop: Callable[[], bool] = lambda: False) -> Usage:
    """Run a command, and kill it with all its processes once `stop` returns true."""
    began, peaks = time.perf_counter(), dict[int, float]()
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603
    while process.poll() is None:
        for number in _session(process.pid):
            peaks[number] = max(peaks.get(number, 0.0), _peak(number))
        if stop():
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.2)
    seconds = time.perf_counter() - began
    main = peaks.pop(process.pid, 0.0)
    return Usage(seconds=seconds, main=main, workers=max(peaks.values(), default=0.0))


def _session(leader: int) -> list[int]:
    """Return the processes of a session."""
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [number for number in numbers if _is_in(number, leader)]


def _is_in(number: int, leader: int) -> bool:
    try:
        return os.getsid(number) == leader
    except OSError:
        return False


def _peak(number: int) -> float:
    """Return the peak of the resident memory of a process in MiB; 0 if it has ended."""
    try:
        text = Path(f"/proc/{number}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    line = next((line for line in text.splitlines() if line.startswith("VmHWM")), "VmHWM: 0")
    return int(line.split()[1]) / 1024


def _rows(folder: Path) -> Any:
    """Return all predictions, without what the name of their folder may change."""
    return pq.read_table(folder, columns=["image", "label", "confidence", "top"])


def main() -> str:
    """Return a table with a row for each number of images."""
    head = "images      seconds  images/s  main MiB  worker MiB  after a kill: seconds, rows, equal"
    with tempfile.TemporaryDirectory(dir=os.environ.get("SCRATCH")) as scratch:
        return "\n".join([head, *(_row(Path(scratch), int(each)) for each in COUNTS.split(","))])


def _row(scratch: Path, count: int) -> str:
    shards = Path(os.environ.get("SHARDS", scratch)) / f"shards-{count}"
    write_shards(shards, count)
    out, again = scratch / f"out-{count}", scratch / f"again-{count}"
    workers = ("--on", "loky", "--workers", "2")
    command = [sys.executable, "-m", "convsmith", "predict", MODEL, str(shards), *workers]
    once = watch([*command, "--out", str(out)])
    half = len(list(out.glob("part-*"))) // 2
    watch([*command, "--out", str(again)], lambda: len(list(again.glob("part-*"))) >= half)
    killed = len(list(again.glob("part-*")))
    rest = watch([*command, "--out", str(again)])
    rows, other = _rows(out), _rows(again)
    names = len(set(other["image"].to_pylist()))
    first = f"{count:<10,}{once.seconds:>9.0f}{count / once.seconds:>10,.0f}"
    memory = f"{once.main:>10,.0f}{once.workers:>12,.0f}"
    after = f"{killed} files, then {rest.seconds:.0f} s, {other.num_rows:,} rows of {names:,} images"
    equal = "equal" if rows.equals(other) else "DIFFERENT"
    return f"{first}{memory}  {after}, {equal}, {rest.main:,.0f} and {rest.workers:,.0f} MiB"


if __name__ == "__main__":
    for written in write_shards(Path(sys.argv[1]), int(sys.argv[2])):
        print(written)
