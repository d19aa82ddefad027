"""Files that are no weights of PyTorch, recognised by their first bytes, and what to write instead."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

_KERAS = "train the net in PyTorch: weights of TensorFlow do not fit a PyTorch module"
_ONNX = "export the state_dict in PyTorch, where the ONNX file came from"
_UNPACK = "unpack it, and name the file in it"
_AGAIN = "download it again: the file's own address, not that of the page that shows it"
_SAVE = 'write torch.save(net.state_dict(), "net.pth") where the file was made'


@dataclass(frozen=True)
class ForeignFormat:
    """What a file is, and the fix."""

    name: str
    fix: str


# Beginnings, as regular expressions.
_BEGINNINGS = (
    (rb"\Z", ForeignFormat("an empty file", _AGAIN)),
    (
        rb"version https://git-lfs",
        ForeignFormat("a pointer of Git LFS, not the file itself", "fetch it: `git lfs pull`"),
    ),
    (rb"\s*<(!doctype|html|\?xml)", ForeignFormat("a web page", _AGAIN)),
    (rb"\x89HDF\r\n\x1a\n", ForeignFormat("an HDF5 file, as Keras writes", _KERAS)),
    (rb".{4}TFL3", ForeignFormat("a TensorFlow Lite file", _KERAS)),
    (rb"\x08[\x01-\x20](\x12|\x1a|\x22|\x3a|\x42)", ForeignFormat("an ONNX file", _ONNX)),
    (rb"GGUF", ForeignFormat("a GGUF file, of a language model", _SAVE)),
    (rb"\x93NUMPY", ForeignFormat("a NumPy array", _SAVE)),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", ForeignFormat("a packed file", _UNPACK)),
    (rb"\x80[\x00-\x05]", ForeignFormat("a pickle that torch.save did not write", _SAVE)),
    (rb"\s*[{\[]", ForeignFormat("a JSON file", "name the .safetensors or .pth file beside it")),
)
_TAR = ForeignFormat("a tar archive, packed files or what torch.save wrote before 2017", _SAVE)
_SUFFIXES = {".pth", ".pt", ".bin", ".ckpt", ".safetensors"}


def foreign_format(content: bytes) -> ForeignFormat | None:
    """Return the format of a file that is none of PyTorch's, if it is a known one.

    >>> foreign_format(b"<!DOCTYPE html><html>").name
    'a web page'
    """
    for beginning, found in _BEGINNINGS:
        if re.match(beginning, content[:64], flags=re.IGNORECASE | re.DOTALL):
            return found
    return _TAR if content[257:262] == b"ustar" else None


def foreign_archive(names: Collection[str]) -> ForeignFormat:
    """Return the format of a zip archive that torch.save did not write, by the names of its members.

    >>> foreign_archive(["net/constants.pkl", "net/data.pkl"]).name
    'a TorchScript archive'
    """
    paths = [PurePosixPath(name) for name in names]
    last = {path.name for path in paths}
    if "constants.pkl" in last:
        return ForeignFormat(
            "a TorchScript archive", 'write torch.save(torch.jit.load("net.pt").state_dict(), "net.pth")'
        )
    if "archive_format" in last or "serialized_exported_program.json" in last:
        return ForeignFormat(
            "a program of torch.export",
            'write torch.save(torch.export.load("net.pt2").state_dict, "net.pth")',
        )
    if any(path.suffix == ".h5" for path in paths):
        return ForeignFormat("an archive of Keras", _KERAS)
    if paths and all(path.suffix == ".npy" for path in paths):
        return ForeignFormat("a NumPy archive", _SAVE)
    if inner := sorted(path.name for path in paths if path.suffix in _SUFFIXES):
        return ForeignFormat(f"a zip archive that holds {inner[0]}", _UNPACK)
    return ForeignFormat("a zip archive that torch.save did not write", _SAVE)
