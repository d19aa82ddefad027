"""The code of the net in a project: written from the notation, or the user's own files."""

import ast
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from keyword import iskeyword
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from torch import nn

from convsmith.errors import ModuleError, RunError
from convsmith.modules.architecture import ModuleArchitecture
from convsmith.modules.config import Outputs
from convsmith.modules.plain_text import plain_text
from convsmith.modules.precision import other_precisions
from convsmith.modules.sources import SourceFiles
from convsmith.net import source
from convsmith.net.analysis import Analysis
from convsmith.net.plan import Plan
from convsmith.recipes.fit import net_parts_of, parts_of_net
from convsmith.tracing.isolation import preserved_state
from convsmith.training.parts import Parts

if TYPE_CHECKING:
    from convsmith.modules.loaded import LoadedModule

# Of an ejected project.
FOLDER = "model/"
# What the project itself imports, besides the standard library.
_IMPORTED = frozenset(
    {"PIL", "albumentations", "cv2", "datasets", "matplotlib", "numpy", "pyarrow", "safetensors", "sklearn"}
    | {"torch", "tqdm"}
)
_PATH = '''\
"""The net, and the files that it imports by their names."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / each) for each in {folders}]
'''


@dataclass(frozen=True, kw_only=True)
class NetCode:
    """The code of a net in a project.

    Attributes:
        analysis: Of the net.
        parts: Its head, and the blocks below it.
        plan: Of a net in the notation; None for a module.
        text: `model.py` of a net in the notation.
        files: The files of a module, by their path in the project.
        module: The Python module that has the net.
        name: What is imported from it.
        call: The expression that creates the net.
        main: The file of the net, by its path in the project; empty for an installed package.
        outputs: The meaning of the outputs of the net.
        names: What the files import each other by: the names of files and folders.
        remarks: What was changed in the files, one sentence each.
        packages: The packages that the files import, with their versions.
        channels_first: Whether the net needs images whose channels are first in memory.
    """

    analysis: Analysis
    parts: Parts
    plan: Plan | None = None
    text: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    module: str
    name: str = "Net"
    call: str = "Net()"
    main: str
    outputs: Outputs = "logits"
    names: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    channels_first: bool = False

    @property
    def helpers(self) -> str:
        """The name of the project's own module: another one if the net has a file `utils.py`."""
        return "project_utils" if "utils" in self.names else "utils"

    @property
    def has_relative_imports(self) -> bool:
        return any(
            isinstance(node, ast.ImportFrom) and node.level
            for name, content in self.files.items()
            if name.endswith(".py")
            for node in ast.walk(ast.parse(content))
        )

    def check_names(self, where: str) -> None:
        """Raise RunError if a file of the net hides a module that the project imports."""
        hidden = sorted(self.names & _IMPORTED) if len(self.files) > 1 else []
        if hidden:
            raise RunError(
                f"the net has a file {hidden[0]}.py, and the project imports {hidden[0]}",
                where=where,
                fix="rename the file and train again",
            )


def notation_code(analysis: Analysis, plan: Plan, notes: list[str], folder: str = FOLDER) -> NetCode:
    """Return the code of a net in the notation.

    Args:
        analysis: Of the net.
        plan: Its plan.
        notes: Sentences for the docstring of the file.
        folder: The folder of the file in the project, with a slash; empty for the project's own.
    """
    return NetCode(
        analysis=analysis,
        parts=net_parts_of(analysis),
        plan=plan,
        text=source.source(plan, notes, alone=False),
        module=f"{folder}model".replace("/", "."),
        main=f"{folder}model.py",
    )


def module_code(
    architecture: ModuleArchitecture,
    analysis: Analysis,
    sources: SourceFiles | None,
    root: Path,
    folder: str = FOLDER,
) -> NetCode:
    """Return the code of a module: its files as they are, as far as Python runs them as they are.

    Args:
        architecture: The module, which was created and run.
        analysis: Of the net.
        sources: Its files; None for an installed package.
        root: The folder that the names of the files are relative to.
        folder: The folder of the files in the project, with a slash; empty for the project's own.

    Raises:
        ModuleError: The module is an instance that the user passed.
    """
    loaded = architecture.loaded
    name, call = _names(loaded)
    channels, height, width = analysis.input_shape
    with preserved_state():
        # As in the training, see `modules.precision`.
        call += ".float()" if other_precisions(loaded.create()) else ""
    net = NetCode(
        analysis=analysis,
        parts=parts_of_net(architecture, analysis),
        module=loaded.reference.place,
        name=name,
        call=call,
        main="",
        outputs=architecture.config.outputs or "logits",
        channels_first=architecture.needs_channels_first((channels, height, width)),
    )
    if sources is None or loaded.files is None:
        return replace(net, packages=_versions({loaded.package.partition(" ")[0]}))
    root = Path(os.path.realpath(root))
    texts = {path.relative_to(root).as_posix(): plain_text(run) for path, run in loaded.files.runs.items()}
    base, main = _base(sources, folder), _python_name(sources)
    files, remarks = _runnable(sources, texts, base, main)
    inner = [each.relative_to(root).as_posix() for each in loaded.files.import_folders]
    placed = {base + each: content for each, content in files.items()}
    if folder:
        start = f"{folder}__init__.py"
        folders = [PurePosixPath(base.removeprefix(folder), each).as_posix() for each in inner]
        placed[start] = _PATH.format(folders=json.dumps(folders)).encode() if len(files) > 1 else b""
    return replace(
        net,
        files=placed,
        module=(base + main).removesuffix(".py").replace("/", "."),
        main=base + main,
        names=frozenset(_top_names(files, inner)),
        remarks=remarks,
        packages=_versions(_imported_packages(files, inner)),
    )


def _runnable(
    sources: SourceFiles, texts: Mapping[str, str | None], base: str, main: str
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the files under names that Python can import, and a remark on each that is not as it was.

    Args:
        sources: The files as they are.
        texts: What Python ran of some of them instead, by their names; None for an unchanged one.
        base: Their folder in the project.
        main: The name of the main file in it.
    """
    files, remarks = dict[str, bytes](), []
    for own, content in sources.files.items():
        new = main if own == sources.main else own
        text = texts.get(own)
        files[new] = content if text is None else _with_head(text, own).encode(errors="surrogateescape")
        if text is not None:
            remarks.append(_remark(own, base + new))
        elif new != own:
            remarks.append(f"`{base + new}` is the file `{own}` under a name that Python can import.")
    return files, tuple(remarks)


def _names(loaded: "LoadedModule") -> tuple[str, str]:
    """Return what to import, and the expression that creates the net."""
    reference = loaded.reference
    first = reference.name.partition(".")[0]
    if isinstance(loaded.factory, nn.Module):
        named: Any = loaded.files.module if loaded.files else None
        for part in reference.name.split("."):
            named = getattr(named, part, None)
        if not isinstance(named, nn.Module):
            raise ModuleError(
                "an instance is no code: the arguments that it was made with are not known",
                where=str(reference),
                fix="name the class with its arguments in a recipe: model.module='model.py:Net(width=32)'",
            )
        return first, f"copy.deepcopy({reference.name})"
    keywords = (f"{name}={value!r}" for name, value in reference.kwargs.items())
    return first, f"{reference.name}({', '.join([*map(repr, reference.args), *keywords])})"


def _python_name(sources: SourceFiles) -> str:
    """Return the name of the main file as one that Python can import: `S7.ipynb` becomes `model.py`."""
    path = PurePosixPath(sources.main)
    if path.suffix == ".py" and path.stem.isidentifier() and not iskeyword(path.stem):
        return sources.main
    taken = {each.rpartition("/")[2] for each in sources.files}
    new = next(each for each in ("model.py", "net.py", "net_of_notebook.py") if each not in taken)
    return path.with_name(new).as_posix()


def _with_head(text: str, name: str) -> str:
    return f"# From {name}: what the net is made from. Other statements of the file are left out.\n{text}"


def _remark(own: str, new: str) -> str:
    return (
        f"`{new}` has the imports, definitions and constants of `{own}`, the file that was trained. Other "
        "statements, such as a training, and imports of packages that are not installed are left out."
    )


def _base(sources: SourceFiles, folder: str) -> str:
    """Return the folder of the files: a package of the user's own stays one inside of it."""
    return f"{folder}net/" if folder and "__init__.py" in sources.files else folder


def _top_names(files: Mapping[str, bytes], folders: list[str]) -> set[str]:
    """Return the names that the files import each other by: files and folders in these folders."""
    names = set()
    for each in files:
        for folder in folders:
            path = PurePosixPath(each)
            if folder == "." or PurePosixPath(folder) in path.parents:
                names.add(path.relative_to(folder).parts[0].removesuffix(".py"))
    return names


def _imported_packages(files: Mapping[str, bytes], folders: list[str]) -> set[str]:
    """Return the names of what the files import, without the standard library and the files themselves."""
    own = _top_names(files, folders)
    found = {name for content in files.values() for name in _imports(content)}
    return {name for name in found if name not in own and name not in sys.stdlib_module_names}


def _imports(content: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def _versions(names: set[str]) -> dict[str, str]:
    """Return the distributions that have these packages, those that are installed, with their versions."""
    distributions = importlib.metadata.packages_distributions()
    return {each: importlib.metadata.version(each) for name in names for each in distributions.get(name, ())}
