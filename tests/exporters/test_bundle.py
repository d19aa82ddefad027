"""Export of bundles."""

import hashlib
import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.dataset import load as load_data
from convsmith.errors import FileError, RunError
from convsmith.models import bundle
from helpers.own_nets import write_nets


def test_weights_are_fp16_if_the_accuracy_holds(tiny_run: Path, tiny_bundle: Path) -> None:
    run_weights = safetensors.numpy.load_file(tiny_run / "model.safetensors")
    bundle_weights = safetensors.numpy.load_file(tiny_bundle / "model.safetensors")
    assert bundle_weights.keys() == run_weights.keys()
    for name, tensor in run_weights.items():
        expected = tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
        assert np.array_equal(bundle_weights[name], expected)
    metadata = bundle.read(tiny_bundle).metadata
    assert metadata.weights.format == "fp16"
    assert metadata.weights.correct_fp32 - metadata.weights.correct_fp16 <= 0.0005 * metadata.measured.total
    assert metadata.weights.agreement > 0.99


def test_weights_out_of_the_range_of_fp16_stay_fp32(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    weights = safetensors.numpy.load_file(run / "model.safetensors")
    # The same function: the scale of weights before a norm does not matter.
    for part in ("conv1.weight", "norm1.running_mean"):
        weights[f"block1.{part}"] *= np.float32(2e6)
    weights["block1.norm1.running_var"] *= np.float32(4e12)
    safetensors.numpy.save_file(weights, run / "model.safetensors")
    (run / "manifest.json").unlink()
    metadata = bundle.read(cs.export_bundle(run, tmp_path / "bundle")).metadata
    assert metadata.weights.format == "fp32"
    assert metadata.weights.correct_fp16 == 0
    assert metadata.weights.agreement > 0.99


def test_a_bundle_is_four_files_with_measured_metrics(
    tiny_bundle: Path, digits_test_images: np.ndarray
) -> None:
    assert {path.name for path in tiny_bundle.iterdir()} == {*bundle.CONTENTS, bundle.MANIFEST}
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    for name in bundle.CONTENTS:
        content = (tiny_bundle / name).read_bytes()
        assert manifest[name] == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    metadata, classifier = bundle.read(tiny_bundle).metadata, cs.load(tiny_bundle)
    labels = load_data(metadata.origin.data).test.labels
    right = classifier.logits(digits_test_images).argmax(1) == labels
    assert (metadata.measured.correct, metadata.measured.total) == (int(right.sum()), len(labels))
    card = (tiny_bundle / "README.md").read_text()
    analysis = cs.summary("C8 C16:s2 / G F10", (1, 8, 8))
    for text in (
        f"**{100 * right.mean():.2f} %**", f"{analysis.parameters:,}", f"{analysis.macs:,} per image",
        "scikit-learn digits", "unsure", "## Limitations", 'net = "C8 C16:s2 / G F10"', "recipe.toml",
    ):  # fmt: skip
        assert text in card


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
    ("arguments", "message"),
    [
        ([], "--bundle DIR, --onnx FILE, or --code"),
        (["--int8"], "--onnx model.onnx"),
        (["train.epochs=3", "--onnx", "a.onnx"], "train.epochs=3: a trained model cannot be changed"),
    ],
)
def test_contradictory_options_are_refused(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["export", "digits", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_bundles_of_instances_need_code_that_makes_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = write_nets(tmp_path / "code")
    code.write_text(code.read_text() + FLIPPED)
    monkeypatch.syspath_prepend(code.parent)
    own = importlib.import_module("model")
    recipe = cs.load_recipe("digits", "train.epochs=1", "name=instance")
    for name, net, what in (
        ("same", own.Net(), ""),
        ("wider", own.Net(width=6), "its code makes another net: Error(s) in loading state_dict"),
        ("flipped", own.Flipped(flips=True), "its code makes another net: the same prediction for"),
    ):
        run = cs.train(recipe, module=net, runs=tmp_path / name).folder
        if not what:
            assert (
                bundle.read(cs.export_bundle(run, tmp_path / "bundle", trust_code=True)).metadata.format == 3
            )
            continue
        with pytest.raises(RunError, match="it was trained with an instance") as caught:
            cs.export_bundle(run, tmp_path / "other", trust_code=True)
        assert what in str(caught.value)
        assert "train again" in str(caught.value)
    assert not (tmp_path / "other").exists()
    sys.modules.pop("model")
    sys.modules.pop("layers")


FLIPPED = """
class Flipped(Net):
    def __init__(self, flips=False):
        super().__init__()
        self.flips = flips

    def forward(self, x):
        return super().forward(x.flip(2) * 2 if self.flips else x)
"""
