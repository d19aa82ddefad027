"""Bundles: written atomically, verified when read."""

from pathlib import Path

import numpy as np
import pytest

import convsmith as cs
from convsmith.cli import run as command
from convsmith.errors import BundleError, FileError
from convsmith.models import bundle
from convsmith.system import files
from helpers.images import saved


def test_a_failed_write_restores_the_previous_bundle(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in bundle_copy.iterdir()}
    write = files.write_bytes

    def full(path: Path, content: bytes) -> None:
        if path.name == "README.md":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(FileError, match="No space left"):
        bundle.write(bundle_copy, {**before, "README.md": b"new"}, replace=True)
    with pytest.raises(FileError, match="No space left"):
        bundle.write(bundle_copy.with_name("new"), before)
    assert {path.name: path.read_bytes() for path in bundle_copy.iterdir()} == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == ["copy"]


def test_flipped_bytes_and_truncated_files_are_detected(bundle_copy: Path) -> None:
    for path in sorted(bundle_copy.iterdir()):
        content = path.read_bytes()
        step = max(1, len(content) // 12)
        for place in range(0, len(content), step):
            flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            for damaged in (flipped, content[:place]):
                path.write_bytes(damaged)
                with pytest.raises(BundleError):
                    cs.load(bundle_copy)
        path.write_bytes(content)
    assert cs.load(bundle_copy).name == "tiny"


def test_a_missing_bundle_is_reported(
    tmp_path: Path, bundle_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle_copy / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"model\.safetensors is missing"):
        cs.load(bundle_copy)
    picture = saved(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    for target, message in (
        ("cifar10-sprnt", "did you mean 'cifar10-sprint'?"),
        (str(tmp_path / "no"), "no such folder"),
        (str(tmp_path), "not a trained run"),
    ):
        assert command(["predict", target, picture]) == 2
        assert message in capsys.readouterr().err
