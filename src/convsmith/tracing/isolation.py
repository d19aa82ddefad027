"""Run a copy of a module without side effects on the module or the process."""

import copy
import logging
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError
from convsmith.tracing.arguments import Arguments
from convsmith.tracing.members import first_weight, named_buffers, named_modules, named_parameters


def initialize_lazy_layers(module: nn.Module, arguments: Arguments) -> None:
    """Initialise lazy layers, which take their width from their first input, with an image of zeros."""
    members = (*named_parameters(module).values(), *named_buffers(module).values())
    if any(map(nn.parameter.is_lazy, members)):
        inputs = arguments.zeros(first_weight(module).device)
        with preserved_state(), torch.no_grad():
            module(*inputs.args, **inputs.kwargs)


def copy_module(module: nn.Module) -> nn.Module:
    """Return a deep copy.

    Raises:
        ModuleError: The module cannot be copied.
    """
    memo: dict[int, Any] = {}
    for child in named_modules(module).values():
        for value in vars(child).values():
            # PyTorch does not copy results of earlier operations and random generators.
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
            elif isinstance(value, torch.Generator):
                memo[id(value)] = value.clone_state()
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise ModuleError(
            f"cannot be copied: {type(error).__name__}: {error}",
            where=type(module).__name__,
            fix="keep locks, files and the like out of the module, or define __deepcopy__",
        ) from error


def _without_compilation() -> AbstractContextManager[None]:
    """Run compiled parts as they are written; without them, save the time to import the compiler."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def preserved_state() -> Iterator[None]:
    """Restore the state of the process: random states, failure logs, fast attention, distributions."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    # Fused attention hides its parts.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    # A distribution checks the values of its parameters, which fake tensors do not have.
    validate = torch.distributions.Distribution._validate_args  # noqa: SLF001 - has a setter only
    torch.distributions.Distribution.set_default_validate_args(value=False)
    python, numbers, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        with _without_compilation():
            yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(value=validate)
        logger.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(value=fast_path)
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)
