"""Loss and gradients of a batch, computed in parts: each part on a copy of the net and a core of its own.

A small net's operations are too short to be shared out between cores one by one. Parts of a batch are not:
every core takes one through the whole net, forward and backward, with what it computes close at hand. The
parts see the batch norm of their own images, and gradients are summed in the order of the parts, so that the
result is the same whatever the number of cores.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import get_total_norm

from convsmith import runtime
from convsmith.data.augment import Augmenter, Draw
from convsmith.data.mix import mix_batch
from convsmith.data.normalize import Normalizer
from convsmith.data.transforms import Mix
from convsmith.training.backward import prepared_backward
from convsmith.training.batches import DeviceImages
from convsmith.training.compiling import compiled_nets
from convsmith.training.distillation import Teacher
from convsmith.training.dropout import use_fast_dropout
from convsmith.training.profile import Profile

# Purposes that random numbers are drawn for, so that no two share a stream.
_AUGMENT, _MIX, _DROPOUT = range(1, 4)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where in the training a batch stands; with the run's seed it fixes all that is drawn for it.

    `image_size` is what the images are brought to, None for their own.
    """

    epoch: int
    step: int
    image_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The mean loss of a batch, and how many of its images were right; both on the device."""

    loss: Tensor
    correct: Tensor


class Learner:
    """Computes gradients of a net's parameters. The net itself computes nothing: its copies do.

    Args:
        net: On the device, channels last. Its copies share its parameters.
        images: The training images.
        normalize: From uint8 to what the net sees.
        augment: Changes the images; mixing follows it.
        mix: Mixes images and labels within a part.
        label_smoothing: Share of each target that is spread over all classes.
        num_classes: Logits of the net.
        dtype: What the forward pass computes in.
        parts: How many parts a whole batch has.
        seed: Of augmentation, mixing and dropout.
        profile: Told how long each phase takes.
        teacher: Asked of every part of a batch, as the net sees it.
        compiled: Whether the copies are compiled, each shape of images when it is first seen.
    """

    def __init__(
        self,
        net: nn.Module,
        images: DeviceImages,
        normalize: Normalizer,
        augment: Augmenter,
        *,
        mix: Mix | None,
        label_smoothing: float,
        num_classes: int,
        dtype: torch.dtype,
        parts: int,
        seed: int,
        profile: Profile,
        teacher: Teacher | None = None,
        compiled: bool = False,
    ) -> None:
        self.teacher = teacher
        self.net, self.images, self.normalize, self.augment, self.mix = net, images, normalize, augment, mix
        self.num_classes, self.dtype, self.seed, self.profile = num_classes, dtype, seed, profile
        self.criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self.generators = [torch.Generator() for _ in range(parts)]
        self.replicas = [_replica(net, share_buffers=parts == 1) for _ in self.generators]
        threads = torch.get_num_threads() if images.device.type == "cpu" else 1
        if compiled:
            # No compiler sees into our dropout. PyTorch's draws from one generator, so in the parts' order.
            self.replicas, threads = compiled_nets(self.replicas), 1
        else:
            for replica, generator in zip(self.replicas, self.generators, strict=True):
                use_fast_dropout(replica, generator)
        workers = min(parts, threads)
        self.pool = _single_threaded(workers) if workers > 1 else None

    def train(self) -> None:
        for replica in self.replicas:
            replica.train()

    def learn(self, indices: Tensor, moment: Moment) -> Outcome:
        """Set the gradients of all parameters to those of a batch's mean loss."""
        parts = list(enumerate(indices.chunk(len(self.replicas))))
        shares = [len(part) / len(indices) for _, part in parts]
        if self.pool is None:
            results = [self._part(number, part, moment) for number, part in parts]
        else:
            waiting = [self.pool.submit(self._part, number, part, moment) for number, part in parts]
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
        moment = Moment(epoch=1, step=0, image_size=image_size)
        for number, part in enumerate(torch.arange(num_images).chunk(len(self.replicas))):
            self._part(number, part, moment)
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)

    def gradient_norm(self) -> Tensor:
        """The Euclidean norm of all gradients together, on the device; not finite where one is not."""
        return get_total_norm([each.grad for each in self.parameters if each.grad is not None])

    def on_one_core(self, task: Callable[[], None]) -> None:
        """Do a task of many small operations, which cores that shared them would spend waiting."""
        if self.pool is None:
            task()
        else:
            self.pool.submit(task).result()

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
        if self.pool is not None:
            self.pool.shutdown()

    def _part(self, number: int, indices: Tensor, moment: Moment) -> tuple[Tensor, Tensor, list[Tensor]]:
        key = (self.seed, moment.epoch, moment.step, number)
        with self.profile.phase("augment"):
            images, labels = self.images.take(indices)
            draw = Draw(seed=runtime.derive_seed(*key, _AUGMENT), epoch=moment.epoch, indices=indices)
            images = _resized(self.normalize(self.augment(images, draw)), moment.image_size)
            targets = labels
            if self.mix is not None:
                probabilities = functional.one_hot(labels, self.num_classes).float()
                images, targets = mix_batch(self.mix, images, probabilities, runtime.derive_seed(*key, _MIX))
        taught = None if self.teacher is None else self._taught(self.teacher, images)
        with self.profile.phase("forward"):
            self.generators[number].manual_seed(runtime.derive_seed(*key, _DROPOUT))
            with runtime.autocast(images.device, self.dtype), prepared_backward(images.device, self.dtype):
                logits = self.replicas[number](images)
            # The loss in fp32: its sum over the classes would lose digits in bf16.
            loss = self.criterion(logits.float(), targets)
            if self.teacher is not None and taught is not None:
                loss = self.teacher.loss(loss, logits.float(), taught)
        with self.profile.phase("backward"):
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        return loss.detach(), (logits.argmax(1) == labels).sum(), list(gradients)

    def _taught(self, teacher: Teacher, images: Tensor) -> Tensor:
        with self.profile.phase("teacher"), runtime.autocast(images.device, self.dtype):
            return teacher.logits(images)


def _replica(net: nn.Module, *, share_buffers: bool) -> nn.Module:
    """A net of the same parameters."""
    shared = [*net.parameters(), *(net.buffers() if share_buffers else ())]
    return copy.deepcopy(net, {id(tensor): tensor for tensor in shared})


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


def _resized(images: Tensor, size: int | None) -> Tensor:
    if size is None or size == images.shape[-1]:
        return images
    small = functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    return small.contiguous(memory_format=torch.channels_last)
