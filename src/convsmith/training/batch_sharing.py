"""Batches without gradients, shared out over cores and processes, with results in their order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convsmith.system.device import torch_threads
from convsmith.tracing.copies import copy_module
from convsmith.tracing.members import named_buffers, named_parameters
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
        with ExitStack() as stack:
            stack.enter_context(torch_threads(1))
            pool = stack.enter_context(ThreadPoolExecutor(self.workers))
            for start in range(0, len(sizes), width):
                first = start + self.group.rank * self.workers
                own = range(first, min(first + self.workers, len(sizes)))
                # A round is a batch for each thread of each process, and each thread has a net of its own.
                rows = (
                    list(pool.map(_single_threaded(compute), nets, own))
                    if self.workers > 1
                    else ([compute(net, index) for index in own])
                )
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


def _single_threaded(
    compute: Callable[[nn.Module, int], Tensor],
) -> Callable[[nn.Module, int], Tensor]:
    """Return a function that computes on one core in threads of any pool."""

    def compute_on_one_core(net: nn.Module, index: int) -> Tensor:
        torch.set_num_threads(1)
        return compute(net, index)

    return compute_on_one_core
