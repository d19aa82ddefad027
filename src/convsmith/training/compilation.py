"""Compilation of nets with `torch.compile`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from convsmith.errors import RecipeError


def compiled_nets(nets: Sequence[nn.Module]) -> list[nn.Module]:
    """Return nets that are compiled for each input shape on its first use; they share the compiled code.

    Earlier compilations of this process are discarded: PyTorch has one cache limit for all nets of a class,
    and runs those beyond it uncompiled.
    """
    torch.compiler.reset()
    # There are few shapes, and code for dynamic shapes is slower.
    return [torch.compile(net, dynamic=False) for net in nets]  # type: ignore[misc]


@contextmanager
def compilation_errors() -> Iterator[None]:
    """Replace PyTorch's errors about a failed compilation.

    Raises:
        RecipeError: A net cannot be compiled, for example because a C++ compiler or Triton is missing.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
        raise RecipeError(
            f"PyTorch cannot compile the net here: {reason}",
            where="train.compile",
            fix="to train without compilation: train.compile=false",
        ) from error
