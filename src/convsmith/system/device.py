"""Device, precision and threads of a computation, and a record of the machine."""

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from convsmith.errors import RecipeError

# Multiply-accumulates of a forward pass of one batch.
SMALL_STEP_MACS = 100_000_000


def choose_device(wanted: str = "auto") -> torch.device:
    """The device to run on: CUDA before MPS before the CPU, or the one that is asked for.

    Raises:
        RecipeError: The device that is asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available[wanted]:
        raise RecipeError(
            f"this machine has no {wanted} device", where="train.device", fix='write "auto" or "cpu"'
        )
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device, macs_per_step: int) -> str:
    """The number format of the forward pass, "fp32" or "bf16": "auto" is bf16 where it is faster.

    On a CPU that is where it multiplies bf16 itself and a step is not small: `python -m
    benchmarks precision` measures it.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    pays = device.type == "cpu" and macs_per_step >= SMALL_STEP_MACS and cpu_has_bf16()
    return "bf16" if pays else "fp32"


def dtype_of(precision: str) -> torch.dtype:
    """The type that autocast is given; "auto" is fp32 where nobody has settled it for the net."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 numbers itself (AVX-512 BF16 or AMX).

    Where PyTorch is limited to AVX2, by the CPU or by `ATEN_CPU_CAPABILITY=avx2`, it does not.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The forward pass in a type; in fp32 it is left as it is."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def threads_for(macs_per_step: int) -> AbstractContextManager[None]:
    """One thread for steps that are too small to be shared, as many as there were otherwise.

    Threads that wait for each other after every small operation gain nothing on an idle machine, and on a
    busy one lose many times over.
    """
    return torch_threads(1) if macs_per_step < SMALL_STEP_MACS else nullcontext()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads for PyTorch's operations in this thread, for the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine_record() -> dict[str, Any]:
    """What a run's numbers depend on beside its recipe."""
    packages = ("convsmith", "torch", "numpy", "albumentations", "datasets", "scikit-learn")
    device = choose_device()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "packages": {name: version(name) for name in packages},
    }


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
