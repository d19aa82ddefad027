"""ONNX export: the file computes what PyTorch does, or is not written."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import convsmith as cs
from convsmith.cli import run as command
from convsmith.exporters import onnx_model
from convsmith.models import bundle
from convsmith.models.bundle_weights import serialize
from convsmith.models.classifier import Classifier
from convsmith.models.zoo import zoo_folder


def with_weights(model: bytes, change: float) -> bytes:
    """Return the model with one weight changed."""
    proto = onnx.load_from_string(model)
    first = max(proto.graph.initializer, key=lambda each: int(np.prod(each.dims)))
    values = onnx.numpy_helper.to_array(first).copy()
    values.flat[0] += change
    first.CopyFrom(onnx.numpy_helper.from_array(values, first.name))
    content: bytes = proto.SerializeToString()
    return content


def test_the_file_computes_what_pytorch_does(
    ready: Path, digits: Classifier, images: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["export", "digits", "--onnx", str(ready)]) == 0
    out = capsys.readouterr().out
    assert "on 599 images" in out
    assert "Accuracy: PyTorch 99.33 %, ONNX 99.33 %" in out
    assert [path.name for path in ready.parent.iterdir()] == [ready.name]
    session = onnxruntime.InferenceSession(ready)
    expected = digits.logits(images.test.images)
    for count in (1, 2, 599):
        logits, probabilities = session.run(None, {"images": images.test.images[:count]})
        assert np.abs(logits - expected[:count]).max() < 1e-4
        assert np.abs(probabilities - digits.probabilities(expected[:count])).max() < 1e-5


@pytest.mark.parametrize("change", [0.5, np.nan])
def test_a_failed_export_writes_nothing(
    model: bytes,
    change: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(onnx_model, "to_onnx", lambda _: with_weights(model, change))
    kept = tmp_path / "kept.onnx"
    kept.write_bytes(b"an older export")
    for path in (tmp_path / "digits.onnx", kept):
        assert command(["export", "digits", "--onnx", str(path), "--force"]) == 1
        err = capsys.readouterr().err
        assert err.startswith("error[E071]: ONNX against PyTorch: a logit differs by ")
        assert "first at test image 0 (" in err
        assert "expected at most" in err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.onnx"]
    assert kept.read_bytes() == b"an older export"


def test_an_export_is_compared_on_images_of_the_user(
    ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        Image.new("RGB", (20, 30), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    own = ["--images", str(tmp_path / "*.png")]
    assert command(["export", "digits", "--onnx", str(ready), *own]) == 0
    assert "on 3 images" in capsys.readouterr().out
    ready.unlink()
    (tmp_path / "2.png").write_text("text")
    assert command(["export", "digits", "--onnx", str(ready), *own]) == 1
    assert "2.png: unreadable image" in capsys.readouterr().err
    assert not ready.exists()


def test_int8_is_smaller_and_nearly_as_accurate(
    ready: Path, model: bytes, images: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["export", "digits", "--onnx", str(ready), "--int8"]) == 0
    assert "Accuracy: PyTorch" in capsys.readouterr().out
    assert ready.stat().st_size < 0.6 * len(model)
    session = onnxruntime.InferenceSession(ready)
    assert session.get_modelmeta().custom_metadata_map["numbers"] == "int8"
    logits, _ = session.run(None, {"images": images.test.images})
    assert (logits.argmax(1) == images.test.labels).mean() > 0.98
    kinds = {each.data_type for each in onnx.load(ready).graph.initializer if np.prod(each.dims) > 1000}
    assert kinds == {onnx.TensorProto.INT8}


def test_a_missing_extra_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    assert command(["export", "digits", "--onnx", str(tmp_path / "a.onnx")]) == 2
    assert "pip install 'convsmith[onnx]'" in capsys.readouterr().err


def test_a_bundle_with_an_unknown_data_set_needs_images(
    ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = zoo_folder("digits")
    metadata = bundle.read(folder).metadata
    data = metadata.origin.data.model_copy(update={"source": "owner/name"})
    other = metadata.model_copy(update={"origin": metadata.origin.model_copy(update={"data": data})})
    weights = serialize(cs.load("digits").net.state_dict(), "fp16")
    bundle.write(tmp_path / "other", bundle.contents_of(other, weights, "card"))
    assert command(["export", str(tmp_path / "other"), "--onnx", str(ready)]) == 2
    assert "--images FOLDER" in capsys.readouterr().err
    assert not ready.exists()
