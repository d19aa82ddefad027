"""Images per second of training in bf16 autocast against fp32, by recipe and batch size."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.functional import cross_entropy

from benchmarks.measure import in_turns
from convsmith.data.dataset import dataset_info
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.module import build
from convsmith.net.plan import Plan
from convsmith.recipes.loader import load, recipe_names
from convsmith.system.device import autocast
from convsmith.training.kernels.backward import backward_workarounds

ROUNDS, STEPS, BATCH_SIZES = 7, 4, (16, 128)
CPU = torch.device("cpu")


def main() -> str:
    lines = [f"{'recipe':<18} {'batch':>6} {'fp32 img/s':>11} {'bf16 img/s':>11} {'ratio (range)':>22}"]
    for name in recipe_names():
        recipe = load(name)
        shape = dataset_info(recipe.data).image_shape
        plan = analyze_notation(recipe.notation.net, shape, recipe.notation).plan
        for batch_size in BATCH_SIZES:
            dtypes = (torch.float32, torch.bfloat16)
            fp32, bf16 = in_turns({str(each): training(plan, batch_size, each) for each in dtypes}, ROUNDS)
            rates = f"{fp32.median:>11,.0f} {bf16.median:>11,.0f} {bf16.ratio_to(fp32):>22}"
            lines.append(f"{name:<18} {batch_size:>6} {rates}")
    return "\n".join(lines)


def training(plan: Plan, batch_size: int, dtype: torch.dtype, *, prepared: bool = True) -> Callable[[], int]:
    """Return a function that trains a net for some steps on random images.

    Args:
        plan: The plan of the net.
        batch_size: Images per step.
        dtype: The data type of the forward pass.
        prepared: Whether to use the backward pass of a training instead of PyTorch's own.
    """
    net = build(plan).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    shape = (batch_size, *plan.input_shape)
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(plan.num_classes, (batch_size,))

    def backward() -> AbstractContextManager[object]:
        return backward_workarounds(CPU, dtype) if prepared else nullcontext()

    def run() -> int:
        for _ in range(STEPS):
            with autocast(CPU, dtype), backward():
                logits = net(images)
            optimizer.zero_grad()
            cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return batch_size * STEPS

    return run
