"""The weights of a bundle."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import convsmith as cs
from convsmith.errors import BundleError
from helpers.bundles import rewritten


def bad_weights() -> dict[str, Callable[[dict[str, np.ndarray]], bytes]]:
    def nan(tensors: dict[str, np.ndarray]) -> bytes:
        tensors["block1.conv1.weight"][0] = np.nan
        return safetensors.numpy.save(tensors)

    return {
        "a pickle": lambda _: b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.",
        "a header of 2^63 bytes": lambda _: struct.pack("<Q", 2**63) + b"{}",
        "not finite": nan,
        "one missing": lambda tensors: safetensors.numpy.save(dict(list(tensors.items())[1:])),
        "one more": lambda tensors: safetensors.numpy.save({**tensors, "x": np.zeros(1)}),
        "another shape": lambda tensors: safetensors.numpy.save(
            {name: tensor[..., :1] if tensor.ndim else tensor for name, tensor in tensors.items()}
        ),
        "nothing": lambda _: b"",
    }


@pytest.mark.parametrize("kind", bad_weights())
def test_invalid_weights_are_refused(
    bundle_copy: Path, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    content = bad_weights()[kind](safetensors.numpy.load_file(bundle_copy / "model.safetensors"))
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        cs.load(rewritten(bundle_copy, "model.safetensors", content))
    assert not (tmp_path / "canary").exists()
