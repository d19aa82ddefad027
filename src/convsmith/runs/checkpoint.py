"""All that a training holds between two steps, as one file: written whole, checked whole.

The tensors are those of a safetensors file, and what is no tensor is the JSON in its header, together with a
SHA-256 of both: one file is old or new, never a mixture. Nothing in it is code.
"""

import hashlib
import json
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from convsmith.errors import RunError
from convsmith.system import reading
from convsmith.system.rng import random_state, set_random_state
from convsmith.training.optimizers import parameter_names
from convsmith.training.trainer import EpochMetrics, Progress, Trainer


@dataclass(frozen=True, kw_only=True)
class Record:
    """What of a state is no tensor.

    Attributes:
        conditions: What the training depends on beside its state, by field, as text.
        num_batches: Of an epoch.
        progress: How far the epoch in progress is.
        history: The epochs that are done. With it schedules are where they were: they go by the number of
            steps and by accuracies.
        seconds: What the training took so far.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    conditions: dict[str, str]
    num_batches: int
    progress: Progress
    history: tuple[EpochMetrics, ...]
    seconds: float


_RECORD = TypeAdapter(Record)
# What reading a file that is no state can end in.
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
class TrainingState:
    """A training between two steps.

    Attributes:
        record: What is no tensor.
        tensors: On the CPU, contiguous, by name: `net.*`, `average.module.*` and `lookahead.*` as in their
            state dicts, `part<i>.*` the norms' statistics of each part of a batch,
            `optimizer<i>.<parameter>/<name>` what an optimiser keeps of a parameter, `random.*` PyTorch's
            global generators.
    """

    record: Record
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, trainer: Trainer, conditions: Mapping[str, str]) -> "TrainingState":
        """Take the state of a trainer, which is left as it is."""
        record = Record(
            conditions=dict(conditions),
            num_batches=trainer.num_batches,
            progress=trainer.progress,
            history=tuple(trainer.history),
            seconds=trainer.seconds,
        )
        places = _places(trainer)
        for index, optimizer in enumerate(trainer.optimizers):
            for parameter, name in parameter_names(optimizer, trainer.net).items():
                for key, value in optimizer.state.get(parameter, {}).items():
                    if value is not None:
                        places[f"optimizer{index}.{name}/{key}"] = value
        places |= _prefixed("random", random_state(trainer.device))
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in places.items()
        }
        return cls(record=record, tensors=tensors)

    def restore(self, trainer: Trainer) -> None:
        """Bring a trainer that is at its beginning to this state.

        Raises:
            RunError: The state is that of another net or optimiser.
        """
        left = dict(self.tensors)
        # A count of steps, which states had until convsmith went by the trainer's.
        left.pop("average.n_averaged", None)
        places = _places(trainer)
        missing = [name for name in places if name not in left or left[name].shape != places[name].shape]
        if missing:
            raise _does_not_fit(missing)
        with torch.no_grad():
            for name, place in places.items():
                place.copy_(left.pop(name))
        for index, optimizer in enumerate(trainer.optimizers):
            names = {name: parameter for parameter, name in parameter_names(optimizer, trainer.net).items()}
            prefix = f"optimizer{index}."
            for name in [each for each in left if each.startswith(prefix)]:
                parameter_name, _, key = name.removeprefix(prefix).rpartition("/")
                value = left.pop(name)
                parameter = names.get(parameter_name)
                if parameter is None or (value.dim() and value.shape != parameter.shape):
                    raise _does_not_fit([name])
                optimizer.state[parameter][key] = _beside(parameter, value, optimizer)
        random = {name: left.pop(f"random.{name}") for name in ("cpu", "cuda") if f"random.{name}" in left}
        if left or "cpu" not in random:
            raise _does_not_fit(list(left) or ["random.cpu"])
        set_random_state(random, trainer.device)
        self._restore_position(trainer)

    def _restore_position(self, trainer: Trainer) -> None:
        record = self.record
        trainer.history = list(record.history)
        trainer.began = time.perf_counter() - record.seconds
        trainer.progress = Progress(**asdict(record.progress))
        if record.num_batches != trainer.num_batches:
            # The place in the epoch means nothing with other batches: the epoch begins anew.
            trainer.progress = Progress(epoch=record.progress.epoch)
        steps = trainer.steps_before(trainer.progress.epoch, trainer.progress.step)
        trainer.rate.go_to(steps, [trainer.monitored(facts) for facts in record.history])

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        text = json.dumps(asdict(self.record))
        metadata = {"record": text, "sha256": _digest(text, self.tensors)}
        return safetensors.torch.save(self.tensors, metadata)


def load_state(path: Path) -> TrainingState:
    """Read a state, and check every byte of it.

    Raises:
        FileError: The file cannot be read.
        RunError: It is damaged, or no state.
    """
    try:
        content = reading.read_safetensors(path)
        tensors = safetensors.torch.load(content)
        (length,) = struct.unpack("<Q", content[:8])
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        intact = metadata["sha256"] == _digest(metadata["record"], tensors)
        record = _RECORD.validate_python(json.loads(metadata["record"]))
    except _DAMAGE as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    if not intact:
        raise _damaged(path, "its SHA-256 is not the one that was written")
    return TrainingState(record=record, tensors=tensors)


def _places(trainer: Trainer) -> dict[str, Tensor]:
    """The tensors of a trainer that are there from its beginning, by their names in a state."""
    places = _prefixed("net", trainer.net.state_dict())
    if average := trainer.averages.average:
        places |= _prefixed("average.module", average.net.state_dict())
    if lookahead := trainer.averages.lookahead:
        places |= _prefixed("lookahead", lookahead.net.state_dict())
    replicas = trainer.learner.replicas
    if len(replicas) > 1:
        for number, replica in enumerate(replicas):
            places |= _prefixed(f"part{number}", dict(replica.named_buffers()))
    return places


def _prefixed(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _beside(parameter: Tensor, value: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """What an optimiser keeps: a tensor that lies in memory as its parameter does, as fused steps need it."""
    if not value.dim():
        # Fused steps count on the device, the others on the CPU.
        return value.to(parameter.device if optimizer.defaults.get("fused") else "cpu", copy=True)
    placed = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
    return placed.copy_(value)


def _digest(record: str, tensors: Mapping[str, Tensor]) -> str:
    """A SHA-256 of the record and of all tensors, with their names, types and shapes."""
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _damaged(path: Path, found: str) -> RunError:
    return RunError(
        f"the saved state is damaged: {found}",
        where=str(path),
        fix="restore the file from a copy, or train again",
    )


def _does_not_fit(names: list[str]) -> RunError:
    return RunError(
        f"the saved state is of another net or optimiser: {', '.join(sorted(names)[:3])}",
        where="state.safetensors",
        fix="set model and optimizer in recipe.toml back to what they were, or train again",
    )
