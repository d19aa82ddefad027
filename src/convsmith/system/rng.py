"""Random numbers: seeds, generators, and the state of the global generators."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of PyTorch's global generators, of the CPU and the device, as uint8 vectors."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Restore the result of `random_state`; the state of another kind of device is ignored."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def own_random_state(device: torch.device) -> Iterator[None]:
    """Restore the global generators after the block: of Python, of NumPy, of PyTorch on CPU and device."""
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - a net may draw from it
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch.

    A net may draw from any of them; everything else has its own generator.

    Args:
        seed: From 0 to 2**32 - 1.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def global_draws() -> tuple[object, ...]:
    """Return a value that changes when anything draws from a global generator of the CPU.

    Example:
        >>> before = global_draws()
        >>> before == global_draws(), torch.rand(1).item() < 1, before == global_draws()
        (True, True, False)
    """
    numbers = repr(np.random.get_state(legacy=False))  # noqa: NPY002
    return random.getstate(), numbers, torch.get_rng_state().numpy().tobytes()


def derive_seed(*key: int) -> int:
    """Derive a seed from 0 to 2**32 - 1 for one purpose, for example `derive_seed(seed, epoch)`.

    >>> derive_seed(3, 1) == derive_seed(3, 1), derive_seed(3, 1) == derive_seed(1, 3)
    (True, False)
    """
    text = ",".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def new_generator(*key: int) -> torch.Generator:
    """Return a new generator on the CPU, seeded with `derive_seed(*key)`."""
    return torch.Generator().manual_seed(derive_seed(*key))
