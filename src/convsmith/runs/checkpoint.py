"""Checkpoints: the state of a training in one file.

The file is in safetensors format. Values other than tensors are JSON in its header, with a SHA-256 of both. A
checkpoint is written atomically, verified when it is read, and contains no code.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from convsmith.errors import RunError
from convsmith.system import reading
from convsmith.training.metrics import EpochMetrics
from convsmith.training.state import Progress, TrainerState


@dataclass(frozen=True, kw_only=True)
class _Header:
    """The JSON part of the file."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    conditions: dict[str, str]
    num_batches: int
    progress: Progress
    history: tuple[EpochMetrics, ...]
    seconds: float


_HEADER = TypeAdapter(_Header)
# Errors that reading a damaged file can raise.
_DAMAGE = (
    safetensors.SafetensorError,
    ValidationError,
    ValueError,
    KeyError,
    TypeError,
    RecursionError,
    struct.error,
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training between two steps.

    Attributes:
        conditions: The fields other than the state that the training depends on, such as the recipe and
            package versions, as text.
        state: State of the trainer.
    """

    conditions: dict[str, str]
    state: TrainerState

    def to_bytes(self) -> bytes:
        """Return the contents of the file."""
        header = _Header(
            conditions=self.conditions,
            num_batches=self.state.num_batches,
            progress=self.state.progress,
            history=self.state.history,
            seconds=self.state.seconds,
        )
        text = json.dumps(asdict(header))
        tensors = {
            f"{component}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for component, named in self.state.tensors.items()
            for name, tensor in named.items()
        }
        return safetensors.torch.save(tensors, {"record": text, "sha256": _digest(text, tensors)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        FileError: The file cannot be read.
        RunError: The file is damaged, or not a checkpoint.
    """
    try:
        content = reading.read_safetensors(path)
        tensors = safetensors.torch.load(content)
        (length,) = struct.unpack("<Q", content[:8])
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        intact = metadata["sha256"] == _digest(metadata["record"], tensors)
        header = _HEADER.validate_python(json.loads(metadata["record"]))
    except _DAMAGE as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    if not intact:
        raise _damaged(path, "its SHA-256 does not match")
    state = TrainerState(
        progress=header.progress,
        history=header.history,
        num_batches=header.num_batches,
        seconds=header.seconds,
        tensors=_by_component(tensors),
    )
    return Checkpoint(conditions=header.conditions, state=state)


def _by_component(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    components: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        component, _, name = path.partition(".")
        components.setdefault(component, {})[name] = tensor
    return components


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 of the header and of all tensors, with their names, types and shapes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> RunError:
    return RunError(
        f"the saved state is damaged: {reason}",
        where=str(path),
        fix="restore the file from a copy, or train again",
    )
