"""Averages of the weights of a net in training, with their own batch-norm statistics."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.system.device import autocast
from convsmith.training.config import Lookahead, TrainConfig
from convsmith.training.state import copy_tensors

# Enough images: the error of these statistics is far below that of batch statistics.
STATISTICS_IMAGES, STATISTICS_BATCH = 4_000, 500


class AveragedWeights:
    """A copy of a net whose weights move by a share of the distance to those of the net.

    The running statistics of the net belong to its own weights, so those of the copy are measured on training
    images without augmentation before it is used.

    Attributes:
        net: The copy, with the statistics of the last measurement; for inference only.
    """

    def __init__(self, net: nn.Module, share: float) -> None:
        self.net = copy.deepcopy(net)
        self._move = get_ema_multi_avg_fn(1 - share)  # type: ignore[no-untyped-call]

    def move(self, net: nn.Module) -> None:
        self._move(list(self.net.parameters()), list(net.parameters()), 0)

    def measure_statistics(self, train: Split, normalize: Normalizer, dtype: torch.dtype) -> None:
        """Set the running statistics to those of images without augmentation."""
        # A split is sorted by the hashes of its images, so the first images are a random sample.
        images = train.images[:STATISTICS_IMAGES]
        size = statistics_batch_size(len(images))
        with autocast(normalize.mean.device, dtype), _without_dropout(self.net):
            set_statistics(self.net, normalized_batches(images, normalize, size))


class WeightAverage(AveragedWeights):
    """Exponential moving average of the weights, after Polyak and Juditsky (1992)."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__(net, 1 - decay)

    def update(self, net: nn.Module, steps: int) -> None:
        """Update after the `steps`-th step, counted from 1. The initial weights are not included."""
        if steps == 1:
            _copy_weights(net, self.net)
        else:
            self.move(net)


class SlowWeights(AveragedWeights):
    """Lookahead: every `k` steps, the slow weights move towards those of the net, which continues from them.

    Zhang, Lucas, Hinton and Ba, "Lookahead Optimizer: k steps forward, 1 step back", arXiv 1907.08610. The
    state of the optimizer, such as its momentum, does not change.
    """

    def __init__(self, net: nn.Module, config: Lookahead) -> None:
        super().__init__(net, config.alpha)
        self.k = config.k

    def update(self, net: nn.Module, steps: int) -> None:
        """Update after the `steps`-th step, counted from 1."""
        if steps % self.k == 0:
            self.move(net)
            _copy_weights(self.net, net)


class WeightAverages:
    """The averages that the recipe of a training has, if any.

    Attributes:
        lookahead: Slow weights; None without lookahead.
        average: Exponential moving average; None without one.
    """

    def __init__(self, net: nn.Module, config: TrainConfig) -> None:
        self.lookahead = SlowWeights(net, config.lookahead) if config.lookahead else None
        self.average = WeightAverage(net, config.ema) if config.ema else None

    @property
    def kept(self) -> AveragedWeights | None:
        """The weights to evaluate and save; None for those of the net."""
        return self.average or self.lookahead

    def update(self, net: nn.Module, steps: int) -> None:
        """Update after the `steps`-th step, counted from 1. Lookahead first, since it changes the net."""
        if self.lookahead:
            self.lookahead.update(net, steps)
        if self.average:
            self.average.update(net, steps)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the live tensors of `average` and `lookahead`, as far as they exist."""
        state = {}
        if self.average:
            tensors = self.average.net.state_dict()
            state["average"] = {f"module.{name}": tensor for name, tensor in tensors.items()}
        if self.lookahead:
            state["lookahead"] = dict(self.lookahead.net.state_dict())
        return state

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Load the tensors of `average` and `lookahead`, and remove them from `state`.

        Raises:
            RunError: They do not fit the net, or are missing.
        """
        # The step count of PyTorch's AveragedModel, in states of early versions.
        state.get("average", {}).pop("n_averaged", None)
        for component, tensors in self.state_dict().items():
            copy_tensors(component, state.pop(component, {}), tensors)


def statistics_batch_size(num_images: int) -> int:
    """Return the size of batches that are nearly equal, so that no last batch is too small to normalise.

    Example:
        >>> statistics_batch_size(4000), statistics_batch_size(1001), statistics_batch_size(300)
        (500, 334, 300)
    """
    count = -(-num_images // STATISTICS_BATCH)
    return -(-num_images // count)


@torch.no_grad()
def set_statistics(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of a net to the means of those of batches, each image with the same weight.

    Args:
        net: Its training mode and the momenta of its norms are restored.
        batches: Images `(N, C, H, W)`, each batch of any size that its norms can normalise.
    """
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    seen, training = 0, net.training
    net.train()
    for images in batches:
        seen += len(images)
        for norm in norms:
            norm.momentum = len(images) / seen
        net(images)
    net.train(training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _copy_weights(source: nn.Module, target: nn.Module) -> None:
    with torch.no_grad():
        for weights, copied in zip(source.parameters(), target.parameters(), strict=True):
            copied.copy_(weights)


@contextmanager
def _without_dropout(net: nn.Module) -> Iterator[None]:
    """Disable dropout: activations vary more with it than in the evaluation."""
    dropouts = {module: module.p for module in net.modules() if isinstance(module, nn.Dropout)}
    try:
        for module in dropouts:
            module.p = 0.0
        yield
    finally:
        for module, p in dropouts.items():
            module.p = p
