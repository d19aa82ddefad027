"""Which statements of a user's file are harmless: definitions, and values that are computed from them.

Calls are judged by what they call: classes and functions of PyTorch's layers, of NumPy and of the standard
library's arithmetic, classes of the user's own, functions of the user's own that make such calls only,
methods of plain values. Whatever may read or write files, download, train, or change the process is not run.
"""

import ast
import builtins
import contextlib
import functools
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from convsmith.modules.stand_ins import StandIn, StandInModule

# The names of the modules that user's files become begin with it.
USER_PREFIX = "convsmith_user_"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PACKAGES = _words("""
    abc argparse builtins cmath collections copy dataclasses decimal easydict enum fractions functools
    itertools math ml_collections ntpath numbers numpy omegaconf operator pathlib posixpath random re string
    torch types typing typing_extensions
""")
# Parts of these packages that are not harmless, as prefixes of dotted names.
_EXCEPT = (
    "numpy.fromfile",
    "numpy.genfromtxt",
    "numpy.load",
    "numpy.memmap",
    "numpy.save",
    "omegaconf.OmegaConf.load",
    "torch.autograd.set_",
    "torch.cuda.set_",
    "torch.distributed",
    "torch.hub",
    "torch.jit.load",
    "torch.load",
    "torch.multiprocessing",
    "torch.package",
    "torch.profiler",
    "torch.save",
    "torch.serialization",
    "torch.set_",
    "torch.use_deterministic_algorithms",
    "torch.utils.cpp_extension",
    "torch.utils.data",
    "torch.utils.model_zoo",
    "torch.utils.tensorboard",
)
_FUNCTIONS = _words("logging.getLogger os.environ.get os.getcwd os.getenv time.time")
_BUILTINS = _words("""
    abs all any bin callable chr divmod format getattr globals hasattr hash hex id isinstance issubclass iter
    len max min next oct ord pow repr round sorted sum vars
""")
_MODULE_METHODS = _words("""
    add_module append apply bfloat16 buffers children cpu cuda double eval extend float half modules
    named_children named_modules named_parameters parameters register_buffer requires_grad_ state_dict to
    train type
""")
_PARSER_METHODS = _words("add_argument add_argument_group parse_args parse_known_args set_defaults")
_PATH_METHODS = _words("absolute as_posix joinpath resolve with_name with_suffix")
_VALUE_METHODS_REFUSED = frozenset({"backward", "dump", "save", "tofile"})
_RUN = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Pass,
    ast.Global,
)
_COMPUTED = (
    ast.Constant,
    ast.JoinedStr,
    ast.BinOp,
    ast.Compare,
    ast.Dict,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.ListComp,
    ast.DictComp,
    ast.SetComp,
    ast.GeneratorExp,
)
# How a file refers to its own names.
_OWN_MODULE = ("sys.modules[__name__]", "globals()")
_NOT_IN_A_FUNCTION = (ast.Global, ast.Nonlocal, ast.While, ast.Await, ast.Yield, ast.YieldFrom)
_MAX_DEPTH = 5
_LOADERS = (DataLoader, Dataset, Sampler)
_PLAIN = (str, bytes, int, float, complex, bool, list, tuple, dict, set, frozenset, range, Tensor, type(None))


class Value:
    """The type of what a harmless function returns, where it is not known more exactly."""


class Harmless:
    """Judges statements and expressions by the names that are defined so far."""

    def __init__(self, namespace: Mapping[str, Any], depth: int = 0) -> None:
        """Prepare to judge.

        Args:
            namespace: The names that are defined.
            depth: How many functions are being judged because one calls the other.
        """
        self.namespace = namespace
        self._depth = depth
        # Why the last call was refused, if something is missing.
        self._missing = ""
        # The types of variables of comprehensions, which run over harmless values, and of a function.
        self._variables: dict[str, type | None] = {}

    def objection(self, node: ast.stmt) -> str:
        """Return why a statement without blocks of its own is not run; empty if it is harmless."""
        self._missing = ""
        return "" if self._fits(node) else self._missing or "not run"

    def _fits(self, node: ast.stmt) -> bool:
        if isinstance(node, _RUN):
            return True
        # Type aliases exist from Python 3.12 on.
        if type(node).__name__ == "TypeAlias":
            return True
        if isinstance(node, ast.Expr):
            return isinstance(node.value, ast.Constant | ast.Call) and self.harmless(node.value)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return all(map(self._is_target, targets)) and (node.value is None or self.harmless(node.value))
        return False

    def harmless(self, node: ast.AST) -> bool:
        """Return whether an expression only computes a value."""
        for each in ast.walk(node):
            if isinstance(each, ast.comprehension | ast.For):
                names = (name.id for name in ast.walk(each.target) if isinstance(name, ast.Name))
                self._variables.update(dict.fromkeys(names, Value))
        for each in _walked(node):
            if isinstance(each, ast.Await | ast.Yield | ast.YieldFrom):
                return False
            if isinstance(each, ast.Call) and not self._is_harmless_call(each):
                return False
        return True

    def _is_target(self, node: ast.expr) -> bool:
        """Whether an assignment changes the user's own names and values only."""
        if isinstance(node, ast.Name):
            return True
        if isinstance(node, ast.Tuple | ast.List):
            return all(map(self._is_target, node.elts))
        if isinstance(node, ast.Starred):
            return self._is_target(node.value)
        if isinstance(node, ast.Attribute | ast.Subscript):
            if ast.unparse(node.value) in _OWN_MODULE:
                return True
            value = self.namespace.get(_root(node))
            return value is not None and _is_users(value)
        return False

    def _is_harmless_call(self, node: ast.Call) -> bool:
        known, callee, path = self._looked_up(node.func)
        if known:
            if isinstance(callee, StandIn):
                self._missing = vars(callee)["stand_in_reason"]
            if callee is setattr:
                return bool(node.args) and self._is_users_own(node.args[0])
            if isinstance(callee, FunctionType) and callee.__module__.startswith(USER_PREFIX):
                return self._only_computes(callee)
            return _is_harmless(callee, path)
        if not isinstance(node.func, ast.Attribute):
            return False
        return _is_harmless_method(self._type(node.func.value), node.func.attr)

    def _only_computes(self, function: FunctionType) -> bool:
        """Whether a function of the user's makes harmless calls only, as one that creates a net does."""
        node = _definition(function) if self._depth < _MAX_DEPTH else None
        if node is None or any(isinstance(each, _NOT_IN_A_FUNCTION) for each in ast.walk(node)):
            return False
        own = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
        names = {name: value for name, value in function.__globals__.items() if name not in own}
        return Harmless(names, self._depth + 1).block_fits(node.body, own)

    def loop_fits(self, node: ast.For) -> bool:
        """Whether a loop only computes values, such as one that creates variants of a net."""
        if any(isinstance(each, _NOT_IN_A_FUNCTION) for each in ast.walk(node)):
            return False
        stored = (each for each in ast.walk(node) if isinstance(each, ast.Name))
        own = {each.id for each in stored if isinstance(each.ctx, ast.Store)}
        names = {name: value for name, value in self.namespace.items() if name not in own}
        return Harmless(names, self._depth).block_fits([node], own)

    def block_fits(self, body: Sequence[ast.stmt], own: AbstractSet[str]) -> bool:
        """Whether statements make harmless calls only, and assign to their own names and values."""
        for each in (each for statement in body for each in ast.walk(statement)):
            if isinstance(each, ast.Assign | ast.AnnAssign | ast.AugAssign):
                targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                for target in (part for whole in targets for part in _parts(whole)):
                    if _root(target) not in own and not self._is_target(target):
                        return False
                    if isinstance(target, ast.Name) and each.value is not None:
                        one = target in targets
                        self._variables[target.id] = self._type(each.value) if one else None
        return all(map(self.harmless, body))

    def _is_users_own(self, node: ast.expr) -> bool:
        if ast.unparse(node) in _OWN_MODULE:
            return True
        known, value, _ = self._looked_up(node)
        return known and _is_users(value)

    def _looked_up(self, node: ast.expr) -> tuple[bool, Any, str]:
        """Return whether an expression names a class or function, its value, and its dotted name."""
        if isinstance(node, ast.Name):
            if node.id in self.namespace:
                value = self.namespace[node.id]
            elif hasattr(builtins, node.id):
                value = getattr(builtins, node.id)
            else:
                return False, None, ""
            return True, value, value.__name__ if isinstance(value, ModuleType) else node.id
        if isinstance(node, ast.Attribute):
            known, base, path = self._looked_up(node.value)
            names_it = f"{path}.{node.attr}" in _FUNCTIONS
            if known and (names_it or isinstance(base, ModuleType | type | StandIn)):
                # A package may load a part of it when it is looked up, and fail with any exception.
                with contextlib.suppress(Exception):
                    return True, getattr(base, node.attr), f"{path}.{node.attr}"
        return False, None, ""

    def _type(self, node: ast.expr) -> type | None:
        """Return the type of an expression's value as far as it is known; None if it is not."""
        if isinstance(node, _COMPUTED):
            return Value
        if isinstance(node, ast.Name):
            if node.id in self._variables:
                return self._variables[node.id]
            return type(self.namespace[node.id]) if node.id in self.namespace else None
        if isinstance(node, ast.Subscript | ast.Attribute):
            base = self._type(node.value)
            return Value if base is not None and _is_plain(base) else None
        if isinstance(node, ast.Call):
            known, callee, _ = self._looked_up(node.func)
            if known:
                return callee if isinstance(callee, type) else Value
            # Methods such as `to`, `eval` and `append` return the object.
            return self._type(node.func.value) if isinstance(node.func, ast.Attribute) else None
        return None


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the targets of an assignment to several: `a`, `b.c` and `d` of `a, (b.c, *d)`."""
    if isinstance(node, ast.Tuple | ast.List):
        for each in node.elts:
            yield from _parts(each)
    else:
        yield node.value if isinstance(node, ast.Starred) else node


def _root(node: ast.expr) -> str:
    """Return the name that a target begins with: "a" of `a`, `a.b` and `a[0].b`; empty if there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _definition(function: FunctionType) -> ast.FunctionDef | None:
    """Return the statement that defines a function; None for a lambda, or one with decorators."""
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return node if isinstance(node, ast.FunctionDef) and not node.decorator_list else None


def _walked(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of an expression; the body of a lambda is a definition."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(node, ast.Lambda) or child is node.args:
            yield from _walked(child)


def _is_users(value: Any) -> bool:
    """Whether a value is of the user's own making: no class, function or module of a package."""
    if isinstance(value, ModuleType):
        return value.__name__.startswith(USER_PREFIX)
    if isinstance(value, type) or (callable(value) and not isinstance(value, nn.Module)):
        return str(getattr(value, "__module__", "")).startswith(USER_PREFIX)
    return True


def _is_harmless(callee: Any, path: str) -> bool:
    """Whether a class or function may be called."""
    if isinstance(callee, StandIn | StandInModule):
        return False
    if isinstance(callee, functools.partial):
        return _is_harmless(callee.func, getattr(callee.func, "__name__", ""))
    name = str(getattr(callee, "__name__", ""))
    own = f"{getattr(callee, '__module__', None)}.{getattr(callee, '__qualname__', '')}"
    if isinstance(callee, type):
        if issubclass(callee, _LOADERS):
            return False
        if issubclass(callee, nn.Module) or own.startswith(USER_PREFIX):
            return True
    elif not callable(callee) or isinstance(callee, nn.Module):
        return False
    elif name in vars(builtins) and callee is vars(builtins)[name]:
        return name in _BUILTINS
    # Functions of PyTorch that are written in C do not name their module.
    names = (own, path, f"torch.{name}" if getattr(torch, name or "-", None) is callee else "")
    if any(name.startswith(_EXCEPT) for name in names):
        return False
    return any(name in _FUNCTIONS or (name.partition(".")[0] in _PACKAGES and "." in name) for name in names)


def _is_plain(kind: type) -> bool:
    return issubclass(kind, (*_PLAIN, Value)) or kind.__module__.partition(".")[0] == "numpy"


def _is_harmless_method(kind: type | None, name: str) -> bool:
    if kind is None:
        return False
    if _is_plain(kind):
        return name not in _VALUE_METHODS_REFUSED
    if issubclass(kind, nn.Module):
        written = getattr(getattr(kind, name, None), "__module__", "") or ""
        return name in _MODULE_METHODS and not written.startswith(USER_PREFIX)
    if kind.__module__.startswith("pathlib"):
        return name in _PATH_METHODS
    return kind.__module__ == "argparse" and name in _PARSER_METHODS
