"""Where a project is written: its folder, and the name of its notebook."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from convsmith.errors import FileError
from convsmith.system import paths

# File systems allow 255 bytes; a character takes up to four.
_MAX_NAME = 63
_TIDY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.ipynb")
# What Jupyter, browsers and file managers call a file that nobody has named.
_UNNAMED = re.compile(r"^(untitled|unnamed|copy)|[-_]copy\d*$", flags=re.IGNORECASE)


def notebook_name(name: str) -> str:
    """Return the file name of a notebook, with its ending.

    Raises:
        FileError: It names a folder, or is no file name.

    Example:
        >>> notebook_name("S5")
        'S5.ipynb'
    """
    name = name if name.endswith(".ipynb") else f"{name}.ipynb"
    if PurePath(name).name != name or not name.isprintable() or name == ".ipynb" or len(name) > _MAX_NAME:
        fix = "name a file without a folder, for example S5.ipynb"
        raise FileError("not the name of a notebook", where=name, fix=fix)
    return name


def tidy_notebook_name(name: str) -> str:
    """Return the file name of a notebook that is handed in: courses deduct points for messy names.

    Raises:
        FileError: It is no file name, or has other than letters, digits, `-` and `_`, or is a copy.

    Example:
        >>> tidy_notebook_name("S7.ipynb")
        'S7.ipynb'
    """
    name = notebook_name(name)
    if not _TIDY.fullmatch(name) or _UNNAMED.search(name.removesuffix(".ipynb")):
        what = "a messy name: expected letters, digits, - and _, and no copy or unnamed file"
        raise FileError(what, where=name, fix="name the notebook after the assignment, for example S7.ipynb")
    return name


def check_folder(folder: Path, runs: Sequence[Path]) -> None:
    """Check that a project can be written to a folder.

    Raises:
        FileError: It is a file, is not empty, or lies inside a run.
    """
    if paths.exists(folder) and not paths.is_folder(folder):
        raise FileError("this is a file, expected a folder", where=str(folder), fix="name a new folder")
    if paths.is_folder(folder) and paths.children(folder):
        raise FileError("the folder is not empty", where=str(folder), fix="name a new or an empty folder")
    for run in runs:
        if run.resolve() in [folder.resolve(), *folder.resolve().parents]:
            raise FileError("the folder lies inside the run", where=str(folder), fix="name one outside of it")
