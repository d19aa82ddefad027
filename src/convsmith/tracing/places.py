"""The user's lines: where an operator is called, and where a layer is made."""

import functools
import inspect
import os
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

import convsmith
from convsmith.net.rows import Location
from convsmith.tracing.members import named_modules
from convsmith.tracing.source_places import SourceDefinitions

# Returns the place of a line of a file, if it is one of the user's own.
Locate = Callable[[str, int], Location | None]

_OTHER_CODE = (
    str(Path(convsmith.__file__).parent),
    str(Path(torch.__file__).parents[1]),
    sysconfig.get_path("stdlib"),
)
_ABOVE_ALL = 200


def own_location(file: str, line: int) -> Location | None:
    """Return the place of a line, unless it is of Python, of an installed package or of no file.

    A cell of a running notebook has its execution count as its number.

    Example:
        >>> print(own_location("nets/model.py", 12), own_location("<string>", 1))
        nets/model.py:12 None
    """
    if "ipykernel_" in file or file.startswith("<ipython-input"):
        return Location(file="notebook", line=line, cell=_execution_count(file))
    if file.startswith((*_OTHER_CODE, "<")):
        return None
    return Location(file=shown_path(file), line=line)


def shown_path(file: str | Path) -> str:
    """Return a path relative to the working directory, if it is below."""
    return _relative(str(file), str(Path.cwd()))


@functools.lru_cache(maxsize=256)
def _relative(file: str, folder: str) -> str:
    try:
        return Path(os.path.realpath(file)).relative_to(os.path.realpath(folder)).as_posix()
    except ValueError:
        return file


def _execution_count(file: str) -> int:
    """Return the number of the cell that IPython compiled as a file."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return int(getattr(getattr(shell, "compile", None), "_filename_map", {}).get(file, 0))


@dataclass(kw_only=True)
class Places:
    """The places of a net's layers and calls.

    Attributes:
        locate: Which lines are the user's own.
    """

    locate: Locate = own_location
    _made: dict[int, tuple["weakref.ref[nn.Module]", Location]] = field(default_factory=dict, repr=False)
    _foreign: set[str] = field(default_factory=set, repr=False)
    _located: dict[tuple[str, int], Location | None] = field(default_factory=dict, repr=False)

    def caller(self, frame: FrameType | None, stop: FrameType | None = None) -> Location | None:
        """Return the innermost of the user's lines that called a frame, up to another frame."""
        for each in _frames(frame, stop):
            if place := self._place(each):
                return place
        return None

    def direct_calls(self, frame: FrameType | None) -> Iterator[nn.Module]:
        """Yield the layers of PyTorch whose `forward` the user calls: `self.pool.forward(x)`."""
        for each in _frames(frame, None):
            if self._place(each):
                return
            code = each.f_code
            if code.co_name == "forward" and code.co_argcount and "torch" in code.co_filename:
                layer = each.f_locals.get(code.co_varnames[0])
                if isinstance(layer, nn.Module):
                    yield layer

    def _place(self, frame: FrameType) -> Location | None:
        file = frame.f_code.co_filename
        if file in self._foreign:
            return None
        line = (file, frame.f_lineno)
        if line not in self._located:
            self._located[line] = self.locate(*line)
            if self._located[line] is None:
                self._foreign.add(file)
        return self._located[line]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note where each module is made that this thread creates in the block."""
        entry = (threading.get_ident(), self)
        with _LOCK:
            if not _RECORDING:
                # `setattr`, since a type checker takes an assigned method for a mistake.
                setattr(nn.Module, "__init__", _noting_init)  # noqa: B010
            _RECORDING.append(entry)
        try:
            yield
        finally:
            with _LOCK:
                _RECORDING.remove(entry)
                if not _RECORDING:
                    setattr(nn.Module, "__init__", _MODULE_INIT)  # noqa: B010

    def note(self, module: nn.Module, frame: FrameType | None) -> None:
        """Note the line that makes a module: that of its own constructor is none."""
        for each in _frames(frame, None):
            if not _is_constructor_of(each, module) and (place := self._place(each)):
                self._made[id(module)] = (weakref.ref(module), place)
                return

    def follow_copy(self, module: nn.Module, copied: nn.Module) -> None:
        """Take the places of a module for its copy."""
        copies = named_modules(copied)
        for path, each in named_modules(module).items():
            if path in copies and (place := self._recorded(each)):
                self._made[id(copies[path])] = (weakref.ref(copies[path]), place)

    def definitions(self, module: nn.Module) -> dict[str, Location]:
        """Return the places where the layers of a module are made, by path, as far as they are known."""
        modules = named_modules(module)
        by_source = SourceDefinitions(modules, self.locate)
        places = {path: self._recorded(each) or by_source.place(path) for path, each in modules.items()}
        return {path: place for path, place in places.items() if place is not None}

    def _recorded(self, module: nn.Module) -> Location | None:
        reference, place = self._made.get(id(module), (None, None))
        return place if reference is not None and reference() is module else None


@dataclass
class Lines:
    """The user's lines that run while a module is traced."""

    places: Places
    stop: FrameType | None

    def caller(self) -> Location | None:
        return self.places.caller(sys._getframe(1), self.stop)  # noqa: SLF001 - the only way

    def direct_calls(self) -> set[int]:
        """Return the identities of layers whose `forward` the user calls, which run no hooks."""
        return set(map(id, self.places.direct_calls(sys._getframe(1))))  # noqa: SLF001 - the only way


def _frames(frame: FrameType | None, stop: FrameType | None) -> Iterator[FrameType]:
    for _ in range(_ABOVE_ALL):
        if frame is None or frame is stop:
            return
        yield frame
        frame = frame.f_back


def _is_constructor_of(frame: FrameType, module: nn.Module) -> bool:
    code = frame.f_code
    is_init = code.co_name == "__init__" and code.co_argcount > 0
    return is_init and frame.f_locals.get(code.co_varnames[0]) is module


_LOCK = threading.Lock()
_RECORDING: list[tuple[int, Places]] = []
_MODULE_INIT = nn.Module.__init__


@functools.wraps(_MODULE_INIT)
def _noting_init(module: nn.Module, *args: Any, **kwargs: Any) -> None:
    thread, frame = threading.get_ident(), inspect.currentframe()
    for recorder, places in tuple(_RECORDING):
        if recorder == thread:
            places.note(module, frame.f_back if frame else None)
    _MODULE_INIT(module, *args, **kwargs)
