"""The files of a net: how they are found, read and run, and what their imports find.

The user's files run with an `__import__` of their own, so nothing changes for installed packages: a name is
first looked for beside the file, as Python does for a script, then among the installed packages, then in the
folders above. What is nowhere becomes a stand-in.
"""

import ast
import builtins
import importlib.util
import itertools
import linecache
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from convsmith.errors import FileError, ModuleError
from convsmith.modules import limits
from convsmith.modules.harmless import USER_PREFIX
from convsmith.modules.source_text import Omission, SourceText, parse_notebook, parse_python
from convsmith.modules.sources import MAX_FILE, MAX_FILES, SourceFiles
from convsmith.modules.stand_ins import PartialModule, StandInError, StandInModule
from convsmith.modules.statements import Statements
from convsmith.net.rows import Location
from convsmith.system import paths, reading
from convsmith.tracing.places import shown_path

_NUMBERS = itertools.count(1)
# Files that mark the top folder of a project.
_MARKERS = (".git", "pyproject.toml", "setup.py", "requirements.txt")
_MAX_LEVELS = 6
# Never taken from the user's folders.
_RESERVED = frozenset({*sys.stdlib_module_names, "torch", "convsmith"})


class UserFiles:
    """The files that one net is read from; more may be read while the net is created."""

    def __init__(self, main: Path, root: Path | None = None) -> None:
        """Prepare to read a net.

        Args:
            main: The file that holds it.
            root: Nothing above this folder is read; by default the project's.
        """
        self.main = main
        self.path = Path(os.path.realpath(main))
        self._root = Path(os.path.realpath(root)) if root else _project_root(self.path.parent)
        self._number = next(_NUMBERS)
        self._modules: dict[Path, ModuleType] = {}
        self._extra: list[Path] = []
        self._anchors: set[Path] = {self.path.parent}
        self._guards: dict[str, list[range]] = {}
        self.texts: dict[Path, SourceText] = {}
        self.contents: dict[Path, bytes] = {}
        self.runs: dict[Path, Statements] = {}

    def load(self, name: str = "", occurrence: int | None = None) -> ModuleType:
        """Run the main file; see `Statements.run` for the arguments.

        Raises:
            FileError: The file cannot be read.
            ModuleError: It is no Python, or fails.
        """
        module = self._load(self.path, self.path.stem, name, occurrence)
        run = self.runs[self.path]
        if run.failures and not run.refused and not run.source.is_notebook and not run.source.omissions:
            failure = run.failures[0]
            self.forget()
            raise ModuleError(
                f"the file cannot be run: {type(failure.error).__name__}: {failure.error}",
                where=f"{self.main}, line {failure.line}",
                fix=f"check that `python {self.main}` runs",
            ) from failure.error
        return module

    def forget(self) -> None:
        """Remove the modules from the process."""
        for module in self._modules.values():
            sys.modules.pop(module.__name__, None)

    @property
    def module(self) -> ModuleType:
        """The main file's module. It was loaded."""
        return self._modules[self.path]

    @property
    def modules(self) -> list[ModuleType]:
        """The modules of all files that were loaded."""
        return list(self._modules.values())

    @property
    def sources(self) -> SourceFiles:
        """The files that were read so far. Raises FileError if they are too many or too large."""
        base = self.base
        files = {path.relative_to(base).as_posix(): content for path, content in self.contents.items()}
        return SourceFiles(self.path.relative_to(base).as_posix(), files)

    @property
    def base(self) -> Path:
        """The folder that the names of `sources` are relative to."""
        return Path(os.path.commonpath([*self._anchors, *(path.parent for path in self.contents)]))

    @property
    def import_folders(self) -> list[Path]:
        """The folders in which imports found files, that of the main file first."""
        return sorted(self._anchors, key=lambda folder: (folder != self.path.parent, folder))

    @property
    def omissions(self) -> Iterator[tuple[str, Omission]]:
        """Yield the names of the files and what was not run in them."""
        for path, run in self.runs.items():
            for omission in run.omissions:
                yield self.shown(path), omission

    def shown(self, path: Path) -> str:
        """Return the name of a file for messages: the main file's as the user wrote it."""
        if path == self.path:
            return str(self.main)
        return os.path.relpath(path, self.path.parent)

    def place(self, frame: FrameType, line: int) -> str:
        """Return where a line of a frame is in the user's files: "model.py, line 3"; empty for other code."""
        path = Path(frame.f_code.co_filename)
        return f"{self.shown(path)}, {self.texts[path].place(line)}" if path in self.texts else ""

    def location(self, file: str, line: int) -> Location | None:
        """Return the place of a line of a file that was read; None for other files."""
        path = Path(file)
        if path not in self.texts:
            return None
        cell, inner = self.texts[path].cell_and_line(line)
        shown = str(self.main) if path == self.path and not self.main.is_absolute() else shown_path(path)
        return Location(file=Path(shown).as_posix(), line=inner, cell=cell)

    def clone_of(self, package: str) -> str:
        """Return the address of the repository that a notebook clones for a package, or an empty text."""
        clones = [each for text in self.texts.values() for each in text.clones]
        named = [each for each in clones if each.rstrip("/").removesuffix(".git").endswith(f"/{package}")]
        return next(iter([*named, *clones]), "")

    def below(self, name: str) -> str:
        """Return a file of this name in a folder beside the main file; empty if there is none."""
        found = sorted(self.path.parent.glob(f"*/{name}")) if re.fullmatch(r"\w+\.py", name) else []
        return self.shown(found[0]) if found else ""

    def owns(self, value: object) -> bool:
        """Return whether a class or function is defined in one of the files."""
        return str(getattr(value, "__module__", "")).startswith(f"{USER_PREFIX}{self._number}_")

    # Reading

    def _load(self, path: Path, name: str, wanted: str = "", occurrence: int | None = None) -> ModuleType:
        if path in self._modules:
            return self._modules[path]
        if len(self._modules) >= MAX_FILES:
            raise FileError(f"the net imports more than {MAX_FILES} files", where=str(self.main))
        content = reading.read_bytes(path, MAX_FILE)
        parse = parse_notebook if path.suffix == ".ipynb" else parse_python
        text = parse(content, self.shown(path))
        module = ModuleType(f"{USER_PREFIX}{self._number}_{name.replace('.', '_')}")
        module.__file__ = str(path)
        if path.name == "__init__.py":
            module.__path__ = [str(path.parent)]
        vars(module)["__builtins__"] = {
            **vars(builtins),
            "__import__": _Import(self, path),
            "input": limits.no_input,
            "print": limits.print_aside,
        }
        self.contents[path], self.texts[path], self._modules[path] = content, text, module
        self._guards[str(path)] = list(_guarded(text.body))
        if text.is_notebook:
            # Tracebacks and `inspect.getsource` show the cells, not the notebook's JSON.
            lines = [f"{line}\n" for line in text.text.splitlines()]
            linecache.cache[str(path)] = (len(text.text), None, lines, str(path))
        sys.modules[module.__name__] = module
        run = Statements(
            source=text,
            namespace=vars(module),
            file=str(path),
            add_folder=lambda folder: self._add_folder(path, folder),
        )
        self.runs[path] = run
        run.run(wanted, occurrence)
        return module

    def _add_folder(self, importer: Path, text: str) -> None:
        """Follow `sys.path.append`; of a folder elsewhere, the longest end that exists here counts."""
        parts = Path(text.replace("\\", "/")).parts
        for start in range(len(parts)):
            folder = (
                importer.parent.joinpath(*parts[start:])
                if start or not Path(text).is_absolute()
                else Path(text)
            )
            if paths.is_folder(folder) and self._inside(folder) and ".." not in parts[start:][1:]:
                self._extra.append(Path(os.path.realpath(folder)))
                return

    def _inside(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._root)

    # Importing

    def is_guarded(self, frame: FrameType) -> bool:
        """Return whether an import stands in a `try` that handles its failure."""
        lines = self._guards.get(frame.f_code.co_filename, [])
        return any(frame.f_lineno in each for each in lines)

    def import_relative(self, importer: Path, name: str, level: int) -> ModuleType:
        """Import `from .name import ...`. Raises ModuleNotFoundError."""
        folder = importer.parent
        for _ in range(level - 1):
            folder = folder.parent
        parts = name.split(".") if name else []
        if self._inside(folder) and (found := self._find(folder, parts)):
            self._anchors.add(folder)
            return found
        raise ModuleNotFoundError(
            f"there is no file {'/'.join([*parts[:-1], parts[-1] if parts else ''])}.py"
        )

    def import_absolute(self, importer: Path, name: str) -> ModuleType | None:
        """Import a module of the user's own; None if an installed package has this name.

        Raises:
            ModuleNotFoundError: There is no such module.
        """
        parts = name.split(".")
        if parts[0] in _RESERVED:
            return None
        if found := self._find_in(self.path.parent, parts, regular=True):
            return found
        spec = _spec(parts[0])
        if spec is not None and self._is_installed(spec):
            return None
        # As in Python, a folder without an __init__.py counts only if there is nothing else.
        for regular in (True, False):
            for folder in self._folders(importer):
                if found := self._find_in(folder, parts, regular=regular):
                    return found
        if spec is not None:
            return None
        what = (
            f"{name} is not there" if self._any_folder(importer, parts[0]) else f"{parts[0]} is not installed"
        )
        raise ModuleNotFoundError(what, name=parts[0])

    def _folders(self, importer: Path) -> Iterator[Path]:
        yield self.path.parent
        yield from self._extra
        yield importer.parent
        for start in (importer.parent, self.path.parent):
            for folder in start.parents:
                if folder.is_relative_to(self._root):
                    yield folder
        # A repository that was cloned beside its own notebook: `from MyRepo.models import Net`.
        yield self._root.parent

    def _any_folder(self, importer: Path, name: str) -> bool:
        return any(_exists(folder, name) for folder in self._folders(importer) if folder != self._root.parent)

    def _find_in(self, folder: Path, parts: Sequence[str], *, regular: bool = False) -> ModuleType | None:
        """Find an absolute import in a folder; with `regular`, no folder without an `__init__.py`."""
        if not _exists(folder, parts[0], regular=regular):
            return None
        if folder == self._root.parent and parts[0] != self._root.name:
            return None
        found = self._find(folder, parts)
        if found is not None:
            self._anchors.add(folder)
        return found

    def _find(self, folder: Path, parts: Sequence[str]) -> ModuleType | None:
        """Load the module of a dotted name below a folder, without those above it."""
        if not parts:
            return self._package(folder)
        place = folder.joinpath(*parts[:-1])
        package = place / parts[-1]
        if paths.is_file(package / "__init__.py"):
            return self._package(package)
        file = place / f"{parts[-1]}.py"
        if paths.is_file(file):
            return self._load(Path(os.path.realpath(file)), ".".join(parts))
        return self._package(package) if _holds_python(package) else None

    def _package(self, folder: Path) -> ModuleType:
        """Return the module of a folder, with or without an `__init__.py`."""
        folder = Path(os.path.realpath(folder))
        if paths.is_file(folder / "__init__.py"):
            return self._load(folder / "__init__.py", folder.name)
        if folder not in self._modules:
            module = ModuleType(f"{USER_PREFIX}{self._number}_{folder.name}")
            module.__path__ = [str(folder)]
            self._modules[folder] = module
        return self._modules[folder]

    def submodule(self, package: ModuleType, name: str) -> ModuleType | None:
        """Load a module of a package of the user's own; None if there is none."""
        locations = list(getattr(package, "__path__", []))
        if not locations or not package.__name__.startswith(USER_PREFIX):
            return None
        found = self._find(Path(locations[0]), [name])
        if found is not None:
            setattr(package, name, found)
        return found

    def reason(self, module: ModuleType, name: str) -> str:
        """Return why a module does not have a name."""
        if not module.__name__.startswith(USER_PREFIX):
            return f"{module.__name__} does not have it ({_version(module)})"
        path = Path(module.__file__ or "")
        run = self.runs.get(path)
        for omission in run.omissions if run else ():
            if name in omission.names:
                return f"{self.shown(path)}, {omission.place} makes it, which was left out: {omission.reason}"
        return f"{self.shown(path)} does not have it"

    def _is_installed(self, spec: ModuleSpec) -> bool:
        """Whether a package is installed: not one of the user's own that happens to be on Python's path."""
        place = spec.origin or next(iter(spec.submodule_search_locations or []), None)
        if place is None or not Path(place).is_absolute():
            return True
        if "site-packages" in place or "dist-packages" in place:
            return True
        # A folder without an __init__.py comes last, as in Python.
        return spec.origin is not None and not self._inside(Path(place))


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


class _Import:
    """The `__import__` of one file."""

    def __init__(self, files: UserFiles, importer: Path) -> None:
        self.files, self.importer = files, importer

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - as `__import__`
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - as `__import__`
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        del globals, locals
        guarded = self.files.is_guarded(sys._getframe(1))  # noqa: SLF001 - the importing line
        try:
            module = self._import(name, tuple(fromlist or ()), level)
        except StandInError:
            raise
        except Exception as error:
            if guarded:
                raise
            return StandInModule(name if fromlist else name.partition(".")[0], _why(name, error))
        return self._with_names(module, tuple(fromlist or ()), guarded=guarded)

    def _import(self, name: str, fromlist: tuple[str, ...], level: int) -> ModuleType:
        if level:
            return self.files.import_relative(self.importer, name, level)
        found = self.files.import_absolute(self.importer, name)
        if found is None:
            return builtins.__import__(name, {}, {}, fromlist, 0)
        if fromlist or "." not in name:
            return found
        return self._chain(name)

    def _chain(self, name: str) -> ModuleType:
        """Load `a`, `a.b` and `a.b.c` for `import a.b.c`, and return `a`."""
        top, *rest = name.split(".")
        package = first = self.files.import_absolute(self.importer, top)
        assert first is not None, "its module was found"
        for part in rest:
            assert package is not None, "as above"
            package = self.files.submodule(package, part) or getattr(package, part)
        return first

    def _with_names(self, module: ModuleType, names: tuple[str, ...], *, guarded: bool) -> ModuleType:
        """Load the submodules that are imported by name; what is nowhere becomes a stand-in."""
        if names == ("*",):
            names = tuple(getattr(module, "__all__", ()))
        reasons = {}
        for name in names:
            if not _has(module, name) and self.files.submodule(module, name) is None:
                reasons[name] = self.files.reason(module, name)
        if not reasons:
            return module
        if guarded:
            raise ImportError(f"cannot import name {next(iter(reasons))!r} from {module.__name__!r}")
        return PartialModule(module, reasons)


def _has(module: ModuleType, name: str) -> bool:
    """Whether a module has a name; a package may load it only now, and fail with any exception."""
    try:
        return hasattr(module, name)
    except Exception:  # noqa: BLE001 - see above
        return False


def _why(name: str, error: Exception) -> str:
    """Return why an import failed, as the end of a sentence: "torchvision is not installed"."""
    if isinstance(error, ModuleError):
        problem = error.problems[0]
        return f"{problem.where}: {problem.what}"
    if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
        text = str(error)
        return f"{error.name} is not installed" if text.startswith("No module named") else text
    if isinstance(error, ModuleNotFoundError) and not error.name:
        return str(error)
    if isinstance(error, ModuleNotFoundError) and str(error).startswith("No module named"):
        return f"there is no module {error.name}"
    return f"{name.partition('.')[0]} cannot be imported: {type(error).__name__}: {error}"


def _version(module: ModuleType) -> str:
    top = module.__name__.partition(".")[0]
    if top in sys.stdlib_module_names:
        return f"Python {sys.version_info.major}.{sys.version_info.minor}"
    return f"{top} {getattr(sys.modules.get(top), '__version__', '')}".strip()


def _exists(folder: Path, name: str, *, regular: bool = False) -> bool:
    if paths.is_file(folder / f"{name}.py") or paths.is_file(folder / name / "__init__.py"):
        return True
    return not regular and _holds_python(folder / name)


def _holds_python(folder: Path) -> bool:
    """Whether a folder holds Python files, or folders with some."""
    if not paths.is_folder(folder):
        return False
    inner = paths.children(folder)
    if any(path.suffix == ".py" for path in inner):
        return True
    return any(path.suffix == ".py" for each in inner if paths.is_folder(each) for path in each.glob("*.py"))


def _project_root(folder: Path) -> Path:
    """Return the folder above which no file of the user's is looked for."""
    home = Path(os.path.realpath(Path.home()))
    chain = [folder, *folder.parents][:_MAX_LEVELS]
    chain = list(itertools.takewhile(lambda each: each not in {home, Path(each.anchor)}, chain))
    for each in chain:
        if any(paths.exists(each / marker) for marker in _MARKERS):
            return each
    working = Path(os.path.realpath(Path.cwd()))
    if working in chain:
        return working
    # Without any hint: the folder above the package that the file is in.
    top = next((number for number, each in enumerate(chain) if not paths.exists(each / "__init__.py")), 0)
    above = chain[top : top + 2] or [folder]
    return above[0] if above[-1] == Path(os.path.realpath(tempfile.gettempdir())) else above[-1]


def _guarded(body: Sequence[ast.stmt]) -> Iterator[range]:
    """Yield the lines of the `try` blocks that handle a failed import."""
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Try) and any(map(_handles_import_errors, node.handlers)):
                last = node.body[-1]
                yield range(node.body[0].lineno, (last.end_lineno or last.lineno) + 1)


def _handles_import_errors(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(each) in _IMPORT_ERRORS for each in types)


_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
