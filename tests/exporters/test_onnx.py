"""ONNX: one file that answers as PyTorch does, or none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.dataset import load as load_data
from convsmith.errors import ParityError
from convsmith.exporters import onnx_model
from convsmith.exporters.parity import compare
from convsmith.models import bundle
from convsmith.models.bundle_weights import serialize
from convsmith.models.classifier import Classifier
from convsmith.models.zoo import zoo_folder
from helpers.paths import ROOT


@pytest.fixture(scope="module")
def digits() -> Classifier:
    return cs.load("digits")


@pytest.fixture(scope="module")
def model(digits: Classifier) -> bytes:
    return onnx_model.to_onnx(digits)


@pytest.fixture(scope="module")
def images() -> Any:
    return load_data(bundle.read(zoo_folder("digits")).metadata.origin.data)


@pytest.fixture
def ready(model: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Exporting is what takes time; the commands get what was exported once."""
    monkeypatch.setattr(onnx_model, "to_onnx", lambda _: model)
    return tmp_path / "digits.onnx"


def with_weights(model: bytes, change: float) -> bytes:
    """The model with one weight changed."""
    proto = onnx.load_from_string(model)
    first = max(proto.graph.initializer, key=lambda each: int(np.prod(each.dims)))
    values = onnx.numpy_helper.to_array(first).copy()
    values.flat[0] += change
    first.CopyFrom(onnx.numpy_helper.from_array(values, first.name))
    content: bytes = proto.SerializeToString()
    return content


def test_the_file_alone_answers_as_pytorch_does(
    ready: Path, digits: Classifier, images: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["export", "digits", "--onnx", str(ready)]) == 0
    out = capsys.readouterr().out
    assert "on 599 images" in out
    assert "Accuracy: PyTorch 99.33 %, ONNX 99.33 %" in out
    assert [path.name for path in ready.parent.iterdir()] == [ready.name]
    session = onnxruntime.InferenceSession(ready)
    wanted = digits.logits(images.test.images)
    for count in (1, 2, 599):
        logits, probabilities = session.run(None, {"images": images.test.images[:count]})
        assert np.abs(logits - wanted[:count]).max() < 1e-4
        assert np.abs(probabilities - digits.probabilities(wanted[:count])).max() < 1e-5


def test_its_metadata_says_how_to_use_it(model: bytes) -> None:
    facts = bundle.read(zoo_folder("digits")).metadata
    proto = onnx.load_from_string(model)
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert tuple(json.loads(told["labels"])) == facts.labels
    assert json.loads(told["mean"]) == list(facts.preprocessing.mean)
    assert json.loads(told["temperature"]) == facts.confidence.temperature
    assert json.loads(told["unsure_below"]) == facts.confidence.unsure_below
    assert told["input"] == "uint8 (N, 8, 8, 1), grey"
    (given,) = proto.graph.input
    assert [each.dim_param or each.dim_value for each in given.type.tensor_type.shape.dim] == [
        "batch",
        8,
        8,
        1,
    ]
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    # Nothing of the machine that it was made on.
    assert b"site-packages" not in model
    assert str(ROOT).encode() not in model


@pytest.mark.parametrize("change", [0.5, np.nan])
def test_a_bad_export_leaves_nothing_behind(
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


def test_the_first_image_that_differs_is_named(digits: Classifier, images: Any) -> None:
    class Wrong:
        """Right but for one image."""

        def run(self, _: Any, given: dict[str, Any]) -> list[Any]:
            logits = digits.logits(given["images"])
            logits[(given["images"] == images.test.images[17]).all((1, 2, 3))] += np.eye(
                10, dtype=np.float32
            )[3]
            return [logits, digits.probabilities(logits).astype(np.float32)]

    names = [f"image {number}" for number in range(len(images.test))]
    with pytest.raises(ParityError) as caught:
        compare(digits, Wrong(), images.test.images, names, images.test.labels)
    assert "first at image 17: " in str(caught.value)
    # Without it all is well, also for one image, and for none that is labelled.
    parity = compare(digits, Wrong(), images.test.images[:17], names)
    assert (parity.difference, parity.agreement, parity.accuracy) == (0, 1, None)
    assert compare(digits, Wrong(), images.test.images[:1], names).images == 1


def test_images_of_ones_own_are_enough(
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


def test_eight_bits_are_smaller_and_hardly_worse(
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


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    assert command(["export", "digits", "--onnx", str(tmp_path / "a.onnx")]) == 2
    assert "pip install 'convsmith[onnx]'" in capsys.readouterr().err


def test_a_bundle_of_unknown_data_needs_images(
    ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = zoo_folder("digits")
    facts = bundle.read(folder).metadata
    data = facts.origin.data.model_copy(update={"source": "owner/name"})
    other = facts.model_copy(update={"origin": facts.origin.model_copy(update={"data": data})})
    weights = serialize(cs.load("digits").net.state_dict(), "fp16")
    bundle.write(tmp_path / "other", bundle.contents_of(other, weights, "card"))
    assert command(["export", str(tmp_path / "other"), "--onnx", str(ready)]) == 2
    assert "--images FOLDER" in capsys.readouterr().err
    assert not ready.exists()
