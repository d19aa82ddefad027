"""The line of a user's file that defines a net."""

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.errors import FileError, ModuleError
from convsmith.modules.reference import file_of, parse_reference
from convsmith.net.rows import Location
from convsmith.system import reading

if TYPE_CHECKING:
    from torch import nn

_MAX_BYTES = 2**24
# As errors name a place in a file.
_PLACE = re.compile(
    r"(?P<file>[^\s,:][^,:\n]*\.(?:py|ipynb|toml))(?:, cell (?P<cell>\d+))?(?:, line |:)(?P<line>\d+)"
)


def definition_of(text: str) -> Location | None:
    """Return the line that defines the net of a reference; None if it is in no file.

    A notebook, and a net that its file imports, have line 1.

    Example:
        >>> definition_of("C16 C16 / G F10") is None
        True
    """
    if not (file := file_of(text)):
        return None
    name, line = "", 1
    try:
        name = parse_reference(text).name.partition(".")[0]
        tree = ast.parse(reading.read_text(Path(file), _MAX_BYTES))
    except (FileError, ModuleError, SyntaxError, ValueError, RecursionError, MemoryError):
        return Location(file=file, line=line)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            line = node.lineno
    return Location(file=file, line=line)


def definition_of_instance(module: "nn.Module") -> Location | None:
    """Return the line that defines the class of an instance; None if it is in no file of the user's."""
    from convsmith.tracing.places import own_location

    try:
        file, (_, line) = inspect.getfile(type(module)), inspect.getsourcelines(type(module))
    except (TypeError, OSError):
        return None
    return own_location(file, line)


def place_in(text: str) -> Location | None:
    """Return the place in a file that an error names; None if it names none.

    Example:
        >>> print(place_in("nets/model.py, line 12: no such name"), place_in("S7.ipynb, cell 3, line 5"))
        nets/model.py:12 S7.ipynb, cell 3, line 5
    """
    match = _PLACE.search(text)
    if match is None:
        return None
    return Location(file=match["file"], line=int(match["line"]), cell=int(match["cell"] or 0))
