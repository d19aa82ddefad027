"""The members of a module: registered ones, unregistered ones, and those that hide methods.

Read from the dictionaries of `nn.Module`: a module may overwrite its methods, as in `self.modules = []`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

# A module and its containers are searched to this depth for unregistered layers.
_DEPTH = 4
_STORES = ("_modules", "_parameters", "_buffers")


def unwrap(module: nn.Module) -> nn.Module:
    """Return the module inside `DataParallel`, `DistributedDataParallel` and `torch.compile`."""
    while True:
        compiled = dict(_stored(module, "_modules")).get("_orig_mod")
        if isinstance(module, DataParallel | DistributedDataParallel):
            module = module.module
        elif isinstance(compiled, nn.Module):
            module = compiled
        else:
            return module


def named_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Return the registered modules by path, the module itself as "", each once."""
    found: dict[int, tuple[str, nn.Module]] = {}
    waiting = [("", module)]
    while waiting:
        path, child = waiting.pop()
        if id(child) not in found:
            found[id(child)] = (path, child)
            below = [(_join(path, name), each) for name, each in _stored(child, "_modules")]
            waiting += reversed(below)
    return dict(found.values())


def named_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the registered parameters by path, each once."""
    return _named(module, "_parameters")


def named_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return the registered buffers by path, each once."""
    return _named(module, "_buffers")


def _named(module: nn.Module, store: str) -> dict[str, Any]:
    found: dict[int, tuple[str, Any]] = {}
    for path, child in named_modules(module).items():
        for name, value in _stored(child, store):
            found.setdefault(id(value), (_join(path, name), value))
    return dict(found.values())


def _stored(module: nn.Module, store: str) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in getattr(module, store).items() if value is not None]


def _join(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part)


def unregistered(module: nn.Module) -> dict[str, nn.Module | Tensor]:
    """Return the layers and weights in plain lists, tuples, sets and dictionaries: unregistered ones.

    `parameters()` does not return their weights, so that no optimizer trains them and no file keeps them. A
    tensor that requires gradients and is no `nn.Parameter` is one of them.

    Example:
        >>> net = nn.Module()
        >>> net.layers = [nn.Conv2d(3, 8, 3)]
        >>> list(unregistered(net))
        ['layers[0]']
    """
    owners = named_modules(module)
    seen = {*map(id, owners.values()), *map(id, named_parameters(module).values())}
    found: dict[str, nn.Module | Tensor] = {}
    waiting = list(owners.items())
    while waiting:
        path, owner = waiting.pop(0)
        if isinstance(owner, torch.jit.ScriptModule):  # It keeps its layers in TorchScript.
            continue
        for name, value in vars(owner).items():
            for where, each in _learnable(value, _join(path, name), _DEPTH) if name not in _STORES else ():
                if id(each) not in seen:
                    seen.add(id(each))
                    found[where] = each
                    below = named_modules(each) if isinstance(each, nn.Module) else {}
                    seen |= set(map(id, below.values()))
                    waiting += [(_join(where, inner), child) for inner, child in below.items()]
    return found


def _learnable(value: Any, path: str, depth: int) -> Iterator[tuple[str, nn.Module | Tensor]]:
    if isinstance(value, nn.Module) or (isinstance(value, Tensor) and value.requires_grad and value.is_leaf):
        yield path, value
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for index, each in enumerate(value):
            yield from _learnable(each, f"{path}[{index}]", depth - 1)
    elif depth and isinstance(value, dict):
        for key, each in value.items():
            yield from _learnable(each, f"{path}[{key!r}]", depth - 1)


def hidden_methods(module: nn.Module) -> list[str]:
    """Return the attributes that have the name of a method of `nn.Module`, as `block.modules`.

    Example:
        >>> net = nn.Module()
        >>> net.modules = [nn.Conv2d(3, 8, 3)]
        >>> hidden_methods(net)
        ['modules']
    """
    usual = set(vars(nn.Module()))
    return [
        _join(path, name)
        for path, child in named_modules(module).items()
        if not isinstance(child, torch.jit.ScriptModule)
        for store in (vars(child), *(getattr(child, store) for store in _STORES))
        for name, value in store.items()
        if name not in usual and _hides_method(name, value)
    ]


def _hides_method(name: str, value: Any) -> bool:
    """Whether an attribute has the name of a method; a function in its place is on purpose."""
    on_purpose = callable(value) and not isinstance(value, nn.Module)
    return callable(getattr(nn.Module, name, None)) and not on_purpose


@dataclass(frozen=True, kw_only=True)
class Members:
    """The members of a module, by the identity of their objects.

    Attributes:
        paths: The path of each module, registered or not.
        parameters: Path and value of each registered parameter.
        unregistered: Path and value of each weight that `parameters()` does not return.
        buffers: All registered buffers.
        hidden: Attributes that hide methods of `nn.Module`.
    """

    paths: dict[int, str]
    parameters: dict[int, tuple[str, Tensor]]
    unregistered: dict[int, tuple[str, Tensor]]
    buffers: tuple[Tensor, ...]
    hidden: tuple[str, ...]

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        plain = unregistered(module)
        layers = {path: each for path, each in plain.items() if isinstance(each, nn.Module)}
        weights = {path: each for path, each in plain.items() if isinstance(each, Tensor)}
        paths = {id(child): path for path, child in named_modules(module).items()}
        for path, layer in layers.items():
            paths |= {id(child): _join(path, below) for below, child in named_modules(layer).items()}
            weights |= {_join(path, below): each for below, each in named_parameters(layer).items()}
        return cls(
            paths=paths,
            parameters={id(each): (path, each) for path, each in named_parameters(module).items()},
            unregistered={id(each): (path, each) for path, each in weights.items()},
            buffers=tuple(named_buffers(module).values()),
            hidden=tuple(hidden_methods(module)),
        )

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter; those of a scripted module are plain tensors."""
        return (
            isinstance(tensor, nn.Parameter)
            or id(tensor) in self.parameters
            or id(tensor) in self.unregistered
        )

    @property
    def fix(self) -> str:
        """How to mend attributes that hide methods; empty if there are none."""
        if not self.hidden:
            return ""
        names = ", ".join(self.hidden)
        return f"rename {names}: the name belongs to a method of torch.nn.Module"


def first_weight(module: nn.Module) -> Tensor:
    """Return the first weight, whose data type and device the image has."""
    members = Members.of(module)
    weights = [each for _, each in (*members.parameters.values(), *members.unregistered.values())]
    return next((each for each in weights if each.is_floating_point()), torch.empty(0))
