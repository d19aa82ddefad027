"""How much faster bf16 autocast trains than fp32 here: `python benchmarks/precision.py`.

Both run in turns in one process, forward, backward and update on random images; the figure is the ratio of
their medians, with the smallest and the largest ratio of a round.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.nn.functional import cross_entropy

from convsmith.arch.build import build
from convsmith.data.images import outline_of
from convsmith.recipe.loader import load, shelf
from convsmith.runtime import autocast
from convsmith.workflow.check import fitted

ROUNDS, STEPS = 7, 4


def main() -> None:
    print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print(f"{'recipe':<18} {'batch':>6} {'fp32 img/s':>11} {'bf16 img/s':>11} {'ratio (least, most)':>22}")
    for name in shelf():
        for batch_size in (16, 128):
            seconds = measure(name, batch_size)
            ratios = [fp32 / bf16 for fp32, bf16 in zip(*seconds, strict=True)]
            fp32, bf16 = (batch_size * STEPS / median(each) for each in seconds)
            spread = f"{bf16 / fp32:.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
            print(f"{name:<18} {batch_size:>6} {fp32:>11,.0f} {bf16:>11,.0f} {spread:>22}")


def measure(name: str, batch_size: int) -> tuple[list[float], list[float]]:
    """Seconds of each round in fp32 and in bf16."""
    runs = [training(name, batch_size, dtype) for dtype in (torch.float32, torch.bfloat16)]
    for run in runs:
        run()
    fp32: list[float] = []
    bf16: list[float] = []
    for _ in range(ROUNDS):
        for run, seconds in zip(runs, (fp32, bf16), strict=True):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
    return fp32, bf16


def training(name: str, batch_size: int, dtype: torch.dtype) -> Callable[[], None]:
    """A function that trains a recipe's net for some steps."""
    recipe = load(name)
    outline = outline_of(recipe.data)
    net = build(fitted(recipe, outline).plan).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(batch_size, *outline.image_shape).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(outline.num_classes, (batch_size,))

    def run() -> None:
        for _ in range(STEPS):
            with autocast(torch.device("cpu"), dtype):
                logits = net(images)
            optimizer.zero_grad()
            cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return run


if __name__ == "__main__":
    main()
