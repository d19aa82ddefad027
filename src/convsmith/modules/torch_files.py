"""Read what `torch.save` wrote, as a zip archive or in the format before PyTorch 1.6; nothing in it is run.

This is the only place that calls `torch.load`. What the pickle in the file names is found first, and its
sizes are compared with the file's. PyTorch reads a new archive of the checked parts.
"""

import io
import warnings
import zipfile
from dataclasses import dataclass
from typing import Any

import torch

from convsmith.errors import ConvsmithError, FileError, ModuleError
from convsmith.modules.foreign_formats import foreign_archive
from convsmith.modules.pickles import MAX_PICKLE, PickleContent, PickleError, read_pickle
from convsmith.modules.placeholders import placeholders
from convsmith.text import one_line, size_text

# The first pickle of the old format: a number.
_OLD_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_MAX_MEMBERS = 100_000
_SAVE = 'torch.save(net.state_dict(), "net.pth")'
# Modules of the names that PyTorch's reader knows.
_KNOWN = ("torch.", "collections.", "builtins.", "_codecs.")
# The first allocates as many bytes as the file says. Sparse tensors of a file that cannot be read would
# be checked with the next file.
_REFUSED = ("builtins.bytearray", "torch._utils._rebuild_sparse_tensor", "torch.sparse.")
# Only programs that are meant to do harm name these; placeholders would stand for them too.
_PROGRAMS = {
    "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__", "builtins.open",
    "builtins.breakpoint", "builtins.input",
}  # fmt: skip
_PROGRAM_MODULES = {
    "ctypes", "importlib", "nt", "os", "posix", "pty", "runpy", "shutil", "socket", "subprocess", "sys",
    "webbrowser",
}  # fmt: skip


@dataclass(frozen=True)
class TorchFile:
    """The content of a file.

    Attributes:
        value: The object; placeholders stand for objects of other classes than PyTorch's.
        modules: Classes of whole modules, if the old format names them; the value is None then.
    """

    value: Any
    modules: tuple[str, ...] = ()


def is_torch_file(content: bytes) -> bool:
    """Return whether a file is a zip archive, or of the old format of `torch.save`."""
    return content.startswith((b"PK\x03\x04", b"PK\x05\x06", _OLD_MAGIC))


def load_torch_file(content: bytes, where: str) -> TorchFile:
    """Load the object in a file.

    Args:
        content: The file.
        where: Its name, for errors.

    Raises:
        FileError: It is damaged, is of another format, or names programs.
        ModuleError: Its tensors are of another class than PyTorch's.
    """
    try:
        if content.startswith(_OLD_MAGIC):
            file, named = _old_parts(content)
        else:
            file, named = _archive_parts(content, where)
        _check_names(named.names, where)
        if named.modules:
            return TorchFile(value=None, modules=tuple(named.modules))
        return TorchFile(value=_load(file, named, where))
    except ConvsmithError:
        raise
    except PickleError as error:
        raise FileError(
            f"not a file of weights: {error}",
            where=where,
            fix=f"copy it again; if it is complete, write {_SAVE} where it was made",
        ) from error
    # A damaged archive makes zipfile and PyTorch raise nearly any exception.
    except Exception as error:
        raise FileError(
            f"damaged: {_reason(error)}",
            where=where,
            fix="copy or download it again",
        ) from error


def _load(file: io.BytesIO, named: PickleContent, where: str) -> Any:
    try:
        with placeholders(named), warnings.catch_warnings():
            # About other versions of the pickle's protocol, and storages with a type.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    # Functions of PyTorch that get a placeholder raise what they raise.
    except Exception as error:
        classes = [name for name in sorted(named.names) if not name.startswith(_KNOWN)]
        reason = f"its class {one_line(classes[0])} stands in the way" if classes else _reason(error)
        raise ModuleError(
            f"PyTorch cannot read the weights without running the file: {reason}",
            where=where,
            fix=f"write {_SAVE} where it was made, with tensors of the class torch.Tensor",
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(lines[0] if lines else type(error).__name__)


def _check_names(names: set[str], where: str) -> None:
    programs = [
        name for name in sorted(names) if name in _PROGRAMS or name.partition(".")[0] in _PROGRAM_MODULES
    ]
    if programs:
        raise FileError(
            f"it would call {one_line(programs[0])} if it was unpickled: it holds a program",
            where=where,
            fix="ask its author for a safetensors file; nothing of this one was run",
        )
    if found := sorted(name for name in names if name.startswith(_REFUSED)):
        raise PickleError(f"it holds {found[0]}")


def _old_parts(content: bytes) -> tuple[io.BytesIO, PickleContent]:
    """Check a file of the old format: five pickles, then the storages, each after its length."""
    file = io.BytesIO(content)
    for _ in range(3):
        _check_plain(read_pickle(file))
    named = read_pickle(file)
    if not named.modules:
        _check_plain(read_pickle(file))
        rest = len(content) - file.tell()
        needed = _total(named) + 8 * len(named.storages)
        if rest < needed:
            raise PickleError(f"{size_text(needed)} of numbers are expected, and {size_text(rest)} are there")
    file.seek(0)
    return file, named


def _check_plain(content: PickleContent) -> None:
    if content.names:
        raise PickleError(f"{min(content.names)} where PyTorch writes numbers and texts")


def _total(named: PickleContent) -> int:
    if min(named.storages.values(), default=0) < 0:
        raise PickleError("a storage of negative size")
    return sum(named.storages.values())


def _archive_parts(content: bytes, where: str) -> tuple[io.BytesIO, PickleContent]:
    """Check a zip archive, and return one with the parts that are used."""
    # Signatures of the entries of the directory: zipfile would read them all.
    if content.count(b"PK\x01\x02") > _MAX_MEMBERS:
        raise PickleError(f"more than {_MAX_MEMBERS:,} parts in the archive")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        prefixes = [name.removesuffix("/data.pkl") for name in members if name.count("/") == 1]
        prefixes = [prefix for prefix in prefixes if f"{prefix}/data.pkl" in members]
        if len(prefixes) != 1 or any(name.endswith("/constants.pkl") for name in members):
            found = foreign_archive(members)
            raise FileError(f"found {found.name}, expected weights of PyTorch", where=where, fix=found.fix)
        if len(members) < len(archive.infolist()):
            raise PickleError("two parts of one name in the archive")
        if sum(member.file_size for member in members.values()) > len(content):
            raise PickleError("its parts are larger than the archive, which torch.save does not write")
        (prefix,) = prefixes
        if members[f"{prefix}/data.pkl"].file_size > MAX_PICKLE:
            raise PickleError(f"a pickle of more than {MAX_PICKLE:,} bytes")
        named = read_pickle(io.BytesIO(archive.read(f"{prefix}/data.pkl")))
        return _checked_archive(archive, members, prefix, named), named


def _checked_archive(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], prefix: str, named: PickleContent
) -> io.BytesIO:
    _total(named)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as copy:
        for name in ("data.pkl", "byteorder", "version", ".format_version", ".storage_alignment"):
            if f"{prefix}/{name}" in members:
                copy.writestr(f"archive/{name}", archive.read(f"{prefix}/{name}"))
        for key, size in named.storages.items():
            member = members.get(f"{prefix}/data/{key}")
            if member is None or member.file_size != size:
                found = "nothing" if member is None else size_text(member.file_size)
                raise PickleError(f"a tensor has {size_text(size)}, and its part of the archive {found}")
            copy.writestr(f"archive/data/{key}", archive.read(member))
    file.seek(0)
    return file
