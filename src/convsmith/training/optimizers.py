"""Optimisers and learning-rate schedules: PyTorch's own, chosen by name."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from convsmith.training.config import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Linear,
    Muon,
    OneCycle,
    Optimizer,
    Plateau,
    RMSprop,
    Schedule,
    Step,
)

ByElement = SGD | RMSprop | Adam | AdamW
_NORMS = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm  # noqa: SLF001 - the common base


def make_optimizers(config: Optimizer, net: nn.Module) -> list[torch.optim.Optimizer]:
    """The optimisers that together learn all of a net's parameters that are to be learned."""
    if not isinstance(config, Muon):
        return [_by_element(config, net, set())]
    filters = _orthogonalizable(net)
    rest = _by_element(config.rest, net, set(filters))
    return [OrthogonalizedFilters(filters, config), rest] if filters else [rest]


def _by_element(config: ByElement, net: nn.Module, left_out: set[nn.Parameter]) -> torch.optim.Optimizer:
    biases = {
        module.bias for module in net.modules() if isinstance(module, _NORMS) and module.bias is not None
    }
    parameters = [
        parameter for parameter in net.parameters() if parameter.requires_grad and parameter not in left_out
    ]
    groups = [
        {"params": [parameter for parameter in parameters if parameter not in biases], "lr": config.lr},
        {
            "params": [parameter for parameter in parameters if parameter in biases],
            "lr": config.lr * config.norm_bias_lr_factor,
        },
    ]
    groups = [group for group in groups if group["params"]]
    match config:
        case SGD():
            return torch.optim.SGD(
                groups,
                momentum=config.momentum,
                nesterov=config.nesterov,
                weight_decay=config.weight_decay,
                fused=True,
            )
        case RMSprop():
            return torch.optim.RMSprop(
                groups,
                alpha=config.alpha,
                momentum=config.momentum,
                eps=config.eps,
                weight_decay=config.weight_decay,
                foreach=True,
            )
        case Adam():
            adam = torch.optim.AdamW if isinstance(config, AdamW) else torch.optim.Adam
            return adam(
                groups,
                betas=(config.beta1, config.beta2),
                eps=config.eps,
                weight_decay=config.weight_decay,
                fused=True,
            )


def _orthogonalizable(net: nn.Module) -> list[nn.Parameter]:
    """The filters of all ordinary convolutions but the classifier.

    A depthwise filter is a row of few numbers beside rows that never meet the same input: there is nothing
    to make orthogonal.
    """
    weighted = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return [
        module.get_parameter("weight")
        for module in weighted[:-1]
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.weight.requires_grad
    ]


class OrthogonalizedFilters(torch.optim.Muon):
    """PyTorch's Muon, which takes matrices, for convolution filters `(out, in, height, width)`.

    Each filter bank is seen as the matrix `(out, height * width * in)` that lies in the same memory.
    """

    def __init__(self, filters: Sequence[nn.Parameter], config: Muon) -> None:
        self.filters = filters
        self.matrices = [nn.Parameter(_matrix(bank.detach())) for bank in filters]
        for bank, matrix in zip(filters, self.matrices, strict=True):
            if bank.data_ptr() != matrix.data_ptr():
                raise ValueError("Muon needs convolution filters in channels-last order")
        super().__init__(
            self.matrices,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            ns_steps=config.ns_steps,
        )

    def step(self) -> None:  # type: ignore[override]
        for bank, matrix in zip(self.filters, self.matrices, strict=True):
            matrix.grad = None if bank.grad is None else _matrix(bank.grad)
        super().step()  # type: ignore[no-untyped-call]


def _matrix(bank: Tensor) -> Tensor:
    return bank.permute(0, 2, 3, 1).flatten(1)


def parameter_names(optimizer: torch.optim.Optimizer, net: nn.Module) -> dict[Tensor, str]:
    """What an optimiser's parameters are called in the net that it learns."""
    names = {parameter: name for name, parameter in net.named_parameters()}
    if isinstance(optimizer, OrthogonalizedFilters):
        pairs = zip(optimizer.matrices, optimizer.filters, strict=True)
        return {matrix: names[bank] for matrix, bank in pairs}
    return {each: names[each] for group in optimizer.param_groups for each in group["params"]}


class LearningRate:
    """A schedule that is told of every step and every epoch, and acts on those it lives by.

    Every optimiser and group follows it from the learning rate of its own.
    """

    def __init__(
        self,
        config: Schedule,
        optimizers: Sequence[torch.optim.Optimizer],
        *,
        epochs: int,
        steps_per_epoch: int,
    ) -> None:
        self.optimizers = optimizers
        self.plateaus: list[lr_scheduler.ReduceLROnPlateau] = []
        self.by_epoch: list[lr_scheduler.LRScheduler] = []
        self.by_step: list[lr_scheduler.LRScheduler] = []
        num_steps = epochs * steps_per_epoch
        for optimizer in optimizers:
            match config:
                case Constant():
                    pass
                case Step():
                    self.by_epoch.append(lr_scheduler.StepLR(optimizer, config.every, config.factor))
                case Plateau():
                    self.plateaus.append(_plateau(config, optimizer))
                case OneCycle():
                    self.by_step.append(_one_cycle(config, optimizer, num_steps))
                case Cosine() | Linear():
                    share = _share(config, steps_per_epoch, num_steps)
                    self.by_step.append(lr_scheduler.LambdaLR(optimizer, share))

    @property
    def value(self) -> float:
        """The learning rate of the first optimiser's first group."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    def go_to(self, steps: int, accuracies: Sequence[float]) -> None:
        """Set all rates to what they are after so many steps, and after epochs of these accuracies.

        A schedule is told again what it was told: the epochs one by one, since they multiply the rates. Of
        the steps the last is enough, since those schedules are functions of their number.
        """
        if steps:
            for scheduler in self.by_step:
                scheduler.last_epoch = steps - 1
                # PyTorch warns of a first step before the optimiser's, which was taken long ago.
                scheduler._step_count = steps + 1  # noqa: SLF001
                scheduler.step()
        for accuracy in accuracies:
            for scheduler in self.by_epoch:
                scheduler._step_count += 1  # noqa: SLF001
            self.epoch_done(accuracy)

    def step_done(self) -> None:
        for scheduler in self.by_step:
            scheduler.step()

    def epoch_done(self, accuracy: float) -> None:
        """`accuracy` is the one that a plateau schedule monitors; the others ignore it."""
        for scheduler in self.by_epoch:
            scheduler.step()
        for plateau in self.plateaus:
            plateau.step(accuracy)


def _plateau(config: Plateau, optimizer: torch.optim.Optimizer) -> lr_scheduler.ReduceLROnPlateau:
    # PyTorch's patience counts the epochs that are forgiven; ours the one that is not, too.
    return lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=config.factor, patience=config.patience - 1, threshold=0.0
    )


def _one_cycle(config: OneCycle, optimizer: torch.optim.Optimizer, num_steps: int) -> lr_scheduler.OneCycleLR:
    """Smith and Topin, "Super-Convergence", arXiv 1708.07120."""
    return lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=num_steps,
        pct_start=config.warmup,
        div_factor=1 / config.start_factor,
        final_div_factor=1 / config.end_factor,
        cycle_momentum=False,
    )


def _share(config: Cosine | Linear, steps_per_epoch: int, num_steps: int) -> Callable[[int], float]:
    warmup = round(config.warmup_epochs * steps_per_epoch)
    return lambda step: ramp(config, step, warmup, num_steps)


def ramp(config: Cosine | Linear, step: int, warmup: int, num_steps: int) -> float:
    """The share of the peak learning rate at a step: a linear rise, then a half cosine or a line down.

    The cosine is that of Loshchilov and Hutter, arXiv 1608.03983.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min((step - warmup) / max(num_steps - warmup, 1), 1.0)
    left = (1 + math.cos(math.pi * progress)) / 2 if isinstance(config, Cosine) else 1 - progress
    return config.end_factor + (1 - config.end_factor) * left
