"""Export of bundles."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.dataset import load as load_data
from convsmith.errors import FileError
from convsmith.models import bundle


def test_weights_are_fp16_if_the_accuracy_holds(tiny_run: Path, tiny_bundle: Path) -> None:
    theirs = safetensors.numpy.load_file(tiny_run / "model.safetensors")
    ours = safetensors.numpy.load_file(tiny_bundle / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        wanted = tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
        assert np.array_equal(ours[name], wanted)
    facts = bundle.read(tiny_bundle).metadata
    assert facts.weights.format == "fp16"
    assert facts.weights.correct_fp32 - facts.weights.correct_fp16 <= 0.0005 * facts.measured.total
    assert facts.weights.agreement > 0.99


def test_weights_out_of_the_range_of_fp16_stay_fp32(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    weights = safetensors.numpy.load_file(run / "model.safetensors")
    # The same net: what a norm follows may be of any size.
    for part in ("conv1.weight", "norm1.running_mean"):
        weights[f"block1.{part}"] *= np.float32(2e6)
    weights["block1.norm1.running_var"] *= np.float32(4e12)
    safetensors.numpy.save_file(weights, run / "model.safetensors")
    (run / "manifest.json").unlink()
    facts = bundle.read(cs.export_bundle(run, tmp_path / "bundle")).metadata
    assert facts.weights.format == "fp32"
    assert facts.weights.correct_fp16 == 0
    assert facts.weights.agreement > 0.99


def test_a_bundle_is_four_files_with_measured_metrics(
    tiny_bundle: Path, digits_test_images: np.ndarray
) -> None:
    assert {path.name for path in tiny_bundle.iterdir()} == {*bundle.CONTENTS, bundle.MANIFEST}
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    for name in bundle.CONTENTS:
        content = (tiny_bundle / name).read_bytes()
        assert manifest[name] == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    facts, classifier = bundle.read(tiny_bundle).metadata, cs.load(tiny_bundle)
    labels = load_data(facts.origin.data).test.labels
    right = classifier.logits(digits_test_images).argmax(1) == labels
    assert (facts.measured.correct, facts.measured.total) == (int(right.sum()), len(labels))
    card = (tiny_bundle / "README.md").read_text()
    analysis = cs.summary("C8 C16:s2 / G F10", (1, 8, 8))
    for told in (
        f"**{100 * right.mean():.2f} %**", f"{analysis.parameters:,}", f"{analysis.macs:,} an image",
        "scikit-learn digits", "unsure", "## Limitations", 'net = "C8 C16:s2 / G F10"', "recipe.toml",
    ):  # fmt: skip
        assert told in card


def test_equal_runs_give_equal_bundles_and_other_folders_are_kept(
    tiny_run: Path, bundle_copy: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in bundle_copy.iterdir()}
    cs.export_bundle(tiny_run, bundle_copy)
    (bundle_copy / "README.md").write_text("another")
    with pytest.raises(FileError, match="another bundle is there"):
        cs.export_bundle(tiny_run, bundle_copy)
    cs.export_bundle(tiny_run, bundle_copy, replace=True)
    assert {path.name: path.read_bytes() for path in bundle_copy.iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileError, match="not empty"):
        cs.export_bundle(tiny_run, tmp_path / "mine", replace=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--bundle DIR, --onnx FILE, or --code"),
        (["--int8"], "--onnx model.onnx"),
        (["train.epochs=3", "--onnx", "a.onnx"], "train.epochs=3: a trained net cannot be changed"),
    ],
)
def test_contradictory_options_are_refused(
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["export", "digits", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
