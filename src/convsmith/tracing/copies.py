"""A deep copy of a module, and of the functions that refer to its members.

`copy.deepcopy` keeps functions as they are: a lambda in an attribute or a hook would use the layers of the
original.
"""

import copy
from collections.abc import Callable, Iterable
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError
from convsmith.tracing.arguments import tensors_of
from convsmith.tracing.members import named_modules

# Attributes are searched to this depth for functions.
_DEPTH = 4


def copy_module(module: nn.Module, *, shared: Iterable[Tensor] = ()) -> nn.Module:
    """Return a deep copy.

    Args:
        module: It is unchanged.
        shared: Tensors of the module that the copy has too, such as its parameters.

    Raises:
        ModuleError: The module cannot be copied.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> net.forward = lambda x, first=net[0]: first(x)
        >>> copied = copy_module(net)
        >>> copied.forward.__defaults__[0] is copied[0]
        True
    """
    memo: dict[int, Any] = {}
    for child in named_modules(module).values():
        memo |= {id(each): _copy_tensor(each) for each in tensors_of(vars(child)) if _is_special(each)}
        # PyTorch does not copy random generators.
        generators = (each for each in vars(child).values() if isinstance(each, torch.Generator))
        memo |= {id(each): each.clone_state() for each in generators}
    memo |= {id(each): each for each in shared}
    try:
        copied = copy.deepcopy(module, memo)
        # A compiled layer renews its functions itself.
        memo |= {id(child): child for child in named_modules(copied).values()}
        for child in named_modules(copied).values():
            vars(child).update({name: _rebind(value, memo) for name, value in vars(child).items()})
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModuleError(
            f"cannot be copied: {type(error).__name__}: {reason}",
            where=type(module).__name__,
            fix="keep locks, files and the like out of the module, or define __deepcopy__",
        ) from error
    return copied


def _is_special(tensor: Tensor) -> bool:
    """Whether PyTorch does not copy a tensor: results of operations, and buffers of lazy layers."""
    return not tensor.is_leaf or isinstance(tensor, nn.UninitializedBuffer)


def _copy_tensor(tensor: Tensor) -> Tensor:
    if isinstance(tensor, nn.UninitializedBuffer):
        # PyTorch's type stub has no arguments.
        return nn.UninitializedBuffer(device=tensor.device, dtype=tensor.dtype)  # type: ignore[call-arg]
    return tensor.detach().clone()


def _rebind(value: Any, memo: dict[int, Any], depth: int = _DEPTH) -> Any:
    """Return a value with functions that refer to the copy; containers keep their identity."""
    if isinstance(value, FunctionType):
        return _rebind_function(value, memo)
    if depth and isinstance(value, list):
        value[:] = [_rebind(each, memo, depth - 1) for each in value]
    elif depth and isinstance(value, dict):
        value.update({key: _rebind(each, memo, depth - 1) for key, each in value.items()})
    elif depth and type(value) is tuple:
        return tuple(_rebind(each, memo, depth - 1) for each in value)
    return value


def _rebind_function(function: FunctionType, memo: dict[int, Any]) -> Callable[..., Any]:
    """Return a function whose closure and defaults refer to the copy; the same one without either."""
    if id(function) in memo:
        return memo[id(function)]  # type: ignore[no-any-return]
    memo[id(function)] = function
    cells = tuple(_rebind_cell(cell, memo) for cell in function.__closure__ or ())
    defaults = tuple(_copied(each, memo) for each in function.__defaults__ or ())
    same = all(a is b for a, b in zip(cells, function.__closure__ or (), strict=True))
    same = same and all(a is b for a, b in zip(defaults, function.__defaults__ or (), strict=True))
    if same and not function.__kwdefaults__:
        return function
    renewed = FunctionType(function.__code__, function.__globals__, function.__name__, defaults, cells)
    if function.__kwdefaults__:
        renewed.__kwdefaults__ = {name: _copied(each, memo) for name, each in function.__kwdefaults__.items()}
    renewed.__dict__.update(function.__dict__)
    memo[id(function)] = renewed
    return renewed


def _rebind_cell(cell: CellType, memo: dict[int, Any]) -> CellType:
    try:
        content = cell.cell_contents
    except ValueError:  # A variable without a value.
        return cell
    copied = _copied(content, memo)
    if copied is content:
        return cell
    if id(cell) not in memo:
        memo[id(cell)] = CellType(copied)
    return memo[id(cell)]  # type: ignore[no-any-return]


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    if isinstance(value, FunctionType):
        return _rebind_function(value, memo)
    if id(value) in memo or isinstance(value, nn.Module | Tensor | list | dict):
        return copy.deepcopy(value, memo)
    return value
