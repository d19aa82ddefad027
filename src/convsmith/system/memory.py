"""Out-of-memory errors that report what was needed, what is free, and what to try."""

import ctypes
import math
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch

from convsmith.errors import OutOfMemoryError

# Parameters of glibc's `mallopt`, and their largest value.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _MAX_THRESHOLD = -1, -3, 2**31 - 1
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@contextmanager
def enough_memory(task: str, device: torch.device, batch_size: int | None = None) -> Iterator[None]:
    """Raise OutOfMemoryError with a remedy if the block runs out of memory.

    Args:
        task: A name for the error message, for example "training".
        device: The device that the block computes on.
        batch_size: In images; None where it cannot be changed.

    Raises:
        OutOfMemoryError: In place of the exceptions of Python and PyTorch.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        needed, free = bytes_needed(str(error)), free_memory(device)
        figures = [f"{_mebibytes(needed)} more were needed"] if needed else []
        figures += [f"{_mebibytes(free)} of {device.type} memory are free"] if free is not None else []
        raise OutOfMemoryError(
            ", ".join(["out of memory", *figures]), where=task, fix=_remedy(batch_size)
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether Python, PyTorch on the CPU, or PyTorch on a GPU has run out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU allocator and oneDNN raise RuntimeError.
    return (
        isinstance(error, RuntimeError)
        and re.search(
            r"can't allocate memory|not enough memory|could not create a memory object|std::bad_alloc",
            str(error),
        )
        is not None
    )


def bytes_needed(message: str) -> int | None:
    """Return the bytes that PyTorch tried to allocate, parsed from its message.

    >>> bytes_needed("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.")
    4096
    >>> bytes_needed("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has ...")
    1610612736
    """
    match = re.search(r"tried to allocate ([\d.]+) ?([KMGT]?)i?B", message, flags=re.IGNORECASE)
    return int(float(match[1]) * _UNITS[match[2].upper()]) if match else None


def smaller_batch(batch_size: int) -> int:
    """Return the largest power of two that is at most half of a batch size.

    >>> smaller_batch(128), smaller_batch(100), smaller_batch(3)
    (64, 32, 1)
    """
    return 1 << ((batch_size // 2).bit_length() - 1)


def _remedy(batch_size: int | None) -> str:
    if batch_size is None or batch_size < 2:
        return "use fewer channels, an earlier stride, or smaller images: data.resize"
    return f"try train.batch_size={smaller_batch(batch_size)}; it was {batch_size}"


def _mebibytes(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"


@cache
def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next allocation.

    By default it returns large blocks to the system, so that each training step gets its activations in new
    pages that the kernel clears first: up to a quarter of the step's time. The memory is returned when the
    process ends. `MALLOC_...` environment variables take precedence.
    """
    configured = any(name.startswith("MALLOC_") for name in os.environ)
    if configured or platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        library.mallopt(parameter, _MAX_THRESHOLD)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a device, or this process's limit, leaves free; None where they are unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    # Windows has none of these, and macOS no SC_AVPHYS_PAGES.
    with suppress(AttributeError, ImportError, OSError, ValueError):
        page_size = os.sysconf("SC_PAGE_SIZE")
        return max(0, int(min(os.sysconf("SC_AVPHYS_PAGES") * page_size, _address_space_left(page_size))))
    return None


def _address_space_left(page_size: int) -> float:
    """Return the bytes that `ulimit -v` leaves to this process; infinity without a limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    with suppress(OSError, ValueError, IndexError):
        if limit != resource.RLIM_INFINITY:
            used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            return limit - used * page_size
    return math.inf
