"""What to say where memory does not suffice: what was needed, what there is, and what to try."""

import ctypes
import os
import platform
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch

from convsmith.errors import OutOfMemoryError

# Of glibc's mallopt: its parameters' numbers, and the largest value that they take.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _MOST_KEPT = -1, -3, 2**31 - 1
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@contextmanager
def enough_memory(doing: str, device: torch.device, batch_size: int | None = None) -> Iterator[None]:
    """Say what is to be done where the block runs out of memory.

    Args:
        doing: For the reader, for example "training".
        device: Whose memory it is.
        batch_size: In images; None where it cannot be chosen.

    Raises:
        OutOfMemoryError: In place of what Python and PyTorch raise then.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        needed, free = bytes_needed(str(error)), free_memory(device)
        told = [f"{_size(needed)} more were needed"] if needed else []
        told += [f"{_size(free)} of {device.type} memory are free"] if free is not None else []
        raise OutOfMemoryError(
            ", ".join(["out of memory", *told]), where=doing, fix=_what_to_try(batch_size)
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, PyTorch on the CPU, or PyTorch on a GPU has run out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Of the CPU's allocator and of oneDNN, which have no class of their own.
    return (
        isinstance(error, RuntimeError)
        and re.search(
            r"can't allocate memory|not enough memory|could not create a memory object|std::bad_alloc",
            str(error),
        )
        is not None
    )


def bytes_needed(message: str) -> int | None:
    """What PyTorch tried to allocate, by its message.

    >>> bytes_needed("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.")
    4096
    >>> bytes_needed("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has ...")
    1610612736
    """
    found = re.search(r"tried to allocate ([\d.]+) ?([KMGT]?)i?B", message, flags=re.IGNORECASE)
    return int(float(found[1]) * _UNITS[found[2].upper()]) if found else None


def smaller_batch(batch_size: int) -> int:
    """The next power of two that is at most half.

    >>> smaller_batch(128), smaller_batch(100), smaller_batch(3)
    (64, 32, 1)
    """
    return 1 << ((batch_size // 2).bit_length() - 1)


def _what_to_try(batch_size: int | None) -> str:
    if batch_size is None or batch_size < 2:
        return "use fewer channels, an earlier stride, or smaller images: data.resize"
    return f"try train.batch_size={smaller_batch(batch_size)}; it was {batch_size}"


def _size(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"


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
