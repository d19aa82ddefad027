"""Whether the code of a submission has changed convsmith or PyTorch in the process that judges it.

Both share a process, so this is no protection: code that changes everything back is not noticed. It
makes the usual ways of faking a verdict visible.
"""

import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

_PACKAGE = "convsmith"


class Integrity:
    """The functions of convsmith, and those of PyTorch that a judgement relies on, at a moment.

    Example:
        >>> import convsmith.text
        >>> integrity = Integrity()
        >>> integrity.changes()
        []
        >>> original, convsmith.text.plural = convsmith.text.plural, lambda count, noun: "many"
        >>> integrity.changes()
        ['convsmith.text.plural']
        >>> convsmith.text.plural = original
    """

    def __init__(self) -> None:
        self._before = dict(_functions())
        self._hooks = (sys.gettrace(), sys.getprofile())

    def changes(self) -> list[str]:
        """Return the names of the functions that are no longer what they were, sorted."""
        now = dict(_functions())
        changed = [
            name
            for name, (function, code) in self._before.items()
            if name not in now or now[name][0] is not function or now[name][1] is not code
        ]
        hooks = zip(("sys.settrace", "sys.setprofile"), self._hooks, strict=True)
        current = (sys.gettrace(), sys.getprofile())
        changed += [name for (name, before), after in zip(hooks, current, strict=True) if after is not before]
        return sorted(changed)


def _functions() -> Iterator[tuple[str, tuple[object, object]]]:
    """Yield names, functions and their code objects."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == _PACKAGE and isinstance(module, ModuleType):
            yield from _members(name, vars(module), name)
    torch = sys.modules.get("torch")
    if torch is not None:
        for name, owner in (
            ("torch.nn.Module", torch.nn.Module),
            ("torch.Tensor", torch.Tensor),
            ("torch.nn.Parameter", torch.nn.Parameter),
            ("torch.nn.functional", torch.nn.functional),
        ):
            yield from _members(name, vars(owner), "")


def _members(place: str, names: Any, module: str) -> Iterator[tuple[str, tuple[object, object]]]:
    for name, each in list(names.items()):
        value = each.__func__ if isinstance(each, staticmethod | classmethod) else each
        value = value.fget if isinstance(value, property) else value
        if isinstance(value, FunctionType):
            yield f"{place}.{name}", (value, value.__code__)
        elif isinstance(value, type) and module and value.__module__ == module:
            # Without the names that a package imports from its modules: they are there.
            yield from _members(f"{place}.{name}", vars(value), "")
