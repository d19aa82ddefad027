"""Random numbers: seeds, generators, and the state of PyTorch's global generators."""

import hashlib
from contextlib import AbstractContextManager

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


def own_random_state(device: torch.device) -> AbstractContextManager[None]:
    """Restore PyTorch's global generators, of the CPU and the device, after the block."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def seed_everything(seed: int) -> None:
    """Seed PyTorch's global generators. Dropout draws from them; everything else has its own generator."""
    torch.manual_seed(seed)


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
