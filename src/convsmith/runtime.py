"""The machine that a run is on: device, precision, seeds, threads, and a record of all of them."""

import ctypes
import hashlib
import os
import platform
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from convsmith.errors import RecipeError

# The signal that tells that a time is over; some systems have none, where the number still means it.
ALARM = int(getattr(signal, "SIGALRM", 14))
# Multiply-accumulates of a forward pass of one batch.
SMALL_STEP_MACS = 100_000_000
# Of glibc's mallopt: its parameters' numbers, and the largest value that they take.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _MOST_KEPT = -1, -3, 2**31 - 1


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
    return threads(1) if macs_per_step < SMALL_STEP_MACS else nullcontext()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for PyTorch's operations in this thread, for the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def keep_freed_memory() -> None:
    """Have the C library keep what is freed for what is allocated next, where it is glibc.

    It gives large blocks back to the system otherwise, so that each step of a training gets its activations
    in pages that are new and have to be cleared: up to a quarter of the step's time. What is kept is given
    back when the process ends. Where MALLOC_... variables are set, they are what counts.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ)
    if chosen or platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        library.mallopt(parameter, _MOST_KEPT)


@dataclass
class StopRequest:
    """Whether something long is to stop at the next good place; `signal` is the one that asked for it."""

    signal: int = 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request for the block, instead of an end at any instruction.

    A second signal changes nothing. Handlers belong to the main thread; in others the block runs without.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal = request.signal or number

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        # What the parent process wants to be ignored, as in the background of a shell, stays so.
        if handler is not signal.SIG_IGN:
            signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device, or that this process may still have; None where nobody tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    with suppress(OSError, ValueError, IndexError):
        if limit != resource.RLIM_INFINITY:
            taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            free = min(free, limit - taken * os.sysconf("SC_PAGE_SIZE"))
    return max(0, free)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of PyTorch's global generators, of the CPU and of the device: each a uint8 vector."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Take up where `random_state` was; a state of a kind of device that is not used is left out."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def own_random_state(device: torch.device) -> AbstractContextManager[None]:
    """A block whose draws from PyTorch's global generators leave them as they were, on the device too."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def seed_everything(seed: int) -> None:
    """Seed PyTorch's global generators, which dropout draws from; all else has generators of its own."""
    torch.manual_seed(seed)


def derive_seed(*key: int) -> int:
    """A seed from 0 to 2**32 - 1 for one purpose, for example `derive_seed(seed, epoch)`.

    >>> derive_seed(3, 1) == derive_seed(3, 1), derive_seed(3, 1) == derive_seed(1, 3)
    (True, False)
    """
    text = ",".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def generator(*key: int) -> torch.Generator:
    """A generator of its own on the CPU; equal keys draw equal numbers."""
    return torch.Generator().manual_seed(derive_seed(*key))


def environment() -> dict[str, Any]:
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
