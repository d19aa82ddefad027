"""Frozen layers, for all epochs or the first ones, and layers that learn slower.

Frozen layers have no gradient and no weight decay, and keep their running statistics.
Layers below the learned ones learn slower by factors on their learning rates, as in Howard and Ruder,
"Universal Language Model Fine-tuning for Text Classification", arXiv 1801.06146 (discriminative fine-tuning,
gradual unfreezing), and Bao et al., "BEiT", arXiv 2106.08254 (layer-wise learning-rate decay).
"""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from convsmith.tracing.members import named_modules, named_parameters
from convsmith.training.classifier_layer import calls_of
from convsmith.training.config import TrainConfig
from convsmith.training.optimizers.base import Learning
from convsmith.training.parts import Parts, nothing_left, parts_of
from convsmith.training.whitening import first_convolution

NONE: frozenset[str] = frozenset()


class LayerPlan:
    """Which layers of a net are frozen, and how the parameters of the others learn.

    Args:
        net: On the device. Layers that are frozen for the whole training lose their gradients at once.
        config: The `[train]` table.
        images_NCHW: A few images, normalised `(N, C, H, W)`.

    Attributes:
        layers: The layers that are frozen, by name, at first.
        learning: Of the parameters that have a factor on their learning rate, or are frozen at first.

    Raises:
        RecipeError: A field names no layer, or no parameter is left to be trained.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> plan = LayerPlan(net, TrainConfig(epochs=2, freeze="body"), torch.zeros(2, 1, 8, 8))
        >>> plan.frozen_at(1), net[0].weight.requires_grad, net[2].weight.requires_grad
        (frozenset({'0'}), False, True)
    """

    def __init__(self, net: nn.Module, config: TrainConfig, images_NCHW: Tensor) -> None:  # noqa: N803
        self.config, self.layers = config, NONE
        self.learning: Mapping[nn.Parameter, Learning] = {}
        self._frozen: list[nn.Parameter] = []
        if config.freeze is None and config.layer_decay is None and config.layer_rates is None:
            return
        parts, modules = net_parts(net, images_NCHW), named_modules(net)
        self.layers = parts.frozen(config)
        # What a module freezes itself, and whitening filters, are never learned.
        fixed = {*first_convolution(net).parameters()} if config.whitening else set()
        fixed |= {each for each in named_parameters(net).values() if not each.requires_grad}
        # A parameter of two layers is frozen with either.
        chosen = [each for name in sorted(self.layers) for each in _own(modules[name]) if each not in fixed]
        self._frozen = list(dict.fromkeys(chosen))
        late = set(self._frozen if config.freeze_epochs else ())
        factors = {
            each: factor for name, factor in parts.factors(config).items() for each in _own(modules[name])
        }
        self.learning = {each: Learning(factors.get(each, 1.0), each in late) for each in {*factors, *late}}
        if not {*named_parameters(net).values()} - fixed - {*self._frozen}:
            raise nothing_left(config, "weight")
        if not config.freeze_epochs:
            self.set_gradients(epoch=1)

    def frozen_at(self, epoch: int) -> frozenset[str]:
        """Return the names of the layers that are frozen in an epoch, counted from 1."""
        last = self.config.freeze_epochs
        return self.layers if last is None or epoch <= last else NONE

    def set_gradients(self, epoch: int) -> None:
        """Let the parameters require gradients as in an epoch.

        For a freeze of the first epochs call it after the optimizers are built, which take what is trainable.
        """
        for each in self._frozen:
            each.requires_grad = not self.frozen_at(epoch)


def net_parts(net: nn.Module, images_NCHW: Tensor) -> Parts:  # noqa: N803 - shape suffix
    """Return the head of a net and the blocks below it, by a forward pass. The net is unchanged.

    A layer that does not run by itself, as the projection of an attention, comes with the layers of the
    smallest part that does. Others come first, as parameters of the net itself do.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
        >>> parts = net_parts(net, torch.zeros(1, 1, 8, 8))
        >>> parts.blocks, parts.head
        ((('0', '1'),), ('3',))
    """
    own = {
        path: module
        for path, module in named_modules(net).items()
        if any(each is not None for each in (*module._parameters.values(), *module._buffers.values()))  # noqa: SLF001 - those of the layer alone
    }
    names = {module: path for path, module in own.items()}
    calls = [names[module] for module in calls_of(net, images_NCHW, own.values())]
    layers = _with_idle([path for path in own if path not in calls], calls)
    norms = {path for path, module in own.items() if "Norm" in type(module).__name__}
    weighted = [path for path in calls if isinstance(own[path], nn.Conv2d | nn.Linear)]
    if not weighted:
        return parts_of(layers, norms=norms)
    classifier = weighted[-1]
    # In their last calls: a layer may run several times.
    after = calls[len(calls) - 1 - calls[::-1].index(classifier) :]
    before = calls[: len(calls) - len(after)]
    head = [classifier, *(path for path in after if path not in before)]
    return parts_of(layers, head, norms=norms)


def _with_idle(idle: Sequence[str], calls: Sequence[str]) -> list[str]:
    """Return layers in the order of their calls, with idle ones at the first call within their part.

    Example:
        >>> _with_idle(["attention.out", "unused"], ["", "patch", "attention", "patch", "mlp"])
        ['unused', '', 'patch', 'attention.out', 'attention', 'mlp']
    """
    order = list(dict.fromkeys(calls))
    for path in reversed(idle):
        parents = (path.rsplit(".", count)[0] for count in range(1, path.count(".") + 1))
        places = (
            place
            for parent in parents
            for place, each in enumerate(order)
            if f"{each}.".startswith(f"{parent}.")
        )
        order.insert(next(places, 0), path)
    return order


def freeze_statistics(net: nn.Module, layers: Collection[str]) -> None:
    """Set the layers with running statistics to evaluation mode, so that these stay as they are.

    Others stay in training mode: dropout in a frozen part is active.

    Args:
        net: In training mode.
        layers: Names of layers with weights or statistics.
    """
    modules = named_modules(net)
    for name in layers:
        if any(each is not None for each in modules[name]._buffers.values()):  # noqa: SLF001 - its own alone
            modules[name].training = False


def _own(layer: nn.Module) -> list[nn.Parameter]:
    return [each for each in layer._parameters.values() if each is not None]  # noqa: SLF001 - without those below
