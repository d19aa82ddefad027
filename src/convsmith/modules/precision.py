"""Weights of a user's module in single precision."""

import torch
from torch import nn

from convsmith.tracing.members import named_buffers, named_parameters


def other_precisions(module: nn.Module) -> tuple[str, ...]:
    """Return the types of real weights and buffers that are not of single precision.

    Example:
        >>> other_precisions(nn.Linear(2, 2).half()), other_precisions(nn.Linear(2, 2))
        (('float16',), ())
    """
    tensors = (*named_parameters(module).values(), *named_buffers(module).values())
    types = {each.dtype for each in tensors if each.is_floating_point()} - {torch.float32}
    return tuple(sorted(str(each).removeprefix("torch.") for each in types))


def use_single_precision(module: nn.Module) -> None:
    """Convert all real weights and buffers, in place.

    In half precision, small steps of weights are rounded to zero. A training keeps its weights in single
    precision, and `train.precision` chooses the type in which a pass computes.
    """
    if other_precisions(module):
        module.float()


def precision_notes(module: nn.Module) -> tuple[str, ...]:
    """Return what a user should know about the precision of a module as its code creates it."""
    types = other_precisions(module)
    if not types:
        return ()
    created = f"its code creates weights of {' and '.join(types)}"
    return (f"{created}, which are float32 here: train.precision chooses the type in which a pass computes",)
