"""The files of a submission by their kind, with limits; links and hidden folders are left out."""

import os
from dataclasses import dataclass
from pathlib import Path

from convsmith.grading.submissions import natural

# Folders that hold no work of a student.
LITTER = ("__pycache__", "__MACOSX", "node_modules")
# These are not read as its own work either.
_SKIPPED = {*LITTER, "site-packages", "venv", "env", "wandb", "mlruns"}
_MAX_DEPTH, _MAX_FILES = 8, 20_000
# Of each kind; a submission with more is a whole course.
MOST = 200
CODE, WEIGHTS = (".py", ".ipynb"), (".pth", ".pt", ".safetensors", ".ckpt", ".bin")
_TEXTS = (".md", ".txt", ".log", ".rst", ".out")


@dataclass(frozen=True, kw_only=True)
class SubmissionFiles:
    """The files of a submission, relative to its folder, with slashes, in natural order; the top ones first.

    Attributes:
        code: `.py` files and notebooks.
        weights: Files of weights.
        texts: README, logs and other plain texts.
        count: All files.
        notes: What was left out.
    """

    code: tuple[str, ...]
    weights: tuple[str, ...]
    texts: tuple[str, ...]
    count: int
    notes: tuple[str, ...] = ()


def files_of(folder: Path) -> SubmissionFiles:
    """List the files of a submission.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("model.py", "net.pth", "README.md", ".hidden.py"):
        ...     (folder / name).touch()
        >>> files = files_of(folder)
        >>> files.code, files.weights, files.texts
        (('model.py',), ('net.pth',), ('README.md',))
    """
    names, notes, links, deep = [], [], 0, 0
    for parent, folders, files in os.walk(folder, followlinks=False):
        inside = Path(parent).relative_to(folder)
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in _SKIPPED)
        if len(inside.parts) >= _MAX_DEPTH and folders:
            folders.clear()
            deep += 1
        for name in files:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if path.is_symlink() or not path.is_file():
                links += 1
                continue
            names.append((inside / name).as_posix())
        if len(names) > _MAX_FILES:
            notes.append(f"more than {_MAX_FILES:,} files: the rest was not read")
            break
    left_out = [
        (deep, f"folders more than {_MAX_DEPTH} levels down were not read"),
        (links, f"links and special files were left out: {links:,}"),
    ]
    notes += [note for count, note in left_out if count]
    names.sort(key=lambda name: (name.count("/"), natural(name)))

    def of(suffixes: tuple[str, ...], kind: str) -> tuple[str, ...]:
        chosen = [name for name in names if name.lower().endswith(suffixes)]
        if len(chosen) > MOST:
            notes.append(f"{len(chosen):,} {kind}: the first {MOST} were read")
        return tuple(chosen[:MOST])

    return SubmissionFiles(
        code=of(CODE, "files of code"),
        weights=of(WEIGHTS, "files of weights"),
        texts=of(_TEXTS, "texts"),
        count=len(names),
        notes=tuple(notes),
    )
