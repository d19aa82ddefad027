"""Find the state_dicts in a checkpoint, and choose one."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convsmith.errors import ModuleError
from convsmith.modules.placeholders import placeholder_name
from convsmith.text import one_line, plural

Part = str | int

_MAX_DEPTH, _MAX_VISITED, _MAX_ITEMS, _MAX_LISTED = 4, 10_000, 100, 5
# Keys of what is saved beside the weights; the state of an optimizer has tensors by name too.
_NOT_WEIGHTS = re.compile(
    r"opt(im|imizers?)?(_|s?$)|.*(sched|scaler|rng|hyper_parameters)", flags=re.IGNORECASE
)
# Words in the keys of averaged weights: "state_dict_ema" (timm), "ema" (Ultralytics), "swa_state_dict".
_AVERAGES = {"ema", "swa", "averaged"}
_USUAL = {
    "state_dict", "model_state_dict", "model_state", "model", "net", "net_state_dict", "network", "module",
    "weights", "params", "state", "classifier", "backbone",
}  # fmt: skip
_SAVE = 'torch.save(net.state_dict(), "net.pth")'


@dataclass(frozen=True)
class StateDict:
    """A state_dict in a checkpoint.

    Attributes:
        path: The keys that lead to it; empty for a file that is a state_dict.
        tensors: By name.
        rest: Keys beside the tensors.
    """

    path: tuple[Part, ...]
    tensors: dict[str, Tensor]
    rest: tuple[str, ...] = ()

    @property
    def expression(self) -> str:
        """Python that leads to it, as `checkpoint['ema']['state_dict']`; empty for a plain state_dict."""
        keys = "".join(f"[{part if isinstance(part, int) else repr(one_line(part))}]" for part in self.path)
        return f"checkpoint{keys}" if keys else ""

    @property
    def selector(self) -> str:
        """What follows `#` after the file's name to choose it, as `ema.state_dict`."""
        return ".".join(map(str, self.path))

    @property
    def is_average(self) -> bool:
        """Whether it is an average of the weights of several steps."""
        words = [word for part in self.path for word in re.split(r"[^a-z]+", str(part).lower())]
        return not _AVERAGES.isdisjoint(words)

    @property
    def rank(self) -> int:
        """Averages first, as in timm and Ultralytics, then the usual names, then others."""
        if self.is_average:
            return 0
        return 1 if not self.path or _USUAL.issuperset(map(str, self.path)) else 2


def find_state_dicts(value: Any) -> list[StateDict]:
    """Return the state_dicts in an object, outer ones first.

    >>> import torch
    >>> checkpoint = {"net": {"fc.weight": torch.ones(2, 3)}, "acc": 91.5, "epoch": 3}
    >>> [found.expression for found in find_state_dicts(checkpoint)]
    ["checkpoint['net']"]
    """
    found = []
    for path, mapping in _mappings(value):
        tensors = {
            key: each for key, each in mapping.items() if isinstance(key, str) and isinstance(each, Tensor)
        }
        rest = tuple(str(key) for key in mapping if key not in tensors)
        if _is_state_dict(tensors, rest):
            found.append(StateDict(path=path, tensors=tensors, rest=rest))
    return found


def _is_state_dict(tensors: Mapping[str, Tensor], rest: Sequence[str]) -> bool:
    """Whether these are weights: not a single score, the state of a random generator, or of an optimizer."""
    if not any(tensor.is_floating_point() and tensor.dim() for tensor in tensors.values()):
        return False
    # Beside other entries, names of layers have dots.
    others = [name for name in rest if not name.endswith("_extra_state")]
    return not others or sum("." in name for name in tensors) > 1


def _mappings(value: Any) -> Iterator[tuple[tuple[Part, ...], Mapping[Any, Any]]]:
    """Yield the dicts in nested dicts and lists, breadth first, each once, optimizers left out."""
    level: list[tuple[tuple[Part, ...], Any]] = [((), value)]
    visited: set[int] = set()
    for _ in range(_MAX_DEPTH):
        following: list[tuple[tuple[Part, ...], Any]] = []
        for path, each in level:
            if id(each) in visited or len(visited) > _MAX_VISITED:
                continue
            visited.add(id(each))
            if isinstance(each, dict) and "param_groups" not in each:
                yield path, each
                following += [
                    ((*path, key), inner)
                    for key, inner in each.items()
                    if isinstance(key, str) and not _NOT_WEIGHTS.match(key)
                ]
            elif isinstance(each, list | tuple):
                following += [((*path, index), inner) for index, inner in enumerate(each[:_MAX_ITEMS])]
        level = [(path, each) for path, each in following if isinstance(each, dict | list | tuple)]


def choose(found: Sequence[StateDict], selector: str, where: str) -> tuple[StateDict, tuple[str, ...]]:
    """Choose a state_dict, and return it with notes on the choice.

    Args:
        found: As `find_state_dicts` returns them.
        selector: What follows `#` after the file's name; empty without one.
        where: The file's name, for errors.

    Raises:
        ModuleError: None or several are meant.
    """
    matching = [each for each in found if _matches(each, selector)]
    if not matching and (part := _part_of(found, selector)):
        return part, ()
    if not matching:
        raise ModuleError(
            f"nothing in the checkpoint is called {one_line(selector)!r}",
            where=where,
            fix=f"write {_selections(found, where)}",
        )
    best = [each for each in matching if each.rank == min(each.rank for each in matching)]
    if len(best) > 1:
        names = ", ".join(each.expression or "the whole" for each in best[:_MAX_LISTED])
        raise ModuleError(
            f"found {plural(len(best), 'state_dict')}: {names}",
            where=where,
            fix=f"choose one: {_selections(best, where)}",
        )
    others = [] if selector else [each for each in found if each is not best[0]]
    return best[0], _notes(best[0], others, where)


def _notes(chosen: StateDict, others: Sequence[StateDict], where: str) -> tuple[str, ...]:
    notes = []
    if others:
        kind = ", an average of the weights," if chosen.is_average else ""
        name = chosen.expression or "the outer state_dict"
        notes.append(f"{name}{kind} is used; for the others write {_selections(others, where)}")
    if chosen.rest:
        names = ", ".join(map(one_line, chosen.rest[:_MAX_LISTED]))
        more = "" if len(chosen.rest) <= _MAX_LISTED else ", ..."
        notes.append(f"not tensors, left out: {names}{more}")
    return tuple(notes)


def _matches(found: StateDict, selector: str) -> bool:
    return not selector or f".{selector}." in f".{found.selector}."


def _part_of(found: Sequence[StateDict], selector: str) -> StateDict | None:
    """Return the tensors whose names begin with a selector, such as the teacher's among those of two nets."""
    for each in sorted(found, key=lambda each: each.rank):
        start = f"{selector.removeprefix(each.selector).removeprefix('.')}."
        tensors = {
            name.removeprefix(start): tensor
            for name, tensor in each.tensors.items()
            if name.startswith(start)
        }
        if tensors:
            return StateDict(path=each.path, tensors=tensors)
    return None


def _selections(found: Sequence[StateDict], where: str) -> str:
    names = [f"{where}#{one_line(each.selector)}" if each.path else where for each in found]
    return ", ".join(names[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")


def missing(value: Any, modules: Sequence[str], where: str) -> ModuleError:
    """Return the error for an object without a state_dict."""
    pickled = [*modules] or [name for _, name in _whole_modules(value)]
    if pickled:
        place = next((StateDict(path, {}).expression for path, _ in _whole_modules(value)), "")
        loaded = f'torch.load("{where}", weights_only=False)'
        net = loaded + place.removeprefix("checkpoint")
        return ModuleError(
            f"a whole pickled object of the class {one_line(pickled[0])}, which is code, not weights",
            where=where,
            fix=f"if you trust the file, write where its packages are installed: net = {net}; {_SAVE}",
        )
    if isinstance(value, Tensor) or (
        isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value)
    ):
        what = "tensors without names"
    elif isinstance(value, dict) and "param_groups" in value:
        what = "the state of an optimizer"
    elif isinstance(value, dict):
        what = f"a dict of {', '.join(one_line(str(key)) for key in list(value)[:_MAX_LISTED]) or 'nothing'}"
    else:
        what = f"an object of the type {type(value).__name__}"
    return ModuleError(
        f"no state_dict: found {what}", where=where, fix=f"write {_SAVE} where the net was trained"
    )


def _whole_modules(value: Any) -> Iterator[tuple[tuple[Part, ...], str]]:
    """Yield the placeholders at the top of an object or under the keys of its dict, the usual ones first."""
    if name := placeholder_name(value):
        yield (), name
    for path, mapping in _mappings(value):
        usual = sorted(mapping.items(), key=lambda item: str(item[0]) not in _USUAL | _AVERAGES)
        for key, each in usual:
            if isinstance(key, str) and str(key) in _USUAL | _AVERAGES and (name := placeholder_name(each)):
                yield (*path, key), name
