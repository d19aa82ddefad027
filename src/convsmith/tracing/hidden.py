"""Tensors that a forward pass computes with and that are neither parameters nor buffers.

Their values are part of the net, but `parameters()` and `state_dict()` do not return them: plain attributes,
lists and dictionaries, globals of the file, closures, default arguments, and constants that `forward` makes
from numbers in its text or from a fixed seed.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from convsmith.net.rows import HiddenTensor, Location
from convsmith.tracing.calls import Call
from convsmith.tracing.members import Members, named_modules, named_parameters
from convsmith.tracing.values import memory_of

# Operators that draw random values.
_RANDOM = {
    "rand", "randn", "randint", "normal", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli",
    "uniform", "random", "exponential", "log_normal", "cauchy", "geometric", "multinomial", "poisson",
}  # fmt: skip
# Set before a pass, so that a seed that the pass sets shows.
SEED = 0x5EED_C0DE
# Returns the user's line that runs.
Locator = Callable[[], Location | None]
_STORES = {"_modules", "_parameters", "_buffers"}
_DEPTH = 4
_MOST_OBJECTS = 5000


class HiddenTensors:
    """Follows the tensors of a forward pass that are from nowhere: no member of the net, and not computed."""

    def __init__(self, module: nn.Module, members: Members) -> None:
        self._module = module
        self._members = members
        # By the id of a root: the tensor, and the first line that uses it.
        self._roots: dict[int, tuple[Tensor, Location | None]] = {}
        # The roots that a constant was computed from, by its id.
        self._from: dict[int, frozenset[int]] = {}
        self._computed: set[int] = set()
        self._used: dict[int, None] = {}

    def note_inputs(self, call: Call, location: Locator) -> frozenset[int]:
        """Return the roots of a call's constant inputs."""
        roots: frozenset[int] = frozenset()
        for tensor in call.tensors:
            if id(tensor) in self._from:
                roots |= self._from[id(tensor)]
            elif id(tensor) not in self._computed and self._is_root(tensor):
                if id(tensor) not in self._roots:
                    self._roots[id(tensor)] = (tensor, location())
                roots |= {id(tensor)}
        return roots

    def compute(self, call: Call, location: Locator) -> None:
        """Follow a call that does not depend on the image."""
        roots = self.note_inputs(call, location)
        for output in call.outputs:
            self._computed.add(id(output))
            self._from.pop(id(output), None)
            if call.name in _RANDOM and _is_fixed(call):
                self._roots[id(output)] = (output, location())
                roots |= {id(output)}
            if roots:
                self._from[id(output)] = roots

    def use(self, call: Call, location: Locator) -> None:
        """Note the constants that a call combines with the image."""
        self._used |= dict.fromkeys(sorted(self.note_inputs(call, location)))

    def _is_root(self, tensor: Tensor) -> bool:
        if isinstance(tensor, FakeTensor | nn.Parameter) or tensor.is_meta or tensor.numel() < 2:
            return False
        return tensor.layout == torch.strided and memory_of(tensor) not in self._known

    @cached_property
    def _known(self) -> set[int]:
        """The memory of the parameters and buffers."""
        members = self._members
        held = [each for _, each in (*members.parameters.values(), *members.unregistered.values())]
        return {memory_of(each) for each in (*held, *members.buffers) if each.layout == torch.strided}

    def tensors(self) -> Iterator[HiddenTensor]:
        """Yield the hidden tensors that the outputs were computed with, the largest first."""
        roots = [self._roots[key] for key in self._used]
        names = names_of(self._module, [tensor for tensor, _ in roots])
        seen: set[int] = set()
        tensors = []
        for tensor, location in roots:
            key = address_of(tensor)
            if key not in seen:
                seen.add(key)
                size = "x".join(map(str, tensor.shape))
                name = names.get(key) or f"a constant of {size}"
                tensors.append(HiddenTensor(name=name, size=tensor.numel(), location=location))
        yield from sorted(tensors, key=lambda each: -each.size)


def _is_fixed(call: Call) -> bool:
    """Whether a random tensor is the same each time: its generator, or the seed, is set in the pass."""
    return call.values.get("generator") is not None or torch.initial_seed() != SEED


def address_of(tensor: Tensor) -> int:
    """Return the address of a tensor's values; that of its object if it has none."""
    return id(tensor) if isinstance(tensor, FakeTensor) else tensor.data_ptr()


def names_of(module: nn.Module, tensors: Iterable[Tensor]) -> dict[int, str]:
    """Return the names of tensors by their address, as far as attributes, globals and closures hold them."""
    wanted = {each.data_ptr() for each in tensors if not isinstance(each, FakeTensor)}
    names: dict[int, str] = {}
    if not wanted:
        return names
    search = _Search(wanted, names)
    for path, child in named_modules(module).items():
        if isinstance(child, torch.jit.ScriptModule):
            continue
        for name, value in vars(child).items():
            if name not in _STORES:
                search.look(value, ".".join(filter(None, (path, name))), _DEPTH)
    for kind in {type(child): None for child in named_modules(module).values()}:
        for each in kind.__mro__:
            if each.__module__.partition(".")[0] not in {"torch", "builtins"}:
                for name, value in vars(each).items():
                    search.look(value, f"{each.__name__}.{name}", _DEPTH)
    return names


class _Search:
    """Looks for tensors and arrays in values, and in what functions refer to."""

    def __init__(self, wanted: set[int], names: dict[int, str]) -> None:
        self.wanted, self.names = wanted, names
        self.seen: set[int] = set()

    def look(self, value: Any, name: str, depth: int) -> None:
        if isinstance(value, Tensor | np.ndarray):
            self._tensor(value, name)
            return
        if id(value) in self.seen or len(self.seen) > _MOST_OBJECTS or not depth:
            return
        self.seen.add(id(value))
        for part, each in _parts(value, name):
            self.look(each, part, depth - 1)

    def _tensor(self, value: Tensor | np.ndarray, name: str) -> None:
        if isinstance(value, np.ndarray):
            address = int(value.__array_interface__["data"][0])
        elif isinstance(value, FakeTensor) or value.is_meta or value.layout != torch.strided:
            return
        else:
            address = value.data_ptr()
        if address in self.wanted:
            self.names.setdefault(address, name)


def _parts(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what a value holds or refers to, with names."""
    if isinstance(value, Mapping):
        yield from ((f"{name}[{key!r}]", each) for key, each in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"{name}[{index}]", each) for index, each in enumerate(value))
    elif isinstance(value, nn.Module):
        yield from ((f"{name}.{path}", each) for path, each in named_parameters(value).items())
        yield from ((f"{name}.{key}", each) for key, each in vars(value).items() if key not in _STORES)
    elif isinstance(value, partial):
        yield from ((name, each) for each in (value.func, value.args))
        yield from ((f"{name}({key})", each) for key, each in value.keywords.items())
    elif isinstance(value, staticmethod | classmethod | MethodType):
        yield name, value.__func__
    elif isinstance(value, FunctionType):
        yield from _referred(inspect.unwrap(value), name)
    elif not isinstance(value, ModuleType | type) and hasattr(value, "__dict__"):
        yield from ((f"{name}.{key}", each) for key, each in vars(value).items())


def _referred(function: FunctionType, name: str) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    if (function.__module__ or "").partition(".")[0] in {"torch", "numpy"}:
        return
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield variable, cell.cell_contents
        except ValueError:  # A variable without a value.
            continue
    defaults = function.__defaults__ or ()
    arguments = code.co_varnames[: code.co_argcount]
    for argument, value in zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True):
        yield f"{name}({argument})", value
    for argument, value in (function.__kwdefaults__ or {}).items():
        yield f"{name}({argument})", value
    for variable in dict.fromkeys(_globals(code)):
        if variable in function.__globals__:
            yield variable, function.__globals__[variable]


def _globals(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _globals(each)
