"""Names of modules: `model.py:Net(width=32)`, `S7.ipynb:Net#1`, `timm.models.resnet:resnet18()`."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convsmith.errors import ModuleError

_FILE = re.compile(r"(?P<place>.*?\.(?:py|ipynb))(?::(?P<call>.*))?", re.DOTALL)
# A letter of the notation is a capital, and a function of a package without a dot needs its parentheses:
# `C16:s2` is a net, `timm:create_model('resnet18')` a reference.
_PACKAGE = re.compile(
    r"(?P<place>[^\W\d]\w*(?:\.[^\W\d]\w*)+):(?P<call>[^\W\d].*)|"
    r"(?P<plain>[a-z_]\w*):(?P<function>[^\W\d][\w.]*\(.*)",
    re.DOTALL,
)
_CALL = re.compile(
    r"\s*(?P<name>[^\W\d][\w.]*)\s*(?:#(?P<occurrence>\d+))?\s*(?P<arguments>\(.*\))?\s*", re.DOTALL
)
_EXAMPLE = "for example model.py:Net or 'model.py:Net(10, width=32)'"


@dataclass(frozen=True, kw_only=True)
class ModuleReference:
    """The name of a module.

    Attributes:
        place: A file, `model.py` or `S7.ipynb`, or a module of an installed package, `timm.models.resnet`.
        name: A class, a function that makes a module, or a module; empty for a file alone.
        occurrence: Of several definitions of this name in a file: 1 for the first; None for the last.
        args: Positional arguments, literals.
        kwargs: Keyword arguments, literals.
    """

    place: str
    name: str
    occurrence: int | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the canonical text, which `parse_reference` reads."""
        occurrence = "" if self.occurrence is None else f"#{self.occurrence}"
        keywords = (f"{name}={value!r}" for name, value in self.kwargs.items())
        arguments = ", ".join([*map(repr, self.args), *keywords])
        if arguments or not self.is_file:
            arguments = f"({arguments})"
        return f"{self.place}:{self.name}{occurrence}{arguments}" if self.name else self.place

    @property
    def is_file(self) -> bool:
        return self.place.endswith((".py", ".ipynb"))


def is_reference(text: str) -> bool:
    """Return whether a text names a module, a file alone included, and not a net in the notation.

    >>> [is_reference(text) for text in ("model.py:Net", "S7.ipynb", "timm:create_model('resnet18')")]
    [True, True, True]
    >>> [is_reference(text) for text in ("C16:s2 / G F10", "C16:s2", "zoo:digits", "runs/model.py-1")]
    [False, False, False, False]
    """
    return _FILE.fullmatch(text) is not None or _PACKAGE.fullmatch(text) is not None


def file_of(text: str) -> str:
    """Return the file that a reference names; empty for other texts.

    >>> file_of("nets/model.py:Net(10)"), file_of("timm.models.resnet:resnet18()")
    ('nets/model.py', '')
    """
    match = _FILE.fullmatch(text)
    return match["place"] if match else ""


def parse_reference(text: str) -> ModuleReference:
    """Parse the name of a module.

    Arguments are literals: numbers, strings, tuples, lists, dicts, sets, True, False and None.

    Raises:
        ModuleError: The text is no reference, or an argument is no literal.

    Example:
        >>> str(parse_reference("model.py:Net#1( 10,width = 32 )"))
        'model.py:Net#1(10, width=32)'
        >>> str(parse_reference("timm.models.resnet:resnet18"))
        'timm.models.resnet:resnet18()'
    """
    if match := _FILE.fullmatch(text):
        place, call = match["place"], match["call"] or ""
    elif match := _PACKAGE.fullmatch(text):
        place, call = match["place"] or match["plain"], match["call"] or match["function"]
    else:
        raise ModuleError(f"found {text!r}, expected a file and a class in it", fix=_EXAMPLE)
    if not call.strip():
        return ModuleReference(place=place, name="")
    parts = _CALL.fullmatch(call)
    if parts is None:
        raise _refused(call)
    args, kwargs = _arguments(call, parts["arguments"] or "()")
    occurrence = None if parts["occurrence"] is None else int(parts["occurrence"])
    if occurrence == 0:
        raise ModuleError("found #0, expected #1 for the first definition", where=text, fix="write #1")
    return ModuleReference(place=place, name=parts["name"], occurrence=occurrence, args=args, kwargs=kwargs)


def _arguments(call: str, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        node = ast.parse(f"f{text}", mode="eval").body
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            args = tuple(ast.literal_eval(each) for each in node.args)
            if all(each.arg for each in node.keywords):
                return args, {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise _refused(call)


def _refused(call: str) -> ModuleError:
    return ModuleError(
        f"found {call!r}, expected the name of a class, with literal arguments if it needs any", fix=_EXAMPLE
    )
