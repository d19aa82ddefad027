"""PyTorch's Muon, applied to convolution filters."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class FilterMuon(torch.optim.Muon):
    """PyTorch's Muon, which takes matrices, for convolution filters `(out, in, height, width)`.

    Each filter bank is viewed as the matrix `(out, height * width * in)` in the same memory.

    Args:
        filters: In channels-last order.
        options: Keyword arguments of `torch.optim.Muon`.
    """

    def __init__(self, filters: Sequence[nn.Parameter], **options: Any) -> None:
        self.filters = filters
        self.matrices = [nn.Parameter(_matrix(bank.detach())) for bank in filters]
        for bank, matrix in zip(filters, self.matrices, strict=True):
            if bank.data_ptr() != matrix.data_ptr():
                raise ValueError("Muon needs convolution filters in channels-last order")
        super().__init__(self.matrices, **options)

    def step(self) -> None:  # type: ignore[override]
        for bank, matrix in zip(self.filters, self.matrices, strict=True):
            matrix.grad = None if bank.grad is None else _matrix(bank.grad)
        super().step()  # type: ignore[no-untyped-call]


def orthogonalizable_filters(net: nn.Module) -> list[nn.Parameter]:
    """Return the filters of all convolutions except depthwise and grouped ones and the classifier.

    A depthwise filter is a short row, and no two rows share an input: there is nothing to orthogonalize.
    """
    weighted = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return [
        module.get_parameter("weight")
        for module in weighted[:-1]
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.weight.requires_grad
    ]


def _matrix(bank: Tensor) -> Tensor:
    return bank.permute(0, 2, 3, 1).flatten(1)
