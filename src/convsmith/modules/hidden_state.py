"""State of a module that its `state_dict` does not hold: attributes, and buffers with `persistent=False`.

A random permutation in an attribute, for example, differs in the next instance, which loads the weights.
"""

import random
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.tracing.members import named_buffers, named_modules

# Containers are searched to this depth.
_DEPTH = 3
_USUAL = frozenset(vars(nn.Module()))


def hidden_values(module: nn.Module) -> dict[str, str | None]:
    """Return the values of plain attributes and of buffers with `persistent=False`, by path, as text.

    None stands for a value of a kind that is not compared.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> net.steps = 3
        >>> hidden_values(net)
        {'in_features': '1', 'out_features': '1', 'steps': '3'}
    """
    values = {
        ".".join(filter(None, (path, name))): _text(value)
        for path, child in named_modules(module).items()
        for name, value in vars(child).items()
        if name not in _USUAL
    }
    saved = module.state_dict().keys()
    return values | {name: _text(each) for name, each in named_buffers(module).items() if name not in saved}


def counters(module: nn.Module) -> dict[str, str | None]:
    """Return the values of attributes that are numbers or random generators, by path, as text.

    Example:
        >>> counters(nn.Linear(1, 1))
        {'in_features': '1', 'out_features': '1'}
    """
    return {
        ".".join(filter(None, (path, name))): _text(value)
        for path, child in named_modules(module).items()
        for name, value in vars(child).items()
        if name not in _USUAL and (_is_number(value) or _generator_state(value) is not None)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def differences(one: dict[str, str | None], other: dict[str, str | None]) -> list[str]:
    """Return the paths of values that differ.

    Example:
        >>> differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
        ['b', 'c']
    """
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def _text(value: Any, depth: int = _DEPTH) -> str | None:
    """Return a text that differs if the value does; None for other kinds of values."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _array_text(value)
    if (state := _generator_state(value)) is not None:
        return state
    if depth and isinstance(value, list | tuple | set | frozenset | deque):
        return repr([_text(each, depth - 1) for each in value])
    if depth and isinstance(value, dict):
        return repr({str(key): _text(each, depth - 1) for key, each in value.items()})
    return None


def _array_text(value: Tensor | np.ndarray | np.generic) -> str | None:
    if isinstance(value, Tensor):
        if value.is_meta or value.is_sparse or value.is_quantized:
            return None
        value = value.detach().cpu().resolve_conj().reshape(-1).contiguous().view(torch.uint8).numpy()
    return f"{value.shape} {hash(value.tobytes())}"


def _generator_state(value: Any) -> str | None:
    if isinstance(value, torch.Generator):
        return repr(bytes(value.get_state().numpy()))
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state(legacy=False))
    if isinstance(value, random.Random):
        return repr(value.getstate())
    return None
