"""Objects that stand for those of a checkpoint's other classes; they hold nothing and do nothing.

A checkpoint holds more than weights: an `argparse.Namespace` with the options, NumPy numbers, a path.
PyTorch's reader of weights refuses each class but its own. Its list of safe classes could be extended by the
real ones, but NumPy's then run C code on a state that the file names, and others run code of any package.
Instead each name in the file is mapped to one of these classes, whose constructor and `__setstate__` ignore
their arguments.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

from convsmith.modules.pickles import PickleContent

_GETATTR = "builtins.getattr"
# PyTorch's list of safe classes is one for the process.
_LOCK = threading.Lock()


class Placeholder:
    """Stands for an object, or a class, that is not loaded.

    Attributes:
        name: The full name of the class, as in the file.
    """

    name: ClassVar[str] = ""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _Mapping(Placeholder):
    """Becomes an OrderedDict with the items in the file: a dict of any class may hold weights."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class _Attribute(Placeholder):
    """Becomes a class: an attribute of a class, such as a method, may be called."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return Placeholder


@contextmanager
def placeholders(content: PickleContent) -> Iterator[None]:
    """Let `torch.load` map every class and function that a pickle names, but its own, to a placeholder."""
    classes: list[tuple[type, str]] = [(Placeholder, f"{__name__}.Placeholder")]
    for name in content.names:
        base = _Mapping if name in content.mappings else _Attribute if name == _GETATTR else Placeholder
        classes.append((type("Placeholder", (base,), {"name": name}), name))
    with _LOCK:
        before = torch.serialization.get_safe_globals()
        # A class that the user has declared as safe would run its code.
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(list(classes))
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def placeholder_name(value: object) -> str | None:
    """Return the class that a value stands for; None for other values."""
    kind = value if isinstance(value, type) else type(value)
    return kind.name if issubclass(kind, Placeholder) else None
