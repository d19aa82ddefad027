"""The files that a net of the user's own is read from."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from convsmith.errors import FileError
from convsmith.system import files, paths, reading

# In bytes; notebooks hold pictures.
MAX_FILE, MAX_TOTAL, MAX_FILES = 2**26, 2**27, 500


@dataclass(frozen=True)
class SourceFiles:
    """Files of a net.

    Attributes:
        main: The file that holds the net, one of `files`.
        files: The content of each file; names are relative, with slashes.
    """

    main: str
    files: Mapping[str, bytes]

    def __post_init__(self) -> None:
        """Raises FileError for a name that leaves the folder, for too many or too large files."""
        object.__setattr__(self, "files", MappingProxyType(dict(sorted(self.files.items()))))
        for name in self.files:
            check_name(name)
        if self.main not in self.files:
            raise FileError("the file that holds the net is missing", where=self.main)
        sizes = [len(content) for content in self.files.values()]
        if len(sizes) > MAX_FILES or sum(sizes) > MAX_TOTAL:
            raise FileError(
                f"found {len(sizes):,} source files of {sum(sizes):,} bytes, "
                f"expected at most {MAX_FILES} of {MAX_TOTAL:,} bytes",
                where=self.main,
                fix="move the net into a file of its own",
            )

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of all names and contents, in hexadecimal digits.

        >>> SourceFiles("a.py", {"a.py": b""}).sha256 == SourceFiles("b.py", {"b.py": b""}).sha256
        False
        """
        digest = hashlib.sha256()
        for name, content in self.files.items():
            for part in (name.encode(errors="surrogateescape"), content):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each file, in hexadecimal digits."""
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}

    def write(self, folder: Path) -> None:
        """Write the files into a folder, which is created.

        Raises:
            FileError: The folder is not writable, or the disk is full.
        """
        for name, content in self.files.items():
            path = folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise files.write_error(path.parent, error) from error
            files.write_bytes(path, content)

    @classmethod
    def read(cls, folder: Path, main: str) -> "SourceFiles":
        """Read every file of a folder that `write` has written.

        Raises:
            FileError: `main` is not in it, a name leaves the folder, or there are too many or too large
                files.
        """
        return cls(main, {name: reading.read_bytes(folder / name, MAX_FILE) for name in names_in(folder)})


def names_in(folder: Path) -> list[str]:
    """Return the names of all files in a folder of source files, without the compiled ones of Python.

    Raises:
        FileError: It holds a link or a special file, or too many files.
    """
    found: list[str] = []
    for path in _files_in(folder):
        if len(found) >= MAX_FILES:
            raise FileError(f"found more than {MAX_FILES} source files", where=str(folder))
        found.append(path.relative_to(folder).as_posix())
    return found


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of the folders in it; links are not followed."""
    for path in paths.children(folder):
        if path.is_symlink():
            raise FileError("found a link, expected a file", where=str(path))
        if paths.is_folder(path):
            yield from _files_in(path)
        elif not paths.is_file(path):
            raise FileError("not a regular file", where=str(path))
        elif path.parent.name != "__pycache__" or path.suffix != ".pyc":
            yield path


def check_name(name: str) -> None:
    """Check the name of a source file: a relative path with slashes.

    Raises:
        FileError: It leaves the folder.
    """
    path = PurePosixPath(name)
    odd = {"", ".", ".."} & set(name.split("/"))
    if path.is_absolute() or odd or "\\" in name or ":" in name.partition("/")[0][:2] or "\0" in name:
        raise FileError("found a name outside of the folder, expected a relative path", where=name)
