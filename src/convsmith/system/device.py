"""Device, precision and threads of a computation, and a record of the machine."""

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from convsmith.errors import RecipeError, suggest
from convsmith.system.explicit_padding import ExplicitPadding
from convsmith.system.parallel import num_cores

# Multiply-accumulates of a forward pass of one batch; smaller steps run on one thread and in fp32.
SMALL_STEP_MACS = 100_000_000


def choose_device(device: str = "auto") -> torch.device:
    """Return a device; "auto" prefers CUDA to MPS and MPS to the CPU.

    Raises:
        RecipeError: The name is none of a device, or the machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, present in available.items() if present))
    if device not in available:
        raise RecipeError(
            f"unknown device {device!r}", where="device", fix=suggest(device, ["auto", *available])
        )
    if not available[device]:
        raise RecipeError(f"this machine has no {device} device", where="device", fix='write "auto" or "cpu"')
    return torch.device(device)


def choose_precision(precision: str, device: torch.device, macs_per_step: int) -> str:
    """Return the precision of the forward pass, "fp32" or "bf16"; "auto" is bf16 where it is faster.

    On a CPU that is where it has bf16 instructions and the step is not small, as measured by
    `python -m benchmarks precision`.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    faster = device.type == "cpu" and macs_per_step >= SMALL_STEP_MACS and cpu_has_bf16()
    return "bf16" if faster else "fp32"


def dtype_of(precision: str) -> torch.dtype:
    """Return the dtype for autocast; "auto" that was not resolved is fp32."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def cpu_has_bf16() -> bool:
    """Return whether PyTorch uses bf16 instructions of the CPU (AVX-512 BF16 or AMX).

    It does not where it is limited to AVX2, by the CPU or by `ATEN_CPU_CAPABILITY=avx2`.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def autocast(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Compute in a dtype for the block; in fp32, nothing changes."""
    padding = ExplicitPadding() if device.type == "cpu" and dtype == torch.bfloat16 else nullcontext()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32), padding:
        yield


def threads_for(macs_per_step: int) -> AbstractContextManager[None]:
    """Use one thread for steps that are too small to be shared, and PyTorch's default otherwise.

    Threads that synchronise after every small operation gain nothing on an idle machine and lose much on a
    busy one.
    """
    return torch_threads(1) if macs_per_step < SMALL_STEP_MACS else nullcontext()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of PyTorch's threads for the block."""
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def machine_record() -> dict[str, Any]:
    """Return what a run's numbers depend on besides its recipe: software versions and hardware."""
    packages = ("convsmith", "torch", "numpy", "albumentations", "datasets", "scikit-learn")
    device = choose_device()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "instructions": cpu_instructions(),
        "cores": num_cores(),
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "packages": {name: version(name) for name in packages},
    }


# Variables that limit the instructions of PyTorch's libraries, or choose less precise ones.
_INSTRUCTION_VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "OPENBLAS_CORETYPE",
)


def cpu_instructions() -> str:
    """Return the CPU instructions that PyTorch computes with, and what limits those of its libraries.

    `ATEN_CPU_CAPABILITY` is in effect, not as written. Other instructions round differently.

    Example:
        >>> cpu_instructions().split(", ")[0] == torch.backends.cpu.get_cpu_capability()
        True
    """
    limits = (f"{name}={value}" for name in _INSTRUCTION_VARIABLES if (value := os.environ.get(name)))
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *limits])


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
