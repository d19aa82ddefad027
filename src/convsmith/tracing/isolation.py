"""Run a copy of a module without side effects on the module or the process."""

import copy
import inspect
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError
from convsmith.net.rows import Shape


def check_signature(module: nn.Module) -> None:
    """Raise a `ModuleError` if `forward` cannot be called with images alone."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind in (*positional, each.KEYWORD_ONLY)
    ]
    variadic = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    takes_one = variadic or any(each.kind in positional for each in parameters)
    if len(needed) > 1 or not takes_one:
        names = ", ".join(each.name for each in parameters) or "nothing"
        raise ModuleError(
            f"forward takes {names}, expected one batch of images",
            where=type(module).__name__,
            fix="wrap it in a module whose forward takes only the images",
        )


def initialize_lazy_layers(module: nn.Module, input_shape: Shape) -> None:
    """Initialise lazy layers, which take their width from their first input, with an image of zeros."""
    if any(nn.parameter.is_lazy(each) for each in (*module.parameters(), *module.buffers())):
        with preserved_state(), torch.no_grad():
            module(torch.zeros(1, *input_shape))


def copy_module(module: nn.Module) -> nn.Module:
    """Return a deep copy.

    Raises:
        ModuleError: The module cannot be copied.
    """
    memo: dict[int, Any] = {}
    for child in module.modules():
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


@contextmanager
def preserved_state() -> Iterator[None]:
    """Restore the process-wide state: random states, PyTorch's failure logs, fast attention."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    # Fused attention hides its parts.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    python, numbers, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        logger.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(value=fast_path)
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)
