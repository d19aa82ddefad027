"""An exponential moving average of the weights, with batch-norm statistics of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from convsmith import runtime
from convsmith.data.images import Split
from convsmith.data.normalize import Normalizer, normalized

# Enough for the statistics of a small net's channels: their error is far below that of batch statistics.
STATISTICS_IMAGES, STATISTICS_BATCH = 4_000, 500


class WeightAverage:
    """Follows a net in training.

    After Polyak and Juditsky (1992); exponential, as is usual for nets. The running statistics that the
    net collected belong to its own weights, so those of the average are measured anew, on plain training
    images, before it is used.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self.model = AveragedModel(net, multi_avg_fn=average)

    def step_done(self, net: nn.Module) -> None:
        self.model.update_parameters(net)

    @property
    def net(self) -> nn.Module:
        """The averaged net, with the statistics that were last measured; it may be looked at, not trained."""
        module: nn.Module = self.model.module
        return module

    def measure_statistics(self, train: Split, normalize: Normalizer, dtype: torch.dtype) -> None:
        """Set the norms' running statistics to those of plain images in the net as it will be used."""
        # The split's order follows the images' hashes, so that its first images are a random sample.
        images = train.images[:STATISTICS_IMAGES]
        with torch.no_grad(), runtime.autocast(normalize.mean.device, dtype), _without_dropout(self.model):
            update_bn(normalized(images, normalize, STATISTICS_BATCH), self.model)


@contextmanager
def _without_dropout(net: nn.Module) -> Iterator[None]:
    """Dropout makes activations vary more than they will where the statistics are used."""
    dropouts = {module: module.p for module in net.modules() if isinstance(module, nn.Dropout)}
    try:
        for module in dropouts:
            module.p = 0.0
        yield
    finally:
        for module, p in dropouts.items():
            module.p = p
