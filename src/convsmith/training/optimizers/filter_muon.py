"""PyTorch's Muon, applied to convolution filters."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsmith.system.memory_format import is_channels_last
from convsmith.training.classifier_layer import hidden_layers


class FilterMuon(torch.optim.Muon):
    """PyTorch's Muon, which takes matrices, for convolution filters `(out, in, height, width)`.

    Each filter bank is viewed as the matrix `(out, height * width * in)` in the same memory.

    Args:
        groups: Groups of filters with their learning rates; the channels first or last in memory.
        options: Keyword arguments of `torch.optim.Muon`.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], **options: Any) -> None:
        self.filters: list[nn.Parameter] = [bank for group in groups for bank in group["params"]]
        self.matrices = [nn.Parameter(_matrix(bank.detach(), bank)) for bank in self.filters]
        for bank, matrix in zip(self.filters, self.matrices, strict=True):
            if bank.data_ptr() != matrix.data_ptr():
                raise ValueError("Muon needs dense convolution filters")
        matrices = iter(self.matrices)
        super().__init__(
            [{**group, "params": [next(matrices) for _ in group["params"]]} for group in groups], **options
        )

    def step(self) -> None:  # type: ignore[override]
        for bank, matrix in zip(self.filters, self.matrices, strict=True):
            matrix.grad = None if bank.grad is None else _matrix(bank.grad, bank)
        super().step()  # type: ignore[no-untyped-call]


def orthogonalizable_filters(net: nn.Module, classifier: nn.Module | None = None) -> list[nn.Parameter]:
    """Return the filters of all convolutions except depthwise and grouped ones and the classifier, each once.

    A depthwise filter is a short row, and no two rows share an input: there is nothing to orthogonalize.
    """
    filters = [
        _learned_weight(layer)
        for layer in hidden_layers(net, classifier)
        if isinstance(layer, nn.Conv2d) and layer.groups == 1
    ]
    trainable = [each for each in filters if each is not None and each.requires_grad]
    return list({id(each): each for each in trainable}.values())


def _learned_weight(layer: nn.Conv2d) -> nn.Parameter | None:
    """Return the parameter that a layer learns as its weight; None if it is computed from several."""
    if parametrize.is_parametrized(layer, "weight"):
        return dict(layer.get_submodule("parametrizations.weight").named_parameters()).get("original")
    return dict(layer.named_parameters(recurse=False)).get("weight")


def _matrix(bank: Tensor, like: Tensor) -> Tensor:
    """Return the rows of a filter bank, their columns in the order of another bank in memory."""
    return bank.permute(0, 2, 3, 1).flatten(1) if is_channels_last(like) else bank.flatten(1)
