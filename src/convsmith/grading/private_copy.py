"""The private copy of a submission: regular files only, limited in number and size, the smallest first."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from convsmith.grading.files import CODE, LITTER, WEIGHTS
from convsmith.system import files
from convsmith.text import one_line, plural, size_text

_SKIPPED = {*LITTER, ".git", ".ipynb_checkpoints", ".venv", ".idea", ".vscode"}
# What is judged comes before images and archives.
_SOURCES = {*CODE, ".md", ".txt", ".rst", ".csv", ".log", ".json", ".toml", ".yaml", ".yml", ".cfg"}
_WEIGHTS = {*WEIGHTS, ".h5", ".pkl"}
# Entries of a folder that are looked at, and levels of folders.
_MAX_ENTRIES, _MAX_DEPTH = 100_000, 40
_NAMED = 3
_BLOCK = 2**20
# A file that cannot be read; a name that is too long, or that another file has as a folder.
_OF_SUBMISSION = {
    errno.EIO,
    errno.EACCES,
    errno.ESTALE,
    errno.ENAMETOOLONG,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
}


@dataclass
class PrivateCopy:
    """What was copied.

    Attributes:
        files: How many.
        size: Bytes.
        digest: A hash of names and contents; equal for equal copies.
        left_out: Reasons, and the paths that they concern.
    """

    files: int = 0
    size: int = 0
    digest: str = ""
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What a teacher should know of it, one sentence each."""
        notes = []
        for reason, names in self.left_out.items():
            shown = ", ".join(one_line(name) for name in names[:_NAMED])
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            notes.append(f"not copied, {reason}: {shown}{more}")
        return notes

    def leave_out(self, reason: str, name: str) -> None:
        self.left_out.setdefault(reason, []).append(name)


@dataclass(frozen=True)
class _File:
    path: Path
    name: str
    size: int

    @property
    def order(self) -> tuple[int, int, str]:
        suffix = self.path.suffix.lower()
        rank = 0 if suffix in _SOURCES else 1 if suffix in _WEIGHTS else 2
        return rank, self.size, self.name


def copy_submission(source: Path, target: Path, *, max_bytes: int, max_files: int) -> PrivateCopy:
    """Copy a submission. Links and special files are left out, and what exceeds the limits.

    Args:
        source: The folder of the submission; it is only read.
        target: A folder that does not exist.
        max_bytes: Of all files together, by the size that a reader sees: a sparse file counts in full.
        max_files: Of the copy.

    Raises:
        FileError: The copy cannot be written.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> (place / "ada").mkdir()
        >>> (place / "ada" / "model.py").write_text("class Net: ...")
        14
        >>> (place / "ada" / "passwords").symlink_to("/etc/passwd")
        >>> copy = copy_submission(place / "ada", place / "copy", max_bytes=1000, max_files=10)
        >>> copy.files, copy.notes
        (1, ['not copied, a link: passwords'])
    """
    result = PrivateCopy()
    digest = hashlib.sha256()
    files.make_folder(target)
    listed = sorted(_list(source, result), key=lambda each: each.order)
    copied: dict[str, str] = {}
    for each in listed:
        if result.files >= max_files:
            result.leave_out(f"more than {plural(max_files, 'file')}", each.name)
        elif each.size > max_bytes - result.size:
            result.leave_out(f"more than {size_text(max_bytes)} together", each.name)
        elif (name := _in_utf8(each.name)) in copied:
            result.leave_out("another file has its name", each.name)
        else:
            content = _copy(each, target / name, max_bytes - result.size, result)
            if content is not None:
                copied[name] = content
    for name in sorted(copied):
        digest.update(f"{name!a} {copied[name]}\n".encode())
    digest.update(repr(sorted(result.left_out)).encode())
    result.digest = digest.hexdigest()
    return result


def _list(source: Path, result: PrivateCopy) -> Iterator[_File]:
    """Yield the regular files, the outer folders first."""
    folders = [(source, 0)]
    count = 0
    for folder, depth in folders:
        try:
            with os.scandir(folder) as scan:
                entries = sorted(islice(scan, _MAX_ENTRIES + 1), key=lambda entry: entry.name)
        except OSError as error:
            result.leave_out(_reason(error), _relative(folder, source))
            continue
        for entry in entries:
            path = Path(entry.path)
            name = _relative(path, source)
            count += 1
            if count > _MAX_ENTRIES:
                result.leave_out(f"more than {_MAX_ENTRIES:,} entries", name)
                return
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                result.leave_out(_reason(error), name)
                continue
            if stat.S_ISREG(status.st_mode):
                yield _File(path, name, status.st_size)
            elif stat.S_ISDIR(status.st_mode):
                if entry.name in _SKIPPED or _is_environment(path):
                    continue
                if depth >= _MAX_DEPTH:
                    result.leave_out(f"below {_MAX_DEPTH} folders", name)
                else:
                    folders.append((path, depth + 1))
            else:
                result.leave_out(_kind(status.st_mode), name)


def _in_utf8(name: str) -> str:
    """Return a name that a record can have: bytes that are not UTF-8 become underscores."""
    return "".join("_" if "\ud800" <= char <= "\udfff" else char for char in name)


def _is_environment(folder: Path) -> bool:
    """Whether a folder is a virtual environment of Python."""
    with contextlib.suppress(OSError):
        return (folder / "pyvenv.cfg").is_file()
    return False


def _relative(path: Path, source: Path) -> str:
    return "." if path == source else str(path.relative_to(source))


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def _reason(error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "not readable"
    return (error.strerror or str(error)).lower()


def _copy(each: _File, target: Path, room: int, result: PrivateCopy) -> str | None:
    """Copy a file and return the hash of its content; None if it cannot be read."""
    try:
        # It may have become a link or a pipe since it was listed.
        handle = os.open(each.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        result.leave_out(_reason(error), each.name)
        return None
    digest = hashlib.sha256()
    size = 0
    with os.fdopen(handle, "rb") as source:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            result.leave_out("changed meanwhile", each.name)
            return None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                while size <= room and (block := source.read(min(_BLOCK, room - size + 1))):
                    copy.write(block)
                    digest.update(block)
                    size += len(block)
        except OSError as error:
            if error.errno not in _OF_SUBMISSION:
                raise files.write_error(target, error, each.size) from error
            result.leave_out(_reason(error), each.name)
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)
            return None
        # Of several files of weights, the newest may be the one to score.
        with contextlib.suppress(OSError, OverflowError):
            status = os.fstat(handle)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    if size > room:
        target.unlink()
        result.leave_out("changed meanwhile", each.name)
        return None
    result.files, result.size = result.files + 1, result.size + size
    return digest.hexdigest()
