"""What pickles name, compared with what the standard library writes."""

import argparse
import collections
import io
import pathlib
import pickle

import pytest
import torch

from convsmith.modules.pickles import PickleContent, PickleError, read_pickle


def content(value: object) -> PickleContent:
    return read_pickle(io.BytesIO(pickle.dumps(value, protocol=2)))


def test_classes_and_functions() -> None:
    value = {
        "args": argparse.Namespace(lr=0.1),
        "path": pathlib.PurePosixPath("a"),
        "sum": sum,
        "dict": collections.defaultdict(list, {"a": [1]}),
        "ordered": collections.OrderedDict(b=2),
        "plain": [1, 2.5, "text", b"bytes", None, True, (1, (2, (3, 4, 5, 6))), 2**70, {1, 2}],
    }
    found = content(value)
    assert found.names == {
        "argparse.Namespace", "pathlib.PurePosixPath", "builtins.sum", "collections.defaultdict",
        "builtins.list", "collections.OrderedDict", "_codecs.encode", "builtins.set",
    }  # fmt: skip
    assert found.mappings == {"collections.defaultdict", "collections.OrderedDict"}


def test_the_position_is_behind_the_pickle() -> None:
    file = io.BytesIO(pickle.dumps([1], protocol=2) + pickle.dumps({"a": 2}, protocol=2) + b"rest")
    read_pickle(file)
    read_pickle(file)
    assert file.read() == b"rest"


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.uint8,
        torch.bool,
        torch.complex64,
    ],
)
def test_sizes_of_storages(dtype: torch.dtype) -> None:
    file = io.BytesIO()
    tensor = torch.zeros(2, 3, dtype=dtype)
    torch.save(
        {"a": tensor, "b": tensor[1:], "c": torch.zeros(5, dtype=dtype)},
        file,
        _use_new_zipfile_serialization=False,
    )
    file.seek(0)
    for _ in range(3):
        read_pickle(file)
    assert sorted(read_pickle(file).storages.values()) == [5 * dtype.itemsize, 6 * dtype.itemsize]


def test_an_unknown_storage() -> None:
    kind, key, place = b"X\x07\x00\x00\x00storage", b"X\x01\x00\x00\x000", b"X\x03\x00\x00\x00cpu"
    pickled = b"\x80\x02(" + kind + b"cnumpy\nFloatStorage\n" + key + place + b"K\x04tQ."
    with pytest.raises(PickleError, match=r"a storage of the unknown kind numpy\.FloatStorage"):
        read_pickle(io.BytesIO(pickled))
