"""Numbers on their way from the device that computed them."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor


class Reading:
    """Some numbers, brought to the CPU all at once.

    A GPU works through a queue. The copy stands in it behind what computes the numbers and ahead of all that
    is queued later, so that whoever asks for them waits for no more than that.

    Args:
        numbers: Tensors of one element each, on one device.

    Example:
        >>> Reading([torch.tensor(0.5), torch.tensor(3)]).values
        [0.5, 3.0]
    """

    def __init__(self, numbers: Sequence[Tensor]) -> None:
        together = torch.stack([each.float() for each in numbers])
        self._arrived = torch.cuda.Event() if together.is_cuda else None  # type: ignore[no-untyped-call]
        self._numbers = together.to("cpu", non_blocking=together.is_cuda)
        if self._arrived is not None:
            self._arrived.record()

    @cached_property
    def values(self) -> list[float]:
        """The numbers, as soon as they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        values: list[float] = self._numbers.tolist()
        return values
