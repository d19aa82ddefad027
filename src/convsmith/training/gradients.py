"""Gradients of a batch, computed in parallel on its microbatches.

The operations of a small net are too short to be distributed over the cores one by one. Microbatches are
not: each core takes one through forward and backward pass. Batch norm sees one microbatch, and gradients are
summed in the order of the microbatches, so that the result does not depend on the number of cores. Idle cores
prepare the images of the next batch while another core sums the gradients and updates the weights.

Several processes share the microbatches of each batch. Each gathers the gradients of all of them, and sums
them in the same order.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from convsmith.data.pipeline import Batch, BatchSpec, Pipeline
from convsmith.modules.behaviour import PLAIN, Behaviour
from convsmith.modules.state import BufferSnapshot, Layout, merge_buffers
from convsmith.system.device import autocast, torch_threads
from convsmith.system.rng import seed_everything
from convsmith.tracing.copies import copy_module
from convsmith.tracing.members import named_buffers, named_parameters
from convsmith.training.compilation import compiled_nets
from convsmith.training.distillation import Teacher
from convsmith.training.executors import single_threaded_executor
from convsmith.training.freezing import freeze_statistics
from convsmith.training.kernels.backward import backward_workarounds
from convsmith.training.kernels.dropout import use_fast_dropout, use_plain_dropout
from convsmith.training.losses import LabelLoss
from convsmith.training.penalty import L1Penalty
from convsmith.training.process_group import ALONE, Packer, ProcessGroup
from convsmith.training.profiler import Profile
from convsmith.training.state import copy_tensors

# Key of the random stream for dropout; `data.pipeline` has 1 and 2.
_DROPOUT = 3


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """Mean loss of a batch, and the number of correctly classified images; scalars on the device.

    `stop` is the signal that asked one of the processes to stop; 0 for none, or for a single process.
    """

    loss: Tensor
    correct: Tensor
    stop: int = 0


class GradientWorkers:
    """Computes the gradients of a net's parameters on replicas of the net.

    Args:
        net: On the device. A single replica is the net itself, several share its parameters.
        pipeline: Makes the batches. Dropout uses its seed too.
        label_smoothing: Share of each target that is spread over all classes.
        dtype: Data type of the forward pass.
        num_microbatches: Number of microbatches of a full batch.
        profile: Collects the time of each phase.
        teacher: Teacher for knowledge distillation.
        compiled: Whether to compile the replicas, for each input shape on its first use.
        behaviour: What the net needs.
        l1: Weight of the L1 penalty, which is a part of the gradients and not of the loss of a batch.
        class_weights: Weight of each class in the loss; None if all count equally.
        group: The processes that share the microbatches.
    """

    def __init__(
        self,
        net: nn.Module,
        pipeline: Pipeline,
        *,
        label_smoothing: float,
        dtype: torch.dtype,
        num_microbatches: int,
        profile: Profile,
        teacher: Teacher | None = None,
        compiled: bool = False,
        behaviour: Behaviour = PLAIN,
        l1: float = 0.0,
        class_weights: Sequence[float] | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        self.teacher, self.behaviour, self.group = teacher, behaviour, group
        self.net, self.pipeline, self.dtype, self.profile = net, pipeline, dtype, profile
        self.label_loss = LabelLoss(class_weights, label_smoothing, pipeline.device)
        self.frozen: Collection[str] = ()
        self.parameters = _trainable(net)
        self.penalty = L1Penalty(net, l1)
        self.generators = [torch.Generator() for _ in range(num_microbatches)]
        self.modules = [net] if num_microbatches == 1 else [_replica(net) for _ in self.generators]
        self.layout = Layout(net)
        self.compiled = compiled
        self.replicas, threads = self.modules, torch.get_num_threads() if pipeline.device.type == "cpu" else 1
        if compiled:
            # `torch.compile` does not support our dropout. PyTorch's has one generator, so order matters.
            self.replicas, threads = compiled_nets(self.modules), 1
        else:
            for replica, generator in zip(self.replicas, self.generators, strict=True):
                use_fast_dropout(replica, generator)
        self.own = group.own_parts(num_microbatches)
        self.num_workers = 1 if behaviour.in_order else min(len(self.own), threads)
        self.pool = single_threaded_executor(self.num_workers)
        self.prefetched: tuple[BatchSpec | None, list[Future[Batch]]] = (None, [])
        self._packer = self._new_packer()

    def freeze(self, layers: Collection[str]) -> None:
        """Compute gradients for the parameters that require them now, and keep the statistics of layers.

        Args:
            layers: The names of all layers that are frozen from now on.
        """
        self.frozen = layers
        self.parameters = _trainable(self.net)
        self._packer = self._new_packer()
        for each in named_parameters(self.net).values():
            if not each.requires_grad:
                each.grad = None

    def train(self) -> None:
        """Set the replicas to training mode, but the frozen layers."""
        for replica in self.replicas:
            replica.train()
        for module in self.modules:
            freeze_statistics(module, self.frozen)

    def compute(self, batch: BatchSpec, next_batch: BatchSpec | None = None, *, stop: int = 0) -> BatchResult:
        """Set the gradients of all parameters to those of the mean loss of a batch, and of the penalty.

        Args:
            batch: The batch.
            next_batch: The next batch; idle cores prepare its images.
            stop: The signal that asks this process to stop; 0 for none.

        Raises:
            ProcessError: Another process has ended.
        """
        spec, inputs = self.prefetched
        if spec is not batch:
            inputs = self._prepare(batch)
        microbatches = batch.split(len(self.replicas))
        mean_weight = self._mean_weight(batch)
        futures = [
            self.pool.submit(self._forward_backward, *each, mean_weight)
            for each in zip(self._own(microbatches), inputs, strict=True)
        ]
        # Queued behind the microbatches of this batch, and ahead of those of the next.
        self.prefetched = (next_batch, self._prepare(next_batch) if next_batch else [])
        results = [[*gradients, loss, correct] for loss, correct, gradients in map(Future.result, futures)]
        if self.group.is_shared:
            results, stop = self._exchange(results, len(microbatches), stop)
        weights = [len(microbatch) / len(batch) for microbatch in microbatches]
        *total, loss = _weighted_sum([each[:-1] for each in results], weights)
        for parameter, gradient in zip(self.parameters, total, strict=True):
            parameter.grad = _in_layout_of(parameter, gradient)
        self.penalty.add_gradients()
        return BatchResult(loss=loss, correct=torch.stack([each[-1] for each in results]).sum(), stop=stop)

    def _own(self, microbatches: Sequence[BatchSpec]) -> list[BatchSpec]:
        """Return the microbatches of this process; the last batch of an epoch may have fewer than others."""
        return [each for each in microbatches if each.part in self.own]

    def _new_packer(self) -> Packer:
        """Return a packer for the gradients of a microbatch, its loss, its correct images and a signal."""
        device = self.pipeline.device
        numbers = torch.zeros(3, dtype=torch.float64, device=device)
        return Packer([*self.parameters, numbers])

    def _exchange(
        self, own: Sequence[Sequence[Tensor]], count: int, stop: int
    ) -> tuple[list[list[Tensor]], int]:
        """Return the results of all microbatches, in their order, and the largest signal of all processes."""
        with self.profile.phase("exchange"):
            rows = torch.zeros(
                (len(self.own), self._packer.num_bytes), dtype=torch.uint8, device=self.pipeline.device
            )
            for row, (*gradients, loss, correct) in zip(rows, own, strict=False):
                numbers = torch.stack([loss.double(), correct.double(), loss.new_zeros(()).double()])
                self._packer.pack_into(row, [*gradients, numbers])
            *_, numbers = self._packer.unpack(rows[0])
            numbers[2] = stop
            gathered = self.group.gather(rows)
            unpacked = [self._packer.unpack(row) for row in gathered]
            signals = torch.stack([each[-1][2] for each in unpacked])
            results = [
                [*gradients, numbers[0].float(), numbers[1]] for *gradients, numbers in unpacked[:count]
            ]
            return results, int(signals.max())

    def warm_up(self, num_images: int, image_size: int | None) -> None:
        """Run forward and backward pass on the first images, to compile for their shape.

        The running statistics of the net do not change.
        """
        before = BufferSnapshot(self.modules)
        batch = BatchSpec(indices=torch.arange(num_images), epoch=1, step=0, image_size=image_size)
        specs = self._own(batch.split(len(self.replicas)))
        for spec, inputs in zip(specs, self._prepare(batch), strict=True):
            self._forward_backward(spec, inputs, self._mean_weight(batch))
        before.restore()

    def norm(self) -> Tensor:
        """Return the Euclidean norm of all gradients, a scalar on the device; not finite if one is not."""
        return get_total_norm([each.grad for each in self.parameters if each.grad is not None])

    def clip(self, max_norm: float, norm: Tensor) -> None:
        """Scale the gradients so that their norm is at most `max_norm`, as PyTorch's `clip_grad_norm_` does.

        Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", arXiv
        1211.5063.

        Args:
            max_norm: The largest norm.
            norm: Of the gradients, from `norm`.
        """
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for each in self.parameters:
            if each.grad is not None:
                # Into a new tensor: autograd may return one gradient for two parameters.
                each.grad = each.grad * factor

    def single_threaded(self) -> AbstractContextManager[None]:
        """Return a context for operations that are too small to be distributed over threads.

        With several microbatches the weights do not depend on the number of threads: sums over images are
        rounded in an order that depends on it.
        """
        return torch_threads(1) if len(self.modules) > 1 and not self.compiled else nullcontext()

    def sync_statistics(self) -> None:
        """Set the running statistics of the net to the mean of those of the replicas."""
        self._gather_statistics()
        if len(self.modules) > 1:
            merge_buffers(self.modules, self.net)

    def _gather_statistics(self) -> None:
        """Set the buffers of all replicas to those of the process that computes with them."""
        if not self.group.is_shared:
            return
        buffers = [list(named_buffers(module).values()) for module in self.modules]
        packer = Packer(buffers[0])
        own = [packer.pack(buffers[part]) for part in self.own]
        for part, row in enumerate(self.group.gather(torch.stack(own))):
            if part not in self.own:
                for buffer, value in zip(buffers[part], packer.unpack(row), strict=True):
                    buffer.copy_(value)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the live norm statistics of each microbatch, `part<i>`, if there are several.

        All processes call it together.
        """
        if len(self.modules) == 1:
            return {}
        self._gather_statistics()
        return {
            f"part{number}": self.layout.select(named_buffers(module))
            for number, module in enumerate(self.modules)
        }

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Load the norm statistics, and remove them from `state`.

        Raises:
            RunError: They do not fit the net, or are missing.
        """
        for component, buffers in self.state_dict().items():
            saved = state.pop(component, {})
            # Early versions saved the names of compiled nets.
            saved = {name.removeprefix("_orig_mod."): tensor for name, tensor in saved.items()}
            copy_tensors(component, saved, buffers)

    def close(self) -> None:
        """Stop the threads, and give the net its plain layers back."""
        self.pool.shutdown()
        use_plain_dropout(self.net)

    def _prepare(self, batch: BatchSpec) -> list[Future[Batch]]:
        specs = self._own(batch.split(len(self.replicas)))
        return [self.pool.submit(self._load, spec) for spec in specs]

    def _load(self, spec: BatchSpec) -> Batch:
        with self.profile.phase("augment"):
            return self.pipeline(spec)

    def _mean_weight(self, batch: BatchSpec) -> Tensor | None:
        """Return the mean class weight of the labels of a batch; None without weights."""
        if self.label_loss.weight is None:
            return None
        return self.label_loss.mean_weight(self.pipeline.images.labels_of(batch.indices))

    def _forward_backward(
        self, spec: BatchSpec, inputs: Future[Batch], mean_weight: Tensor | None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return mean loss, number of correctly classified images, and gradients of a microbatch."""
        batch = inputs.result()
        teacher_logits = None if self.teacher is None else self._teacher_logits(self.teacher, batch.images)
        device = batch.images.device
        with self.profile.phase("forward"):
            seed = spec.derive_seed(self.pipeline.seed, _DROPOUT)
            self.generators[spec.part].manual_seed(seed)
            if self.behaviour.in_order:
                seed_everything(seed)
            with self.behaviour.guard("the forward pass in training"):
                with autocast(device, self.dtype), backward_workarounds(device, self.dtype):
                    logits = self.replicas[spec.part](batch.images)
                # In fp32: the sum over the classes loses digits in bf16.
                loss = self.label_loss(logits.float(), batch.targets, mean_weight)
            if self.teacher is not None and teacher_logits is not None:
                loss = self.teacher.loss(loss, logits.float(), teacher_logits)
        with self.profile.phase("backward"), self.behaviour.guard("the backward pass"):
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        return loss.detach(), (logits.argmax(1) == batch.labels).sum(), list(gradients)

    def _teacher_logits(self, teacher: Teacher, images: Tensor) -> Tensor:
        with self.profile.phase("teacher"), autocast(images.device, self.dtype):
            return teacher.logits(images)


def _trainable(net: nn.Module) -> list[nn.Parameter]:
    return [each for each in named_parameters(net).values() if each.requires_grad]


def _replica(net: nn.Module) -> nn.Module:
    """Return a copy of a net that shares its parameters."""
    return copy_module(net, shared=named_parameters(net).values())


def _in_layout_of(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Return a gradient in the memory layout of its parameter, which fused steps of optimizers assume.

    `loss.backward()` does the same, `torch.autograd.grad` does not.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter, requires_grad=False).copy_(gradient)


def _weighted_sum(gradients: Sequence[list[Tensor]], weights: Sequence[float]) -> list[Tensor]:
    total, *others = gradients
    if not others:
        return total
    # Into new tensors: autograd may return one gradient for two parameters, or an expanded tensor.
    total = [gradient * weights[0] for gradient in total]
    for each, weight in zip(others, weights[1:], strict=True):
        total = [torch.add(sofar, new, alpha=weight) for sofar, new in zip(total, each, strict=True)]
    return total
