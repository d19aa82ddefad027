"""Load the module that a text names."""

from pathlib import Path

from convsmith.errors import FileError, suggest
from convsmith.modules.listing import no_name_error
from convsmith.modules.loaded import LoadedModule, load_reference
from convsmith.modules.packages import load_from_package
from convsmith.modules.reference import ModuleReference, parse_reference
from convsmith.modules.user_files import UserFiles
from convsmith.system import paths


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
        >>> code = "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self, width=8):"
        >>> _ = (folder / "model.py").write_text(code + "\n        super().__init__(nn.Conv2d(3, width, 3))")
        >>> loaded = load_module("model.py:Net(width=4)", root=folder)
        >>> loaded.create()[0].weight.shape, loaded.sources.main
        (torch.Size([4, 3, 3, 3]), 'model.py')
    """
    reference = parse_reference(text) if isinstance(text, str) else text
    if not reference.is_file:
        return load_from_package(reference)
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
