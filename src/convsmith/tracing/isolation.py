"""Run a module without side effects on the process."""

import logging
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from convsmith.tracing.arguments import Arguments
from convsmith.tracing.members import first_weight, named_buffers, named_parameters


def initialize_lazy_layers(module: nn.Module, arguments: Arguments) -> None:
    """Initialise lazy layers, which take their width from their first input, with an image of zeros."""
    members = (*named_parameters(module).values(), *named_buffers(module).values())
    if any(map(nn.parameter.is_lazy, members)):
        inputs = arguments.zeros(first_weight(module).device)
        with preserved_state(), torch.no_grad():
            module(*inputs.args, **inputs.kwargs)


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
