"""Weights that were trained elsewhere: safetensors, and what `torch.save` wrote."""

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from convsmith.errors import FileError, ModuleError
from convsmith.modules import state_dicts, torch_files
from convsmith.modules.class_names import find_class_names
from convsmith.modules.foreign_formats import foreign_format
from convsmith.system import paths, reading
from convsmith.text import one_line

# In bytes: far more than the weights of an image classifier, with the state of its optimizer.
_MAX_FILE = 2**32
# A tensor may repeat its numbers, but not without end.
_MAX_REPEATED = 2**24
_MAX_NAME = 1000


@dataclass(frozen=True)
class Weights:
    """The tensors of a net, read from a file.

    Attributes:
        tensors: By name, on the CPU, as they are in the file.
        path: The file.
        entry: Where they were found, as `checkpoint['ema']['state_dict']`; empty for a plain state_dict.
        sha256: The hash of the whole file, in hexadecimal digits.
        notes: What was chosen and left out.
        class_names: In the order of the outputs, if the file names them.
    """

    tensors: Mapping[str, Tensor]
    path: Path
    entry: str
    sha256: str
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """File and entry, for errors."""
        return f"{self.path}, {self.entry}" if self.entry else str(self.path)


def read_state_dict(path: str | Path) -> Weights:
    """Read the weights of a net from a file; nothing in it is run.

    Args:
        path: A `.safetensors` file, or what `torch.save` wrote: a state_dict, or a checkpoint that holds one.
            The format follows from the content, not from the suffix. `net.pth#ema` chooses among several in a
            checkpoint, by a key or keys joined by dots, or by the first part of the tensors' names.

    Raises:
        FileError: The file cannot be read, is damaged, too large, of another format, or holds a program.
        ModuleError: It has no state_dict, several of equal rank, or a whole pickled module.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "net.pth"
        >>> torch.save({"net": {"fc.weight": torch.ones(2, 3)}, "acc": 91.5}, path)
        >>> weights = read_state_dict(path)
        >>> weights.entry, list(weights.tensors)
        ("checkpoint['net']", ['fc.weight'])
    """
    path, selector = _split(path)
    content = reading.read_bytes(path, _MAX_FILE)
    digest = hashlib.sha256(content).hexdigest()
    class_names: tuple[str, ...] = ()
    if torch_files.is_torch_file(content):
        loaded = torch_files.load_torch_file(content, str(path))
        found = state_dicts.find_state_dicts(loaded.value)
        if not found:
            raise state_dicts.missing(loaded.value, loaded.modules, str(path))
        chosen, notes = state_dicts.choose(found, selector, str(path))
        class_names = find_class_names(loaded.value)
    else:
        plain = state_dicts.StateDict(path=(), tensors=_read_safetensors(content, path))
        chosen, notes = state_dicts.choose([plain], selector, str(path))
    return Weights(
        tensors=_checked(chosen.tensors, len(content), str(path)),
        path=path,
        entry=chosen.expression,
        sha256=digest,
        notes=notes,
        class_names=class_names,
    )


def _split(path: str | Path) -> tuple[Path, str]:
    """Split `net.pth#ema`, unless a file has this name."""
    text = str(path)
    if "#" not in text or paths.exists(Path(text)):
        return Path(text), ""
    name, _, selector = text.rpartition("#")
    return Path(name), selector


def _read_safetensors(content: bytes, path: Path) -> dict[str, Tensor]:
    if content[8:9] != b"{" and (found := foreign_format(content)) is not None:
        raise FileError(f"found {found.name}, expected weights of PyTorch", where=str(path), fix=found.fix)
    try:
        reading.check_safetensors(content)
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, struct.error, OverflowError) as error:
        if content[8:9] != b"{":
            raise FileError(
                "not a file of weights: neither safetensors nor written by torch.save",
                where=str(path),
                fix='write torch.save(net.state_dict(), "net.pth") where the net was trained',
            ) from error
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise FileError(
            f"damaged safetensors: {one_line(reason)}",
            where=str(path),
            fix="copy or download it again",
        ) from error


def _checked(tensors: Mapping[str, Tensor], size: int, where: str) -> dict[str, Tensor]:
    """Return the tensors without gradients and attributes of the file's."""
    checked = {}
    total = 0
    for name, tensor in tensors.items():
        problem = _problem(name, tensor)
        # Of a few bytes in the file, strides of zero make a tensor of any size.
        total += 0 if problem else math.prod(tensor.shape) * tensor.element_size()
        if problem is None and total > 4 * size + _MAX_REPEATED:
            problem = f"has more numbers than the file: {tuple(tensor.shape)}"
        if problem is not None:
            raise ModuleError(
                f"the tensor {one_line(name)} {problem}",
                where=where,
                fix="save the weights as plain tensors on the CPU: "
                "torch.save({k: v.cpu().contiguous() for k, v in net.state_dict().items()}, ...)",
            )
        checked[name] = Tensor.detach(tensor)
    return checked


def _problem(name: str, tensor: Tensor) -> str | None:
    if len(name) > _MAX_NAME:
        return f"has a name of {len(name):,} characters"
    if type(tensor) not in {Tensor, torch.nn.Parameter}:
        return f"is of the class {type(tensor).__name__}"
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        return "is quantized or nested"
    if tensor.device.type != "cpu":
        return "has a shape and no numbers"
    return None
