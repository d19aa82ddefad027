"""What a pickle would do, found without doing it: its classes, functions, and the storages of its tensors.

`torch.load(weights_only=True)` runs no code of a file, but a file can still end the process: Python hashes
tuples that are nested a million times by recursion in C. So the opcodes are followed first, on a stack of
plain values. Only the opcodes are known that PyTorch's own reader knows.
"""

import _compat_pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

# In bytes; a net of 1,000 layers with the state of its optimizer takes 1 MB.
MAX_PICKLE = 2**25
# Of tuples. Size counts what is in inner tuples too, each time that it is.
_MAX_DEPTH, _MAX_SIZE = 100, 1_000_000

# Bytes per element of the storages of PyTorch, by name.
_ITEM_SIZES = {
    **dict.fromkeys(("Byte", "Char", "Bool", "QInt8", "QUInt8", "Untyped"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}


class PickleError(ValueError):
    """A pickle cannot hold weights; the message states why."""


@dataclass(frozen=True)
class _Name:
    """A class or function, by its full name."""

    text: str


@dataclass(frozen=True)
class _Tuple:
    """A tuple with its depth, and its size with that of inner tuples."""

    items: tuple[Any, ...]
    depth: int
    size: int

    @classmethod
    def of(cls, items: tuple[Any, ...]) -> "_Tuple":
        inner = [each for each in items if isinstance(each, _Tuple | _Object)]
        depth = 1 + max((each.depth for each in inner), default=0)
        size = 1 + len(items) + sum(each.size for each in inner)
        if depth > _MAX_DEPTH or size > _MAX_SIZE:
            raise PickleError("a tuple that is nested too deeply, or too large")
        return cls(items=items, depth=depth, size=size)


@dataclass(frozen=True)
class _Object:
    """Anything else. A `torch.Size` can hold tuples, so that it has the depth and size of its arguments."""

    depth: int = 0
    size: int = 0


_OTHER = _Object()


@dataclass
class PickleContent:
    """What a pickle names.

    Attributes:
        names: Full names of its classes and functions, as `argparse.Namespace`.
        mappings: Those whose objects are filled like a dict.
        storages: Size of each storage in bytes, by its key.
        modules: Classes of modules, outer ones first, which the old format pickles with their source text.
    """

    names: set[str] = field(default_factory=set)
    mappings: set[str] = field(default_factory=set)
    storages: dict[str, int] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)


def read_pickle(file: BytesIO) -> PickleContent:
    """Follow a pickle, and leave the position of the file behind it.

    Raises:
        PickleError: It is damaged, has opcodes that no weights need, or is too large or nested too deeply.

    Example:
        >>> import argparse, pickle
        >>> content = pickle.dumps({"args": argparse.Namespace(lr=0.1)}, protocol=2)
        >>> sorted(read_pickle(BytesIO(content)).names)
        ['argparse.Namespace']
    """
    machine = _Machine()
    start = file.tell()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument, file.tell() - start)
    except PickleError:
        raise
    # pickletools and the machine raise nearly any exception for a damaged pickle.
    except Exception as error:
        raise PickleError(f"damaged: {type(error).__name__}: {error}") from error
    return machine.content


class _Machine:
    """The stack and the memo of an unpickler, with values that do nothing."""

    def __init__(self) -> None:
        self.content = PickleContent()
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        # The class that made an object, by the object's identity.
        self._classes: dict[int, tuple[_Object, str]] = {}

    def step(self, name: str, argument: Any, size: int) -> None:
        """Take an opcode, the last of so many bytes."""
        if size > MAX_PICKLE:
            raise PickleError(f"more than {MAX_PICKLE:,} bytes without the end of the pickle")
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self._stack.append(argument)
        elif (action := _ACTIONS.get(name)) is not None:
            action(self, argument)
        elif name not in {"PROTO", "STOP"}:
            raise PickleError(f"the opcode {name}, which PyTorch's reader of weights does not know")

    def push_name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        # Names of Python 2, as PyTorch's reader maps them.
        if (module, name) in _compat_pickle.NAME_MAPPING:
            module, name = _compat_pickle.NAME_MAPPING[module, name]
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        self.content.names.add(f"{module}.{name}")
        self._stack.append(_Name(f"{module}.{name}"))

    def push_mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def make_tuple(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(_Tuple.of(tuple(items)))

    def make_short_tuple(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) < count:
            raise PickleError("damaged: the stack is empty")
        del self._stack[-count:]
        self._stack.append(_Tuple.of(items))

    def create(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        inside = arguments if isinstance(arguments, _Tuple | _Object) else _OTHER
        made = _Object(depth=inside.depth, size=inside.size)
        if isinstance(function, _Name):
            self._classes[id(made)] = (made, function.text)
        self._stack.append(made)

    def set_items(self, _: Any) -> None:
        self._pop_mark()
        self._fill()

    def set_item(self, _: Any) -> None:
        self._stack.pop()
        self._stack.pop()
        self._fill()

    def _fill(self) -> None:
        _, name = self._classes.get(id(self._stack[-1]), (None, ""))
        if name:
            self.content.mappings.add(name)

    def drop(self, _: Any) -> None:
        self._stack.pop()

    def drop_items(self, _: Any) -> None:
        self._pop_mark()

    def put(self, argument: int) -> None:
        self._memo[argument] = self._stack[-1]

    def get(self, argument: int) -> None:
        self._stack.append(self._memo[argument])

    def push_storage(self, _: Any) -> None:
        reference = self._stack.pop()
        match reference.items if isinstance(reference, _Tuple) else ():
            case ("storage", _Name(text=kind), key, _, int(count), *_):
                self.content.storages[str(key)] = _item_size(kind) * count
            case ("module", _Name(text=kind), *_):
                self.content.modules.append(kind)
            case _:
                raise PickleError("a reference that is not to a tensor's numbers")
        self._stack.append(_OTHER)


def _item_size(kind: str) -> int:
    name = kind.rpartition(".")[2].removesuffix("Storage")
    if not kind.startswith("torch.") or name not in _ITEM_SIZES:
        raise PickleError(f"a storage of the unknown kind {kind}")
    return _ITEM_SIZES[name]


_CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": _Tuple(items=(), depth=1, size=1),
    "EMPTY_LIST": _OTHER,
    "EMPTY_DICT": _OTHER,
    "EMPTY_SET": _OTHER,
}
_LITERALS = frozenset({"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"})
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "GLOBAL": _Machine.push_name,
    "MARK": _Machine.push_mark,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": lambda machine, _: machine.make_short_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_short_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_short_tuple(3),
    "REDUCE": _Machine.create,
    "NEWOBJ": _Machine.create,
    "BUILD": _Machine.drop,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.drop,
    "APPENDS": _Machine.drop_items,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "BINPERSID": _Machine.push_storage,
}
