"""Opening 3,600 JPEG photographs: beside a pass of PyTorch's loader, again, and after 1 % has changed.

The photographs have 500 x 375 pixels: enlarged images of CIFAR-10, or random textures, with noise.
The loader decodes by Pillow, converts to RGB, resizes with Pillow's bilinear filter and makes tensors, in two
worker processes, as torchvision's `ImageFolder` with `Resize` and `ToTensor` does; torchvision itself if it
can be imported. A second pass of the loader resizes with the filter of convsmith's rule. Opening uses two
threads. Each measurement is a process of its own, in turns; imports are not counted. `PICTURES` and `ROUNDS`
are variables of the environment. Ten minutes on two cores.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PICTURES, CLASSES, SIDE, WORKERS = int(os.environ.get("PICTURES", "3600")), 12, 96, 2
ROUNDS = int(os.environ.get("ROUNDS", "3"))
WIDTH, HEIGHT, NOISE, QUALITY = 500, 375, 7, 92


def _textures() -> Iterator[NDArray[np.uint8]]:
    """Yield small colour images."""
    from convsmith.data.config import DataConfig
    from convsmith.data.dataset import load

    if (Path(os.environ.get("CONVSMITH_DATA", "")) / "cifar10").is_dir():
        images = load(DataConfig(source="cifar10", keep_in="disk")).train.images
        yield from (images[index] for index in range(len(images)))
    generator = np.random.default_rng(1)
    while True:
        yield generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def write_pictures(folder: Path, names: list[str], seed: int) -> None:
    """Write photographs, a JPEG for each name."""
    generator, textures = np.random.default_rng(seed), _textures()
    noise = generator.normal(0, NOISE, (2 * HEIGHT, 2 * WIDTH, 3)).astype(np.float32)
    for name in names:
        large = Image.fromarray(next(textures)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        top, left = generator.integers(0, HEIGHT), generator.integers(0, WIDTH)
        levels = np.asarray(large) + noise[top : top + HEIGHT, left : left + WIDTH]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(path, quality=QUALITY)


class Pictures:
    """A folder for PyTorch's loader.

    Args:
        folder: Holds a folder of JPEG files for each class.
        resample: Pillow's filter.
    """

    def __init__(self, folder: str, resample: Image.Resampling) -> None:
        self.paths, self.resample = sorted(Path(folder).rglob("*.jpg")), resample
        self.classes = sorted({path.parent.name for path in self.paths})

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        path = self.paths[index]
        with path.open("rb") as file:
            image = Image.open(file).convert("RGB").resize((SIDE, SIDE), self.resample)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
        return tensor, self.classes.index(path.parent.name)


def _loader_pass(folder: str, resample: Image.Resampling) -> int:
    from torch.utils.data import DataLoader

    pictures: Any = Pictures(folder, resample)
    try:
        torchvision: Any = import_module("torchvision")
        if resample == Image.Resampling.BILINEAR:
            steps = [torchvision.transforms.Resize((SIDE, SIDE)), torchvision.transforms.ToTensor()]
            transform = torchvision.transforms.Compose(steps)
            pictures = torchvision.datasets.ImageFolder(folder, transform)
    except ImportError:
        pass
    return sum(len(labels) for _, labels in DataLoader(pictures, batch_size=128, num_workers=WORKERS))


def _opening(folder: str) -> int:
    from convsmith.data.config import DataConfig
    from convsmith.data.dataset import load
    from convsmith.data.images.decode import decode_image

    with mock.patch("convsmith.data.cache.scan.decode_image", wraps=decode_image) as decode:
        load(DataConfig(source=folder, resize=SIDE))
    return decode.call_count


def _measure(name: str, folder: str) -> None:
    """Print what one action takes, in this process and its workers."""
    import resource

    # Imports, which every action needs once.
    import sklearn.model_selection
    import torch

    import convsmith.data.dataset

    del sklearn, torch, convsmith
    actions: dict[str, Callable[[], int]] = {
        "loader": lambda: _loader_pass(folder, Image.Resampling.BILINEAR),
        "loader, Lanczos": lambda: _loader_pass(folder, Image.Resampling.LANCZOS),
    }
    began, used = time.perf_counter(), os.times()
    decodings = actions.get(name, lambda: _opening(folder))()
    seconds, now = time.perf_counter() - began, os.times()
    cpu = sum(now[:4]) - sum(used[:4])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "decodings": decodings, "peak": peak}))


def _measured(name: str, folder: Path, cache: Path) -> dict[str, float]:
    environment = {**os.environ, "CONVSMITH_CACHE": str(cache), "OMP_NUM_THREADS": str(WORKERS)}
    command = [sys.executable, "-m", "benchmarks.opening", name, str(folder)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)  # noqa: S603
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _row(name: str, runs: list[dict[str, float]], loader: list[dict[str, float]]) -> str:
    middle = {key: median(run[key] for run in runs) for key in runs[0]}
    ratios = [
        median(run[key] / other[key] for run, other in zip(runs, loader, strict=True))
        for key in ("seconds", "cpu")
    ]
    return (
        f"{name:<22}{middle['seconds']:>9.1f}{ratios[0]:>8.2f}{middle['cpu']:>9.1f}{ratios[1]:>8.2f}"
        f"{middle['decodings']:>10,.0f}{middle['peak']:>8,.0f}"
    )


def main() -> str:
    """Return a table with the medians of all rounds; ratios are to the loader of the same round."""
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        names = [f"class {number % CLASSES:02}/{number:05}.jpg" for number in range(PICTURES)]
        write_pictures(folder, names, seed=0)
        size = sum(path.stat().st_size for path in folder.rglob("*.jpg")) / PICTURES / 1000
        for number in range(ROUNDS):
            # So that the time of each file's last change identifies its content.
            time.sleep(3)
            cache = Path(scratch) / f"cache {number}"
            for name in ("loader", "first open", "loader, Lanczos", "second open"):
                runs.setdefault(name, []).append(_measured(name, folder, cache))
            write_pictures(folder, names[number :: PICTURES // 36][:36], seed=1 + number)
            runs.setdefault("1 % changed", []).append(_measured("1 % changed", folder, cache))
    heads = ("s", "ratio", "CPU s", "ratio", "decodings", "MiB")
    widths = (9, 8, 9, 8, 10, 8)
    head = " " * 22 + "".join(f"{text:>{width}}" for text, width in zip(heads, widths, strict=True))
    rows = [_row(name, each, runs["loader"]) for name, each in runs.items()]
    title = f"{PICTURES:,} photographs of {WIDTH}x{HEIGHT}, {size:.0f} KB each, to {SIDE}x{SIDE}"
    return "\n".join([title, head, *rows])


if __name__ == "__main__":
    _measure(sys.argv[1], sys.argv[2])
