"""Many small images as parquet shards in the layout of the Hugging Face hub: noisy repeats of CIFAR-10.

`python -m benchmarks.many_images FOLDER COUNT` writes them. A million take 2.5 GB and five minutes on
two cores. `python -m benchmarks many_images` measures `predict`, `data verify` and `data decode` on them:
once on two workers, once with a kill of all processes when half of the parts are there, and once in one
process. All three have to give the same. `IMAGES`, `MODEL`, `COMMANDS`, `SHARDS` (a folder that keeps the
images) and `SCRATCH` (a folder for the rest, 10 GB for a million) are variables of the environment.
"""

import hashlib
import io
import json
import os
import shutil
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

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from convsmith.system import reading

ROWS, CLASSES, SIDE, NOISE = 10_000, 10, 32, 3
COUNTS, MODEL = os.environ.get("IMAGES", "100000,1000000"), os.environ.get("MODEL", "cifar10-sprint")
COMMANDS = os.environ.get("COMMANDS", "predict,verify,decode").split(",")
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


def watch(
    command: Sequence[str], output: Path, cache: Path, stop: Callable[[], bool] = lambda: False
) -> Usage:
    """Run a command, and kill it with all its processes once `stop` returns true.

    Args:
        command: The program with its arguments.
        output: The file for what it prints.
        cache: Its cache of data sets.
        stop: Called five times a second.
    """
    began, peaks = time.perf_counter(), dict[int, float]()
    environment = {**os.environ, "CONVSMITH_CACHE": str(cache), "CONVSMITH_PROGRESS": "0"}
    with output.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, env=environment, start_new_session=True)  # noqa: S603
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


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One of the commands, with a folder of its own.

    Attributes:
        command: Its name: "predict", "verify" or "decode".
        shards: The images.
        folder: For all that it writes.
    """

    command: str
    shards: Path
    folder: Path

    def run(self, *, workers: int = 0, stop: Callable[[], bool] = lambda: False) -> Usage:
        """Run the command; it goes on with what an earlier one has left in the folder."""
        self.folder.mkdir(exist_ok=True)
        arguments = [*(("--on", "loky", "--workers", str(workers)) if workers else ())]
        if self.command == "predict":
            arguments = ["predict", MODEL, str(self.shards), "--out", str(self.folder / "out"), *arguments]
        else:
            arguments = ["data", self.command, str(self.shards), "--json", *arguments]
        command = [sys.executable, "-m", "convsmith", *arguments]
        return watch(command, self.folder / "output", self.folder / "cache", stop)

    @property
    def parts(self) -> int:
        """The number of parts that are complete."""
        pattern = "out/part-*" if self.command == "predict" else "cache/parts/*/*.npz"
        return len(list(self.folder.glob(pattern)))

    def digest(self) -> str:
        """Return the SHA-256 of the result, without names of folders."""
        digest = hashlib.sha256()
        if self.command == "predict":
            # Without what the writer of the files adds.
            for batch in ds.dataset(self.folder / "out", format="parquet").to_batches():
                digest.update(repr(batch.to_pylist()).encode())
        elif self.command == "verify":
            digest.update((self.folder / "output").read_bytes())
        else:
            decoded = Path(json.loads((self.folder / "output").read_bytes())["folder"])
            for path in sorted(decoded.iterdir()):
                digest.update(path.name.encode() + reading.sha256(path).encode())
        return digest.hexdigest()


def main() -> str:
    """Return a table with a row for each command and number of images."""
    head = (
        f"{'command':<10}{'images':>10}{'s':>7}{'images/s':>10}{'MiB: main, worker':>19}{'1 process, s':>14}"
    )
    lines = [f"{head}  after a kill"]
    with tempfile.TemporaryDirectory(dir=os.environ.get("SCRATCH")) as scratch:
        for count in map(int, COUNTS.split(",")):
            shards = Path(os.environ.get("SHARDS", scratch)) / f"shards-{count}"
            write_shards(shards, count)
            # Files that are younger than a tick of the clock are read again and again.
            time.sleep(3)
            for command in COMMANDS:
                lines.append(_row(command, count, shards, Path(scratch)))
                print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def _row(command: str, count: int, shards: Path, scratch: Path) -> str:
    once, killed, alone = (
        Trial(command=command, shards=shards, folder=scratch / name) for name in ("once", "killed", "alone")
    )
    seen = [0]

    def count_parts() -> bool:
        seen.append(max(seen[-1], once.parts))
        return False

    usage = once.run(workers=2, stop=count_parts)
    digests = {_digest_and_remove(once)}
    killed.run(workers=2, stop=lambda: killed.parts >= seen[-1] // 2)
    before = killed.parts
    rest = killed.run(workers=2)
    digests.add(_digest_and_remove(killed))
    one = alone.run()
    digests.add(_digest_and_remove(alone))
    equal = "equal" if len(digests) == 1 else "DIFFERENT"
    return (
        f"{command:<10}{count:>10,}{usage.seconds:>7.0f}{count / usage.seconds:>10,.0f}"
        f"{usage.main:>12,.0f},{usage.workers:>6,.0f}{one.seconds:>14.0f}"
        f"  {before} of {seen[-1]} parts, {rest.seconds:.0f} s more; {equal}"
    )


def _digest_and_remove(trial: Trial) -> str:
    digest = trial.digest()
    shutil.rmtree(trial.folder)
    return digest


if __name__ == "__main__":
    for written in write_shards(Path(sys.argv[1]), int(sys.argv[2])):
        print(written)
