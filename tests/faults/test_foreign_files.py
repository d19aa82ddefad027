"""Files from elsewhere: nothing in them is run or imported, and nothing is believed before it is checked."""

import io
import json
import os
import pickle
import struct
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from convsmith.errors import ConvsmithError, FileError, RunError
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.runs.checkpoint import load_checkpoint
from convsmith.runs.folder import RunFolder
from convsmith.system import files, reading
from helpers.oracle import Oracle, in_process

RECIPE = """
[data]
source = "digits"
[model]
net = "C4 / G F10"
[train]
epochs = 1
batch_size = 64
[train.optimizer]
name = "sgd"
lr = 0.1
"""


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


# Modules of the standard library that nothing else loads, and that show it when they are.
NAMES = ("antigravity", "this.s", "antigravity.webbrowser", "__class__", "os.system", "__import__('this')")


@pytest.mark.parametrize("name", NAMES)
def test_names_in_files_are_never_imported(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    places = {
        "model.net": (RECIPE.replace("C4 / G F10", f"{name} / G F10"), "E030"),
        "model.activation": (RECIPE.replace("[train]", f'activation = "{name}"\n[train]'), "E030"),
        "train.optimizer": (RECIPE.replace('"sgd"', f'"{name}"'), "E030"),
        "train.schedule": (RECIPE + f'[train.schedule]\nname = "{name}"\n', "E030"),
        "augment": (RECIPE + f'[[augment.transforms]]\nname = "{name}"\n', "E030"),
        "brief": (f'brief = "{name}"\n' + RECIPE, "E030"),
        "data": (RECIPE.replace('"digits"', f'"{name}"'), "E040"),
        f"{name}": (RECIPE + f'["{name}"]\nx = 1\n', "E030"),
    }
    in_process("check", "digits")
    for field, (text, code) in places.items():
        path.write_text(text)
        before = set(sys.modules)
        for command in ("check", "train"):
            ended = in_process(
                command, str(path), *(["--runs", str(tmp_path / "runs")] if command == "train" else [])
            )
            assert ended.code == 2, (field, ended)
            assert ended.err.startswith(f"error[{code}]"), (field, ended)
        assert not {"antigravity", "this"} & set(sys.modules)
        ours = {
            module for module in set(sys.modules) - before if not module.startswith(("convsmith", "torch"))
        }
        assert not ours & {"os.system", "webbrowser"}, field
        assert ended.err.count("Traceback") == 0
    # What the command itself loads late is loaded before.
    in_process("summary", "nothing / G F10", "--input", "3x32x32")
    before = set(sys.modules)
    Oracle().check(in_process("summary", f"{name} / G F10", "--input", "3x32x32"), exit_code=2, code="E020")
    assert set(sys.modules) == before


def safetensors_file(header: object, data: bytes = bytes(64)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(first: int, last: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(last - first) // 4], "data_offsets": [first, last]}


def one(name: str, first: int, last: int) -> str:
    return f'"{name}": {json.dumps(entry(first, last))}'


FILES = {
    "overlapping": safetensors_file({"a": entry(0, 40), "b": entry(24, 64)}),
    "a hole": safetensors_file({"a": entry(0, 16), "b": entry(32, 64)}),
    "beyond the end": safetensors_file({"a": entry(0, 128)}),
    "backwards": safetensors_file({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}),
    "a name twice": safetensors_file(f'{{{one("a", 0, 64)}, {one("a", 0, 64)}}}'.encode()),
    "a size that lies": safetensors_file({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 8]}}),
    "a negative size": safetensors_file({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 64]}}),
    "an unknown type": safetensors_file({"a": {"dtype": "O", "shape": [8], "data_offsets": [0, 64]}}),
    "a header of 2**63": struct.pack("<Q", 2**63) + b"{}" + bytes(64),
    "a header longer than the file": struct.pack("<Q", 200) + b"{}" + bytes(64),
    "deep": safetensors_file(b"[" * 100_000 + b"]" * 100_000),
    "not UTF-8": safetensors_file(b'{"\xff": 1}'),
    "no JSON": safetensors_file(b"{]"),
    "short": b"\0\0",
    "empty": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_an_inconsistent_safetensors_file_is_rejected(name: str, tmp_path: Path) -> None:
    for path in (tmp_path / "model.safetensors", tmp_path / "state.safetensors"):
        path.write_bytes(FILES[name])
    oracle = Oracle(tmp_path)
    net = build(plan(parse("C4 / G F10"), (1, 8, 8)))
    with pytest.raises(RunError) as weights:
        RunFolder(path=tmp_path).load_weights(net)
    with pytest.raises(RunError) as tensor:
        RunFolder(path=tmp_path).find_weight("a")
    with pytest.raises(RunError) as state:
        load_checkpoint(tmp_path / "state.safetensors")
    assert str(tmp_path / "model.safetensors") in str(weights.value)
    assert str(tmp_path / "model.safetensors") in str(tensor.value)
    assert str(tmp_path / "state.safetensors") in str(state.value)
    oracle.check_files()


def test_a_pickle_is_never_opened_whatever_its_name(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    content = pickle.dumps(Canary(canary))
    saved = io.BytesIO()
    torch.save({"a": Canary(canary)}, saved)
    array = io.BytesIO()
    np.savez(array, logits=np.array([Canary(canary)], dtype=object))
    net = build(plan(parse("C4 / G F10"), (1, 8, 8)))
    for each in (content, saved.getvalue(), array.getvalue()):
        for path in ("model.safetensors", "state.safetensors", "a.npz", "a.json", "a.toml"):
            (tmp_path / path).write_bytes(each)
        with pytest.raises(ConvsmithError):
            RunFolder(path=tmp_path).load_weights(net)
        with pytest.raises(ConvsmithError):
            load_checkpoint(tmp_path / "state.safetensors")
        for read, path in (
            (reading.read_arrays, "a.npz"),
            (reading.read_json, "a.json"),
            (reading.read_toml, "a.toml"),
        ):
            with pytest.raises(FileError, match=path):
                read(tmp_path / path)
    assert not canary.exists()
    # The canary would have sung.
    pickle.loads(content)  # noqa: S301
    assert canary.is_dir()


def npy(shape: tuple[int, ...], content: bytes, kind: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def archive(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive_file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for name, content in members:
            archive_file.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        archive(("a.npy", npy((10**12,), bytes(16)))),
        archive(("a.npy", npy((-1,), bytes(16)))),
        archive(("a.npy", npy((4,), bytes(12)))),
        archive(("a.npy", npy((1,), bytes(8), "|O"))),
        archive(("a.npy", npy((1,), bytes(8), "<c8"))),
        archive(("a.npy", npy((1,), bytes(8), "<M8[s]"))),
        archive(("a.npy", npy((4,), bytes(16))), ("a.npy", npy((4,), bytes(16)))),
        archive(*((f"{number}.npy", npy((1,), bytes(4))) for number in range(1001))),
        archive(("a.txt", b"text")),
        archive(("a.npy", b"")),
        b"PK\x03\x04",
        b"",
    ],
    ids=[
        "claims 4 TB",
        "negative",
        "short",
        "objects",
        "complex",
        "dates",
        "twice",
        "many",
        "text",
        "empty member",
        "cut",
        "empty",
    ],
)
def test_an_inconsistent_archive_is_rejected(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FileError, match="not a NumPy archive"):
        reading.read_arrays(tmp_path / "a.npz")


def test_an_archive_bomb_is_rejected_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.npz").write_bytes(archive(("a.npy", npy((2**20,), bytes(2**22)))))
    assert (tmp_path / "a.npz").stat().st_size < 2**22 / 500
    assert reading.read_arrays(tmp_path / "a.npz")["a"].shape == (2**20,)
    monkeypatch.setattr(reading, "_MAX_UNPACKED", 2**21)
    with pytest.raises(FileError, match=r"bytes unpacked, expected at most 2,097,152"):
        reading.read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[" * 10**6 + "]" * 10**6, "found 1,000,000 levels of nesting, expected at most 100"),
        ('{"a": ' * 101 + "1" + "}" * 101, "found 101 levels of nesting"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate key 'c'"),
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ("9" * 5000, "not valid JSON"),
    ],
    ids=["deep list", "deep table", "a key twice", "cut", "empty", "a long number"],
)
def test_json_is_limited_before_parsing(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileError) as caught:
        reading.read_json(tmp_path / "a.json")
    assert what in str(caught.value)


def test_brackets_in_strings_are_not_nesting(tmp_path: Path) -> None:
    value = {"a": "[[[" * 100, 'b"\\[': ["{"] * 200}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert reading.read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "{a=" * 50_000,
        "[" + "a." * 100_000 + "a]",
        "x = {" + "'a'. " * 99 + "a = 1}",
        "a" * 10**6,
        "#" * 2**21,
    ],
)
def test_toml_is_limited(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    Oracle(tmp_path).expect_error("check", str(tmp_path / "a.toml"), code="E0[13]0", names=())


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.toml")
    Oracle().expect_error("check", str(tmp_path / "a.toml"), code="E010", names=("not a regular file",))


def test_deeply_nested_overrides_are_text() -> None:
    Oracle().expect_error("check", "digits", "seed=" + "[" * 20_000, code="E030", names=("seed",))


def test_files_written_by_convsmith_pass(tmp_path: Path) -> None:
    content = safetensors.torch.save({"a": torch.arange(4.0)}, {"note": "[" * 1000})
    (tmp_path / "model.safetensors").write_bytes(content)
    weight = RunFolder(path=tmp_path).find_weight("a")
    assert weight is not None
    assert weight.tolist() == [0, 1, 2, 3]
    assert RunFolder(path=tmp_path).find_weight("b") is None
    arrays: dict[str, Any] = {"a": np.zeros((2, 3)), "b": np.array([b"x"]), "c": np.array(1.5)}
    files.write_arrays(tmp_path / "a.npz", dict(arrays))
    assert {name: array.shape for name, array in reading.read_arrays(tmp_path / "a.npz").items()} == {
        name: array.shape for name, array in arrays.items()
    }
