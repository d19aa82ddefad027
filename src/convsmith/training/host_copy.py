"""Asynchronous copies of scalars from a device."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor


class HostCopy:
    """Scalars that are copied to the CPU together, without blocking.

    On a GPU the copy is queued behind the kernels that compute the scalars and ahead of later kernels, so
    that `values` waits only for the former.

    Args:
        scalars: Tensors of one element each, on one device.

    Example:
        >>> HostCopy([torch.tensor(0.5), torch.tensor(3)]).values
        [0.5, 3.0]
    """

    def __init__(self, scalars: Sequence[Tensor]) -> None:
        stacked = torch.stack([each.float() for each in scalars])
        self._event = torch.cuda.Event() if stacked.is_cuda else None  # type: ignore[no-untyped-call]
        self._copy = stacked.to("cpu", non_blocking=stacked.is_cuda)
        if self._event is not None:
            self._event.record()

    @cached_property
    def values(self) -> list[float]:
        """The scalars; blocks until the copy is complete."""
        if self._event is not None:
            self._event.synchronize()
        values: list[float] = self._copy.tolist()
        return values
