"""Weights are finite numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError
from convsmith.text import first_lines, one_line, plural

_MAX_LISTED = 5


def check_finite(net: nn.Module, own: Mapping[str, Tensor], new: Mapping[str, Tensor], where: str) -> None:
    """Check numbers before they are loaded into a net.

    Args:
        net: The net.
        own: Its tensors, by name.
        new: Those that shall take the place of some, by the same names.
        where: The file or the name that they are from.

    Raises:
        ModuleError: A number is not finite. A buffer, such as a mask, may be infinite if it is so already.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> check_finite(net, net.state_dict(), {"bias": torch.tensor([float("nan")])}, "net.pth")
        Traceback (most recent call last):
        convsmith.errors.ModuleError: error[E022]: net.pth: numbers that are not finite in 1 tensor
          bias: 1 of 1
          fix: the training diverged, or the file is damaged: use an earlier checkpoint
    """
    parameters = dict(net.named_parameters(remove_duplicate=False))
    wrong = [
        f"{one_line(name)}: {count:,} of {tensor.numel():,}"
        for name, tensor in new.items()
        if (count := int((~torch.isfinite(tensor)).sum()))
        and (name in parameters or not torch.equal(tensor, own[name]))
    ]
    if wrong:
        raise ModuleError(
            f"numbers that are not finite in {plural(len(wrong), 'tensor')}",
            where=where,
            context="\n".join(first_lines(wrong, _MAX_LISTED)),
            fix="the training diverged, or the file is damaged: use an earlier checkpoint",
        )
