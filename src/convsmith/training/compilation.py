"""Steps compiled by `torch.compile` before the training's clock runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from convsmith.errors import RecipeError


def compiled_nets(nets: Sequence[nn.Module]) -> list[nn.Module]:
    """Nets that are compiled when they are first called, once for each shape; they share what is made.

    What was compiled in this process before is forgotten: PyTorch holds all nets of a class against one
    limit, and leaves what exceeds it uncompiled.
    """
    torch.compiler.reset()
    # Only a few shapes ever come. Code that takes any would be slower.
    return [torch.compile(net, dynamic=False) for net in nets]  # type: ignore[misc]


@contextmanager
def compilation_errors() -> Iterator[None]:
    """Say what is to be done where the block cannot compile a net.

    Raises:
        RecipeError: In place of what PyTorch raises then, as where there is no C++ compiler or no Triton.
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
            fix="train.compile=false trains without",
        ) from error
