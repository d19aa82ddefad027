"""Batches without gradients, shared out over cores and processes, with results in their order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convsmith.system.device import torch_threads
from convsmith.tracing.copies import copy_module
from convsmith.tracing.members import named_buffers, named_parameters
from convsmith.training.executors import single_threaded_executor
from convsmith.training.process_group import ALONE, ProcessGroup


@dataclass(frozen=True, kw_only=True)
class BatchSharing:
    """How batches are shared out.

    Each batch is computed on one core, so that its result depends on neither the number of cores nor that of
    processes.

    Attributes:
        group: The processes.
        workers: The number of threads of this process.
    """

    group: ProcessGroup = ALONE
    workers: int = 1

    def map(
        self,
        net: nn.Module,
        compute: Callable[[nn.Module, int], Tensor],
        sizes: Sequence[int],
        *,
        share_buffers: bool = True,
    ) -> Iterator[Tensor]:
        """Yield the result of each batch, in their order, in all processes.

        Args:
            net: Each thread has a copy of it that shares its parameters.
            compute: From the net and the number of a batch to its rows `(size, n)`; all batches have one `n`.
            sizes: The number of rows of each batch.
            share_buffers: Whether the copies share the buffers too, because `compute` does not write them.

        Raises:
            ProcessError: Another process has ended.

        Example:
            >>> halves = BatchSharing(workers=2).map(
            ...     nn.Identity(), lambda net, index: net(torch.full((2, 1), float(index))), [2, 2]
            ... )
            >>> [rows.tolist() for rows in halves]
            [[[0.0], [0.0]], [[1.0], [1.0]]]
        """
        shared = [*named_parameters(net).values(), *(named_buffers(net).values() if share_buffers else ())]
        nets = [net, *(copy_module(net, shared=shared) for _ in range(self.workers - 1))]
        width = self.group.size * self.workers
        with torch_threads(1), single_threaded_executor(self.workers) as executor:
            for start in range(0, len(sizes), width):
                first = start + self.group.rank * self.workers
                own = range(first, min(first + self.workers, len(sizes)))
                # A round is a batch for each thread of each process, and each thread has a net of its own.
                rows = list(executor.map(compute, nets, own))
                yield from self._collect(rows, sizes[start : start + width])

    def _collect(self, own: Sequence[Tensor], sizes: Sequence[int]) -> Iterator[Tensor]:
        """Yield the results of a round of all processes, in their order."""
        if not self.group.is_shared:
            yield from own
            return
        # The last processes may have no batch in the last round, so that they do not know its width.
        width = self.group.maximum(max((rows.shape[1] for rows in own), default=0))
        padded = torch.zeros((self.workers, max(sizes), width), device=self.group.device)
        for place, rows in zip(padded, own, strict=False):
            place[: len(rows)] = rows
        for rows, size in zip(self.group.gather(padded), sizes, strict=False):
            yield rows[:size].cpu()
