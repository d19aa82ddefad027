"""Files of other formats are named, with what to write instead."""

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from convsmith.errors import FileError
from convsmith.modules.weights import read_state_dict


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as written:
        written.addfile(tarfile.TarInfo("storages"))
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def _zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name in names:
            written.writestr(name, b"x" * 100)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of Git LFS"),
        (b"\n<!doctype html>\n<html></html>", "a web page"),
        (b"<?xml version='1.0'?><Error>denied</Error>", "a web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(100), "a TensorFlow Lite file"),
        (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
        (_npy(), "a NumPy array"),
        (gzip.compress(b"weights"), "a packed file"),
        (pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
        (pickle.dumps({"a": 1}, protocol=2), "a pickle that torch.save did not write"),
        (b'{"weight_map": {}}', "a JSON file"),
        (_tar(), "a tar archive"),
        (_npz(), "a NumPy archive"),
        (_zip("net/data.pkl", "net/constants.pkl", "net/code/net.py"), "a TorchScript archive"),
        (_zip("net/archive_format", "net/models/model.json"), "a program of torch.export"),
        (_zip("config.json", "metadata.json", "model.weights.h5"), "an archive of Keras"),
        (_zip("runs/net.pth"), "a zip archive that holds net.pth"),
        (_zip("a.txt"), "a zip archive that torch.save did not write"),
        (_zip(), "a zip archive that torch.save did not write"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_formats(content: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        read_state_dict(path)
    first, fix = str(caught.value).splitlines()
    assert first.startswith(f"error[E010]: {path}: found {name}")
    assert first.endswith(", expected weights of PyTorch")
    assert fix.startswith("  fix: ")


@pytest.mark.parametrize("content", [b"just a text", b"\x00" * 100, bytes(range(1, 200))])
def test_unknown_formats(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        read_state_dict(path)
    assert str(caught.value) == (
        f"error[E010]: {path}: not a file of weights: neither safetensors nor written by torch.save\n"
        '  fix: write torch.save(net.state_dict(), "net.pth") where the net was trained'
    )


def test_an_onnx_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    for producer in ("", "pytorch"):
        path = tmp_path / "net.onnx"
        path.write_bytes(onnx.helper.make_model(graph, producer_name=producer).SerializeToString())
        with pytest.raises(FileError, match="found an ONNX file"):
            read_state_dict(path)
