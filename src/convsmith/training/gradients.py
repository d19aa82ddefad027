"""Loss and gradients of a batch, computed in parts: each part on a copy of the net and a core of its own.

A small net's operations are too short to be shared out between cores one by one. Parts of a batch are not:
every core takes one through the whole net, forward and backward, with what it computes close at hand. The
parts see the batch norm of their own images, and gradients are summed in the order of the parts, so that the
result is the same whatever the number of cores. A core that has nothing left to do for a batch prepares the
images of the next, while another sums the gradients and updates the weights.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from convsmith.data.pipeline import Batch, BatchSpec, Pipeline
from convsmith.system.device import autocast, torch_threads
from convsmith.training.compilation import compiled_nets
from convsmith.training.distillation import Teacher
from convsmith.training.kernels.backward import prepared_backward
from convsmith.training.kernels.dropout import use_fast_dropout
from convsmith.training.profiler import Profile

# A purpose of random numbers; `data.pipeline` has 1 and 2.
_DROPOUT = 3


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The mean loss of a batch, and how many of its images were right; both on the device."""

    loss: Tensor
    correct: Tensor


class GradientWorkers:
    """Computes gradients of a net's parameters. The net itself computes nothing: its copies do.

    Args:
        net: On the device, channels last. Its copies share its parameters.
        pipeline: Makes the batches; its seed is that of dropout too.
        label_smoothing: Share of each target that is spread over all classes.
        dtype: What the forward pass computes in.
        parts: How many parts a whole batch has.
        profile: Told how long each phase takes.
        teacher: Asked of every part of a batch, as the net sees it.
        compiled: Whether the copies are compiled, each shape of images when it is first seen.
    """

    def __init__(
        self,
        net: nn.Module,
        pipeline: Pipeline,
        *,
        label_smoothing: float,
        dtype: torch.dtype,
        parts: int,
        profile: Profile,
        teacher: Teacher | None = None,
        compiled: bool = False,
    ) -> None:
        self.teacher = teacher
        self.net, self.pipeline, self.dtype, self.profile = net, pipeline, dtype, profile
        self.criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self.generators = [torch.Generator() for _ in range(parts)]
        self.replicas = [_replica(net, share_buffers=parts == 1) for _ in self.generators]
        threads = torch.get_num_threads() if pipeline.device.type == "cpu" else 1
        if compiled:
            # No compiler sees into our dropout. PyTorch's draws from one generator, so in the parts' order.
            self.replicas, threads = compiled_nets(self.replicas), 1
        else:
            for replica, generator in zip(self.replicas, self.generators, strict=True):
                use_fast_dropout(replica, generator)
        self.workers = min(parts, threads)
        self.pool: Executor = _single_threaded(self.workers) if self.workers > 1 else _AtOnce()
        self.ahead: tuple[BatchSpec | None, list[Future[Batch]]] = (None, [])

    def train(self) -> None:
        for replica in self.replicas:
            replica.train()

    def learn(self, batch: BatchSpec, following: BatchSpec | None = None) -> Outcome:
        """Set the gradients of all parameters to those of a batch's mean loss.

        Args:
            batch: What to learn from.
            following: The batch that will be next; its images are prepared by cores that would wait.
        """
        known, prepared = self.ahead
        if known is not batch:
            prepared = self._prepare(batch)
        parts = batch.split(len(self.replicas))
        waiting = [self.pool.submit(self._part, *each) for each in zip(parts, prepared, strict=True)]
        # In the queue behind this batch's parts, and before the parts that will wait for it.
        self.ahead = (following, self._prepare(following) if following else [])
        shares = [len(part) / len(batch) for part in parts]
        results = [part.result() for part in waiting]
        *total, loss = _weighted_sum([[*gradients, loss] for loss, _, gradients in results], shares)
        for parameter, gradient in zip(self.parameters, total, strict=True):
            parameter.grad = gradient
        return Outcome(loss=loss, correct=torch.stack([correct for _, correct, _ in results]).sum())

    def rehearse(self, num_images: int, image_size: int | None) -> None:
        """Forward and backward with the first images, so that what is compiled for their shapes is.

        The net's statistics stay as they are.
        """
        buffers = [buffer for replica in self.replicas for buffer in replica.buffers()]
        before = [buffer.clone() for buffer in buffers]
        batch = BatchSpec(indices=torch.arange(num_images), epoch=1, step=0, image_size=image_size)
        for spec, part in zip(batch.split(len(self.replicas)), self._prepare(batch), strict=True):
            self._part(spec, part)
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)

    def gradient_norm(self) -> Tensor:
        """The Euclidean norm of all gradients together, on the device; not finite where one is not."""
        return get_total_norm([each.grad for each in self.parameters if each.grad is not None])

    def one_core(self) -> AbstractContextManager[None]:
        """For many small operations, which cores that shared them would spend waiting for each other."""
        return torch_threads(1) if self.workers > 1 else nullcontext()

    def gather_statistics(self) -> None:
        """Give the net the mean of what its copies' norms collected, as if each had seen all parts."""
        if len(self.replicas) == 1:
            return
        with torch.no_grad():
            for buffer, *collected in zip(
                self.net.buffers(), *(replica.buffers() for replica in self.replicas), strict=True
            ):
                stacked = torch.stack(collected)
                buffer.copy_(stacked.mean(0) if buffer.is_floating_point() else stacked[0])

    def close(self) -> None:
        self.pool.shutdown()

    def _prepare(self, batch: BatchSpec) -> list[Future[Batch]]:
        return [self.pool.submit(self._prepared, part) for part in batch.split(len(self.replicas))]

    def _prepared(self, part: BatchSpec) -> Batch:
        with self.profile.phase("augment"):
            return self.pipeline(part)

    def _part(self, spec: BatchSpec, prepared: Future[Batch]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """A part's mean loss, how many of its images were right, and the gradients."""
        part = prepared.result()
        taught = None if self.teacher is None else self._taught(self.teacher, part.images)
        device = part.images.device
        with self.profile.phase("forward"):
            self.generators[spec.part].manual_seed(spec.derive_seed(self.pipeline.seed, _DROPOUT))
            with autocast(device, self.dtype), prepared_backward(device, self.dtype):
                logits = self.replicas[spec.part](part.images)
            # The loss in fp32: its sum over the classes would lose digits in bf16.
            loss = self.criterion(logits.float(), part.targets)
            if self.teacher is not None and taught is not None:
                loss = self.teacher.loss(loss, logits.float(), taught)
        with self.profile.phase("backward"):
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        return loss.detach(), (logits.argmax(1) == part.labels).sum(), list(gradients)

    def _taught(self, teacher: Teacher, images: Tensor) -> Tensor:
        with self.profile.phase("teacher"), autocast(images.device, self.dtype):
            return teacher.logits(images)


def _replica(net: nn.Module, *, share_buffers: bool) -> nn.Module:
    """A net of the same parameters."""
    shared = [*net.parameters(), *(net.buffers() if share_buffers else ())]
    return copy.deepcopy(net, {id(tensor): tensor for tensor in shared})


class _AtOnce(Executor):
    """Does a task where it is given, before it goes on."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(task(*args, **kwargs))
        return future


def _single_threaded(workers: int) -> ThreadPoolExecutor:
    """Threads that each compute on one core."""
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


def _weighted_sum(gradients: Sequence[list[Tensor]], shares: Sequence[float]) -> list[Tensor]:
    total, *others = gradients
    if not others:
        return total
    # Into new tensors: autograd may hand out one gradient for two parameters, or one that repeats its memory.
    total = [gradient * shares[0] for gradient in total]
    for part, share in zip(others, shares[1:], strict=True):
        total = [torch.add(sofar, each, alpha=share) for sofar, each in zip(total, part, strict=True)]
    return total
