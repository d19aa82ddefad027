"""Random numbers: seeds, generators, and the state of PyTorch's global ones."""

import hashlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor


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


def new_generator(*key: int) -> torch.Generator:
    """A generator of its own on the CPU; equal keys draw equal numbers."""
    return torch.Generator().manual_seed(derive_seed(*key))
