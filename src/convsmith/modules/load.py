"""Load the module that a text names."""

import importlib
import importlib.metadata
from dataclasses import replace
from functools import reduce
from pathlib import Path
from types import FrameType, ModuleType

from convsmith.errors import FileError, ModuleError, suggest
from convsmith.modules.limits import limited
from convsmith.modules.listing import no_name_error
from convsmith.modules.loaded import LoadedModule, load_reference
from convsmith.modules.reference import ModuleReference, parse_reference
from convsmith.modules.user_files import UserFiles
from convsmith.system import paths
from convsmith.tracing.isolation import preserved_state


def load_module(text: str | ModuleReference, *, root: Path | None = None) -> LoadedModule:
    r"""Load the module that a text names.

    A file runs as the user asks by naming it: imports, definitions and harmless statements. Its net is
    created by `LoadedModule.create`.

    Args:
        text: `model.py:Net`, `S7.ipynb:Net(10, width=32)`, or `timm.models.resnet:resnet18()`.
        root: The folder that file names are relative to, and above which nothing is read; by default the
            working directory, and the file's project.

    Raises:
        FileError: The file does not exist, or cannot be read.
        ModuleError: The text is no reference, the file fails or has no such class, the package is not
            installed, or the name is missing: then the error lists the nets of the file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> code = "from torch import nn\\nclass Net(nn.Sequential):\\n    def __init__(self, width=8):"
        >>> _ = (folder / "model.py").write_text(code + "\\n        super().__init__(nn.Conv2d(3, width, 3))")
        >>> loaded = load_module("model.py:Net(width=4)", root=folder)
        >>> loaded.create()[0].weight.shape, loaded.sources.main
        (torch.Size([4, 3, 3, 3]), 'model.py')
    """
    reference = parse_reference(text) if isinstance(text, str) else text
    if not reference.is_file:
        return _load_from_package(reference)
    path = Path(root, reference.place) if root else Path(reference.place)
    _check_file(path, reference, root)
    if not reference.name:
        raise no_name_error(reference.place, root)
    return load_reference(reference, UserFiles(path, root))


def _check_file(path: Path, reference: ModuleReference, root: Path | None) -> None:
    name = reference.name or "Net"
    if root and not Path(path.resolve()).is_relative_to(Path(root).resolve()):
        raise FileError(f"found a file outside of {root}", where=reference.place)
    if paths.is_folder(path):
        raise FileError(
            "this is a folder, expected a file", where=reference.place, fix="write path/to/model.py:Net"
        )
    if paths.is_file(path):
        return
    if paths.exists(path):
        raise FileError("cannot read: not a regular file", where=reference.place)
    other = path.with_suffix(".ipynb" if path.suffix == ".py" else ".py")
    if paths.is_file(other):
        raise FileError("no such file", where=reference.place, fix=f"write {other}:{name}")
    names = [each.name for each in paths.children(path.parent)] if paths.is_folder(path.parent) else []
    nets = [each for each in names if each.endswith((".py", ".ipynb"))]
    fix = suggest(path.name, nets) if nets else "write path/to/model.py:Net"
    raise FileError("no such file", where=reference.place, fix=fix)


def _load_from_package(reference: ModuleReference) -> LoadedModule:
    file = Path(*reference.place.split(".")).with_suffix(".py")
    if paths.is_file(file):
        raise ModuleError(
            "found a file, expected a module of an installed package",
            where=reference.place,
            fix=f"write {replace(reference, place=str(file))}",
        )
    with preserved_state(), limited(f"the package {reference.place}", reference.place, _nowhere):
        module = _imported(reference)
    try:
        factory = reduce(getattr, reference.name.split("."), module)
    except AttributeError as error:
        raise ModuleError(
            f"no class or function {reference.name!r} in this module",
            where=reference.place,
            fix=suggest(reference.name, [each for each in dir(module) if not each.startswith("_")]),
        ) from error
    if not callable(factory):
        raise ModuleError(
            f"{reference.name} is a {type(factory).__name__}, expected a class or function",
            where=reference.place,
        )
    return LoadedModule(reference=reference, factory=factory, package=_package(module))


def _imported(reference: ModuleReference) -> ModuleType:
    top = reference.place.partition(".")[0]
    try:
        return importlib.import_module(reference.place)
    except ModuleNotFoundError as error:
        if error.name == top:
            raise ModuleError(
                f"{top} is not installed",
                where=str(reference),
                fix=f"install it: pip install {top}; a file of your own is written path/to/model.py:Net",
            ) from error
        raise ModuleError(
            f"cannot be imported: {error}", where=reference.place, fix="check the name"
        ) from error
    except Exception as error:
        raise ModuleError(
            f"cannot be imported: {type(error).__name__}: {error}",
            where=reference.place,
            fix=f"check that `python -c 'import {reference.place}'` runs",
        ) from error


def _package(module: ModuleType) -> str:
    """Return the name and version of an installed package: "timm 1.0.9"."""
    top = module.__name__.partition(".")[0]
    try:
        return f"{top} {importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:
        version = getattr(importlib.import_module(top), "__version__", "")
        return f"{top} {version}".strip()


def _nowhere(frame: FrameType, line: int) -> str:
    del frame, line
    return ""
