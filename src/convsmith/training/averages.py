"""Averages of the weights of a net in training, with their own batch-norm statistics."""

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import get_ema_multi_avg_fn

from convsmith.data.dataset import Split
from convsmith.data.images.memory_mapped import Images
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.modules.state import BufferSnapshot, Layout, copy_buffers, state_of
from convsmith.system.device import autocast, torch_threads
from convsmith.system.rng import own_random_state
from convsmith.tracing.copies import copy_module
from convsmith.tracing.members import named_modules, named_parameters
from convsmith.training.batch_sharing import BatchSharing
from convsmith.training.config import Lookahead, TrainConfig
from convsmith.training.modes import restored_modes
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
        self.net = copy_module(net)
        self.layout = Layout(net)
        self._move = get_ema_multi_avg_fn(1 - share)  # type: ignore[no-untyped-call]
        self._measured: list[nn.Module] | None = None

    def move(self, net: nn.Module) -> None:
        pairs = list(zip(_weights(self.net), _weights(net), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point() or pair[0].is_complex()]
        self._move(*map(list, zip(*averaged, strict=True)), 0)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the live tensors."""
        return self.layout.select(state_of(self.net))

    def measure_statistics(
        self,
        net: nn.Module,
        train: Split,
        normalize: Normalizer,
        dtype: torch.dtype,
        *,
        frozen: Collection[str] = (),
        sharing: BatchSharing | None = None,
    ) -> None:
        """Set the running statistics to those of images without augmentation, other buffers to the net's.

        Those of frozen layers, by name, are the net's too. `sharing` says how the batches are shared out.
        """
        copy_buffers(net, self.net)
        # A split is sorted by the hashes of its images, so the first images are a random sample.
        images = train.images[:STATISTICS_IMAGES]
        size = statistics_batch_size(len(images))
        with autocast(normalize.mean.device, dtype):
            if self._measured is None:
                first = next(normalized_batches(images, normalize, size))
                self._measured = layers_with_statistics(self.net, first)
            kept = [each for name, each in named_modules(self.net).items() if name in frozen]
            layers = [each for each in self._measured if each not in kept]
            if sharing is None:
                set_statistics(self.net, normalized_batches(images, normalize, size), layers)
            else:
                share_statistics(self.net, images, normalize, layers, size=size, dtype=dtype, sharing=sharing)


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
            tensors = self.average.state_dict()
            state["average"] = {f"module.{name}": tensor for name, tensor in tensors.items()}
        if self.lookahead:
            state["lookahead"] = self.lookahead.state_dict()
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
def set_statistics(net: nn.Module, batches: Iterable[Tensor], layers: Sequence[nn.Module]) -> None:
    """Set the running statistics of a net to the means of those of batches, each image with the same weight.

    All other layers, such as dropout of any kind, are in evaluation mode. A layer that is no norm of
    PyTorch's moves its statistics by its own rule, from where they are.

    Args:
        net: The modes of its layers and the momenta of its norms are restored.
        batches: Images `(N, C, H, W)`, each batch of any size that its norms can normalise.
        layers: From `layers_with_statistics`.
    """
    with restored_modes(net):
        net.eval()
        for layer in layers:
            layer.training = True
        norms = [layer for layer in layers if isinstance(layer, _NormBase)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
        seen = 0
        for images in batches:
            seen += len(images)
            for norm in norms:
                norm.momentum = len(images) / seen
            net(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@torch.no_grad()
def share_statistics(
    net: nn.Module,
    images_NHWC: Images,  # noqa: N803 - shape suffix
    normalize: Normalizer,
    layers: Sequence[nn.Module],
    *,
    size: int,
    dtype: torch.dtype,
    sharing: BatchSharing,
) -> None:
    """Set the running statistics of a net as `set_statistics` does, with batches shared out over cores.

    Layers that move their statistics by their own rule need one batch after the other, on one core.

    Args:
        net: As for `set_statistics`.
        images_NHWC: `(N, H, W, C)` uint8.
        normalize: Normalises the images.
        layers: From `layers_with_statistics`.
        size: Of the batches.
        dtype: Data type of the forward pass.
        sharing: How the batches are shared out.
    """
    if not layers:
        return
    if not all(isinstance(layer, _NormBase) for layer in layers):
        with torch_threads(1):
            set_statistics(net, normalized_batches(images_NHWC, normalize, size), layers)
        return
    names = [name for name, each in named_modules(net).items() if each in layers]
    starts = range(0, len(images_NHWC), size)

    def compute(net: nn.Module, index: int) -> Tensor:
        own = [net.get_submodule(name) for name in names]
        batch = images_NHWC[starts[index] : starts[index] + size]
        with torch.no_grad(), autocast(normalize.mean.device, dtype):
            set_statistics(net, normalized_batches(batch, normalize, size), own)
        return torch.cat([each.flatten().float() for each in _statistics(own)])[None]

    # A copy that shares its buffers would write those of others.
    results = sharing.map(net, compute, [1] * len(starts), share_buffers=False)
    _merge_statistics(layers, list(results), [min(size, len(images_NHWC) - start) for start in starts])


def _merge_statistics(layers: Sequence[nn.Module], rows: Sequence[Tensor], counts: Sequence[int]) -> None:
    """Set running statistics to the means of those of batches, weighted by their images."""
    targets, seen = _statistics(layers), 0
    for row, count in zip(rows, counts, strict=True):
        share = count / (seen + count)
        values = torch.split(row[0], [each.numel() for each in targets])
        for target, value in zip(targets, values, strict=True):
            new = value.view(target.shape).to(target)
            target.copy_(new if not seen else torch.lerp(target, new, share))
        seen += count
    for layer in layers:
        if isinstance(layer, _NormBase) and layer.num_batches_tracked is not None:
            layer.num_batches_tracked.fill_(len(rows))


def _statistics(layers: Sequence[nn.Module]) -> list[Tensor]:
    """Return the running statistics of norms."""
    both = (each for layer in layers for each in (layer.running_mean, layer.running_var))
    return [each for each in both if isinstance(each, Tensor)]


@torch.no_grad()
def layers_with_statistics(net: nn.Module, images_NCHW: Tensor) -> list[nn.Module]:  # noqa: N803 - shape suffix
    """Return the layers whose own buffers a training pass changes. The net is unchanged afterwards.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
        >>> layers_with_statistics(net, torch.randn(2, 3, 8, 8)) == [net[1]]
        True
    """
    snapshot = BufferSnapshot([net])
    with restored_modes(net), own_random_state(images_NCHW.device):
        net.train()
        net(images_NCHW)
    changed = snapshot.changed()
    snapshot.restore()
    return changed


def _weights(net: nn.Module) -> list[Tensor]:
    return list(named_parameters(net).values())


def _copy_weights(source: nn.Module, target: nn.Module) -> None:
    with torch.no_grad():
        for weights, copied in zip(_weights(source), _weights(target), strict=True):
            copied.copy_(weights)
