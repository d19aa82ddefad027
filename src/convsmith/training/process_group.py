"""The processes of one training: which parts of a batch each has, and what they exchange.

`torchrun` starts the processes. Each computes its own parts of every batch; what the parts give is collected
in the order of the parts, so that the sums, and with them the weights, are the same to the bit for any number
of processes. PyTorch's `DistributedDataParallel` sums in an order that depends on that number.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from convsmith.errors import ProcessError, RecipeError
from convsmith.system.parallel import num_cores
from convsmith.system.torchrun import is_started_by_torchrun, own_rank

# How long a process waits for the others: the first decodes the data set meanwhile.
_TIMEOUT = timedelta(hours=12)
_ALIGNMENT = 16
_DIGEST_BYTES = 32
# PyTorch 2.13 renamed it.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The processes that share one training.

    Attributes:
        rank: The number of this process, from 0. The process with rank 0 writes the run folder.
        size: The number of processes.
        local_rank: The number of this process on its machine, from 0.
        local_size: The number of processes on this machine.
        backend: `"gloo"` for CPUs, `"nccl"` for CUDA; empty for a single process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    backend: str = ""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def is_shared(self) -> bool:
        """Whether there are other processes."""
        return self.size > 1

    def own_parts(self, count: int) -> range:
        """Return the parts of a batch that this process computes.

        Args:
            count: The number of parts of a full batch, a multiple of the number of processes.

        Example:
            >>> ProcessGroup(rank=1, size=2).own_parts(4)
            range(2, 4)
        """
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather(self, own: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of their ranks.

        Args:
            own: `(k, n)`, of equal shape and type in all processes.

        Returns:
            `(size * k, n)`.

        Raises:
            ProcessError: Another process has ended.
        """
        if not self.is_shared:
            return own
        rows = own.new_empty((self.size * own.shape[0], *own.shape[1:]))
        with _lost_processes(self.rank):
            _all_gather(rows, own.contiguous())
        return rows

    def maximum(self, value: int) -> int:
        """Return the largest value that a process has.

        Raises:
            ProcessError: Another process has ended.
        """
        if not self.is_shared:
            return value
        return int(self.gather(torch.tensor([[value]], device=self.device)).max())

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """Let one process of each machine run the block before the others, so that it fills the cache.

        Raises:
            ProcessError: Another process has ended.
        """
        if self.local_rank:
            self.arrive()
        yield
        if not self.local_rank:
            self.arrive()

    def text_of_main(self, text: str) -> str:
        """Return the text that the main process passes; that of the others does not count.

        Raises:
            ProcessError: Another process has ended.
        """
        if not self.is_shared:
            return text
        content = text.encode() if self.is_main else b""
        row = torch.zeros(self.maximum(len(content)), dtype=torch.uint8, device=self.device)
        row[: len(content)] = torch.tensor(list(content), dtype=torch.uint8, device=self.device)
        return bytes(self.gather(row[None])[0].tolist()).decode()

    def arrive(self) -> None:
        """Wait until all processes are here.

        Raises:
            ProcessError: Another process has ended.
        """
        self.maximum(0)

    def lines(self) -> list[str]:
        """Return a line for the log; none for a single process."""
        if not self.is_shared:
            return []
        machines = self.size // self.local_size
        on = f" on {machines} machines" if machines > 1 else ""
        return [f"Processes: {self.size}{on}, {self.backend}; the weights do not depend on their number"]

    @property
    def device(self) -> torch.device:
        """The device of tensors that are exchanged."""
        return torch.device("cuda", self.local_rank) if self.backend == "nccl" else torch.device("cpu")

    def check_equal(self, values: Mapping[str, str]) -> None:
        """Check that all processes have the same recipe, data and versions.

        Args:
            values: What is compared, by its name.

        Raises:
            ProcessError: A value differs; every process raises it.
        """
        if not self.is_shared:
            return
        names = sorted(values)
        digests = b"".join(hashlib.sha256(values[name].encode()).digest() for name in names)
        own = torch.frombuffer(bytearray(digests), dtype=torch.uint8).to(self.device)
        rows = self.gather(own[None]).reshape(self.size, len(names), _DIGEST_BYTES)
        for index, name in enumerate(names):
            others = [
                rank for rank in range(1, self.size) if not torch.equal(rows[rank, index], rows[0, index])
            ]
            if others:
                raise ProcessError(
                    f"the {name} of process {others[0]} differs from that of process 0",
                    where=f"process {self.rank} of {self.size}",
                    fix=f"start all processes with the same {name}: the same recipe, data, versions of "
                    "convsmith and PyTorch, and files",
                )


ALONE = ProcessGroup()


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the processes that `torchrun` started, for the block; a single process joins none.

    Args:
        device: Of the training. CUDA has one process a device, chosen by the local rank.

    Raises:
        ProcessError: The other processes do not answer.
    """
    if not is_started_by_torchrun():
        yield ALONE
        return
    local_rank, local_size = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if device.type == "cuda":
        _check_devices(local_size)
        torch.cuda.set_device(local_rank)
    backend = "nccl" if device.type == "cuda" else "gloo"
    # The cores of the machine are divided among its processes.
    torch.set_num_threads(max(num_cores() // max(local_size, 1), 1))
    with _lost_processes(own_rank()):
        dist.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield ProcessGroup(
            rank=dist.get_rank(),
            size=dist.get_world_size(),
            local_rank=local_rank,
            local_size=max(local_size, 1),
            backend=backend,
        )
    finally:
        dist.destroy_process_group()


def _check_devices(local_size: int) -> None:
    count = torch.cuda.device_count()
    if local_size > count:
        raise RecipeError(
            f"found {count} CUDA devices for {local_size} processes, expected one for each",
            where="--processes",
            fix=f"start at most {count}, or train on the CPU: train.device=cpu",
        )


@contextmanager
def _lost_processes(rank: int) -> Iterator[None]:
    """Turn the error of a broken connection into one that says so."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            f"another process of the training has ended: {str(error).splitlines()[0]}",
            where=f"process {rank}",
            fix="see the error of that process; `convsmith resume RUN` goes on from the last checkpoint, on "
            "any number of processes",
        ) from error


class Packer:
    """Writes tensors of known shapes and types into one row of bytes, and reads them again.

    One message for all of them is faster than one for each. The bytes are those of the tensors, so that
    nothing is rounded.

    Args:
        like: Tensors with the shapes, strides, types and the device of those that are packed.

    Example:
        >>> packer = Packer([torch.zeros(2), torch.zeros(3, dtype=torch.int64)])
        >>> packer.unpack(packer.pack([torch.ones(2), torch.arange(3)]))
        [tensor([1., 1.]), tensor([0, 1, 2])]
    """

    def __init__(self, like: Sequence[Tensor]) -> None:
        self._like = [each.detach() for each in like]
        self._starts, end = [], 0
        for each in self._like:
            self._starts.append(end)
            # Each tensor begins at a multiple of any element's size.
            end += -(-each.numel() * each.element_size() // _ALIGNMENT) * _ALIGNMENT
        self.num_bytes = end

    def pack(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return a row of bytes `(num_bytes,)`, uint8."""
        device = self._like[0].device if self._like else None
        row = torch.zeros(self.num_bytes, dtype=torch.uint8, device=device)
        self.pack_into(row, tensors)
        return row

    def pack_into(self, row: Tensor, tensors: Sequence[Tensor]) -> None:
        """Write tensors into a row of bytes `(num_bytes,)`."""
        for target, tensor in zip(self.unpack(row), tensors, strict=True):
            target.copy_(tensor.detach())

    def unpack(self, row: Tensor) -> list[Tensor]:
        """Return the tensors of a row, which share its memory."""
        tensors = []
        for start, like in zip(self._starts, self._like, strict=True):
            numbers = row[start : start + like.numel() * like.element_size()].view(like.dtype)
            tensors.append(_arranged(numbers, like))
        return tensors


def _arranged(numbers: Tensor, like: Tensor) -> Tensor:
    """Return a vector in the shape of a tensor, and in its memory layout if that is dense."""
    if like.numel() and _is_dense(like):
        return numbers.as_strided(like.shape, like.stride())
    return numbers.view(like.shape)


def _is_dense(tensor: Tensor) -> bool:
    """Return whether the elements of a tensor fill its memory without gaps."""
    size = 1
    for stride, length in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if length > 1:
            if stride != size:
                return False
            size *= length
    return True
