"""Images per second of training with and without the work-arounds for the backward pass on a CPU."""

import torch

from benchmarks.measure import in_turns
from benchmarks.precision import training
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.settings import NetSettings

ROUNDS, BATCH_SIZE = 7, 128
SETTINGS = NetSettings(norm="batch", bias=False)
NETS = {
    "a chain of dense layers": "C32 C32:s2 C32 C32 / G F10",
    "the same, residual": "C32 C32:s2 +(C32 C32) / G F10",
    "depthwise-separable, residual": "C32:s2 +(S32 S32)*2 / G F10",
    "depthwise with stride": "C32:s2 S64:s2 S64 / G F10",
    "depthwise with dilation": "C32:s2 S64:d2 S64 / G F10",
    "depthwise, 5x5": "C32:s2 S64:k5 S64 / G F10",
    "depthwise, 7x7": "C32:s2 S64:k7 S64 / G F10",
    "`cifar10-sprint`": "C64:k4:s2:n0 / P32 C32 C64:s2 / C64 C64:d2 C64 S160 / G F10",
    "`cifar10-classic`": "C16 C16 C16:d2:p1 / C32 C32 C32:s2 / S48 C48 C48:s2 / C64 C64 C64 / G P10",
}


def main() -> str:
    """Return PyTorch's rate, ours, and the ratio, in bf16 and in fp32."""
    lines = [f"{'net':<32} {'':<9} {'PyTorch img/s':>14} {'ours img/s':>11} {'ratio (range)':>24}"]
    for name, net in NETS.items():
        plan = analyze_notation(net, (3, 32, 32), SETTINGS).plan
        for dtype in (torch.bfloat16, torch.float32):
            candidates = {
                "without": training(plan, BATCH_SIZE, dtype, prepared=False),
                "with": training(plan, BATCH_SIZE, dtype),
            }
            without, with_it = in_turns(candidates, ROUNDS)
            kind = str(dtype).removeprefix("torch.")
            rates = f"{without.median:>14,.0f} {with_it.median:>11,.0f} {with_it.ratio_to(without):>24}"
            lines.append(f"{name:<32} {kind:<9} {rates}")
    return "\n".join(lines)
