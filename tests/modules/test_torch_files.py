"""Hostile and damaged files of `torch.save`: nothing is run, and every size is checked."""

import io
import os
import pickle
import pickletools
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from convsmith.errors import ConvsmithError, FileError, ModuleError
from convsmith.modules.torch_files import load_torch_file
from helpers.checkpoints import small_net


def content_of(value: Any, *, old: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def archive(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as written:
        for name, content in parts.items():
            written.writestr(name, content)
    return file.getvalue()


def parts_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as read:
        return {name: read.read(name) for name in read.namelist()}


def with_pickle(pickled: bytes) -> bytes:
    return archive({"net/data.pkl": pickled, "net/version": b"3\n", "net/byteorder": b"little"})


def problem(content: bytes) -> str:
    with pytest.raises(ConvsmithError) as caught:
        load_torch_file(content, "net.pth")
    assert isinstance(caught.value, FileError | ModuleError)
    return str(caught.value)


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.mkdir, ("FOLDER",), "posix.mkdir"),
        (os.system, ("mkdir FOLDER",), "posix.system"),
        (subprocess.getoutput, ("mkdir FOLDER",), "subprocess.getoutput"),
        (exec, ("import os; os.mkdir('FOLDER')",), "builtins.exec"),
        (eval, ("__import__('os').mkdir('FOLDER')",), "builtins.eval"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="the names of another system")
def test_a_program_in_the_file_is_not_run(
    function: Callable[..., Any], arguments: tuple[str, ...], name: str, old: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    canary = Canary(function, *(each.replace("FOLDER", str(folder)) for each in arguments))
    content = content_of({"net": small_net().state_dict(), "more": canary}, old=old)
    assert problem(content) == (
        f"error[E010]: net.pth: it would call {name} if it was unpickled: it holds a program\n"
        "  fix: ask its author for a safetensors file; nothing of this one was run"
    )
    assert not folder.exists()
    # Unpickling does run it.
    torch.load(io.BytesIO(content), weights_only=False)
    assert folder.exists()


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
def test_other_functions_are_not_called_either(old: bool, tmp_path: Path) -> None:
    path = tmp_path / "made"
    content = content_of({"net": small_net().state_dict(), "path": Canary(Path.touch, path)}, old=old)
    assert set(load_torch_file(content, "net.pth").value) == {"net", "path"}
    assert not path.exists()


def test_a_class_that_the_user_has_declared_safe_is_not_made(tmp_path: Path) -> None:
    torch.serialization.add_safe_globals([Canary, Path.touch])
    try:
        before = set(torch.serialization.get_safe_globals())
        path = tmp_path / "made"
        load_torch_file(content_of({"net": torch.ones(2), "path": Canary(Path.touch, path)}), "net.pth")
        assert not path.exists()
        assert set(torch.serialization.get_safe_globals()) == before
    finally:
        torch.serialization.clear_safe_globals()


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
def test_tensors_of_a_gpu(old: bool) -> None:
    state = small_net().state_dict()
    content = content_of({"net": state}, old=old)
    pickled = content if old else parts_of(content)["archive/data.pkl"]
    moved = pickled.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert moved != pickled
    content = moved if old else archive(parts_of(content) | {"archive/data.pkl": moved})
    found = load_torch_file(content, "net.pth").value["net"]
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_sparse_tensors_are_refused_before_they_are_made() -> None:
    content = content_of({"a": torch.ones(3).to_sparse()})
    assert "it holds torch._utils._rebuild_sparse_tensor" in problem(content)


def nested(depth: int) -> bytes:
    """Return a pickle of a dict whose key is a tuple that is nested so deeply."""
    return b"\x80\x02})" + b"\x85" * depth + b"Ns."


def test_nested_tuples_do_not_end_the_process() -> None:
    assert len(load_torch_file(with_pickle(nested(90)), "net.pth").value) == 1
    assert "a tuple that is nested too deeply" in problem(with_pickle(nested(3_000_000)))
    # Each tuple has the one before twice: 2**60 elements.
    doubled = b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"Ns."
    assert "or too large" in problem(with_pickle(doubled))
    # A torch.Size is a tuple too.
    sizes = b"\x80\x02})" + b"q\x00ctorch\nSize\nh\x00\x85R" * 3 + b"Ns."
    assert "not a file of weights" not in problem(with_pickle(sizes))
    sizes = b"\x80\x02}" + b"ctorch\nSize\n" * 200 + b")" + b"\x85R" * 200 + b"Ns."
    assert "a tuple that is nested too deeply" in problem(with_pickle(sizes))


def test_what_refers_to_itself_has_an_end() -> None:
    loop = b"\x80\x02}q\x00X\x04\x00\x00\x00selfh\x00s."
    value = load_torch_file(with_pickle(loop), "net.pth").value
    assert value["self"] is value


def test_the_sizes_of_tensors_are_those_of_the_parts() -> None:
    parts = parts_of(content_of({"w": torch.ones(4)}))
    (name,) = [name for name in parts if name.endswith("/data.pkl")]
    # The storage has 4 elements.
    assert parts[name].count(b"K\x04t") == 1
    for count in (b"M\x00\x40t", b"J\xff\xff\xff\xfft", b"J\xff\xff\xff\x7ft"):
        larger = archive(parts | {name: parts[name].replace(b"K\x04t", count)})
        assert problem(larger).startswith("error[E010]: net.pth: not a file of weights: a ")
    (data,) = [name for name in parts if name.endswith("/data/0")]
    del parts[data]
    assert "a tensor has 16 bytes, and its part of the archive nothing" in problem(archive(parts))


def test_a_view_may_not_leave_its_storage() -> None:
    parts = parts_of(content_of({"w": torch.ones(4)}))
    (name,) = [name for name in parts if name.endswith("/data.pkl")]
    # Shape (4,), stride (1,).
    assert parts[name].count(b"K\x04\x85") == 1
    larger = archive(parts | {name: parts[name].replace(b"K\x04\x85", b"M\x00\x40\x85")})
    assert problem(larger).startswith("error[E022]: net.pth: PyTorch cannot read the weights")


def test_bombs() -> None:
    zeros = archive({"net/data.pkl": b"\x80\x02N.", "net/data/0": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    assert len(zeros) < 2**15
    assert "its parts are larger than the archive" in problem(zeros)
    assert "more than 100,000 parts in the archive" in problem(zeros + b"PK\x01\x02" * 100_001)
    assert "a pickle of more than 33,554,432 bytes" in problem(with_pickle(bytes(2**25 + 1)))
    # bytearray(2**31 - 1), which PyTorch's reader would allocate.
    allocated = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    assert "it holds builtins.bytearray" in problem(with_pickle(allocated))
    assert "it holds builtins.bytearray" in problem(
        with_pickle(allocated.replace(b"builtins", b"__builtin__"))
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_parts_of_one_name() -> None:
    file = io.BytesIO(content_of({"w": torch.ones(4)}))
    with zipfile.ZipFile(file, "a") as written:
        written.writestr("archive/data.pkl", b"\x80\x02N.")
    assert "two parts of one name in the archive" in problem(file.getvalue())


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
def test_truncated_files(old: bool) -> None:
    content = content_of({"net": small_net().state_dict(), "epoch": 3}, old=old)
    for size in range(15, len(content), 97):
        assert problem(content[:size]).startswith("error[E010]: net.pth: ")


def test_the_old_format_has_all_numbers() -> None:
    content = content_of({"w": torch.ones(1000)}, old=True)
    assert "3.9 KiB of numbers are expected, and 3.9 KiB are there" in problem(content[:-1])
    assert "7.8 GiB of numbers are expected" in problem(
        content.replace(b"M\xe8\x03N", b"J\xff\xff\xff\x7cN", 1)
    )
    with_class = content.replace(b"\x80\x02M\xe9\x03.", b"\x80\x02ctorch\nSize\n.")
    assert "torch.Size where PyTorch writes numbers and texts" in problem(with_class)


@pytest.mark.parametrize("protocol", range(6))
def test_other_protocols_of_pickle(protocol: int) -> None:
    value = {"a": 1.5, "b": ("x" * 300, (2, True), [None]), "c": {"d": -1}}
    content = with_pickle(pickle.dumps(value, protocol=protocol))
    if protocol in {2, 3}:
        assert load_torch_file(content, "net.pth").value == value
    else:
        assert "which PyTorch's reader of weights does not know" in problem(content)


def test_names_of_python_2() -> None:
    pickled = b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R."
    assert "it would call builtins.eval" in problem(with_pickle(pickled))


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b".",
        b"\x80\x02.",
        b"\x80\x02N",
        b"\x80\x02h\x05.",
        b"\x80\x02\x85.",
        b"\x80\x02t.",
        b"\x80\x02R.",
        b"\x80\x02s.",
        b"\x80\x02NQ.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"\x80\x02ctorch\nSize\nN\x85R.",
    ],
)
def test_damaged_pickles(pickled: bytes) -> None:
    assert problem(with_pickle(pickled))


def test_the_pickles_of_pytorch_use_known_opcodes_only() -> None:
    for old in (False, True):
        content = content_of({"net": small_net().state_dict(), "epoch": 3}, old=old)
        load_torch_file(content, "net.pth")
    pickled = parts_of(content_of(small_net().state_dict()))["archive/data.pkl"]
    assert {opcode.proto for opcode, _, _ in pickletools.genops(pickled)} <= {0, 1, 2}
