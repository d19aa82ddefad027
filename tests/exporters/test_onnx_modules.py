"""ONNX of PyTorch modules: outputs of each meaning, and what cannot be converted."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.cli import run as command
from convsmith.errors import ConvsmithError
from helpers.bundles import rewritten


def outputs(path: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, probabilities = onnxruntime.InferenceSession(path).run(
        ["logits", "probabilities"], {"images": images}
    )
    return logits, probabilities


@pytest.mark.parametrize("name", ["module_run", "softmax_run", "module_bundle"])
def test_the_file_computes_what_the_module_does(
    name: str, request: pytest.FixtureRequest, digits_test_images: np.ndarray, tmp_path: Path
) -> None:
    place = request.getfixturevalue(name)
    parity = cs.export_onnx(place, tmp_path / "net.onnx", trust_code=True)
    assert parity.agreement == 1
    classifier = cs.load(place, trust_code=True)
    expected = classifier.logits(digits_test_images)
    # Logarithms of probabilities, whatever the module ends in.
    assert np.abs(np.log(np.exp(expected.astype(np.float64)).sum(1))).max() < 1e-5
    for count in (1, 2, len(digits_test_images)):
        logits, probabilities = outputs(tmp_path / "net.onnx", digits_test_images[:count])
        assert np.abs(logits - expected[:count]).max() < 1e-4
        own = np.exp(expected[:count] / classifier.confidence.temperature)
        assert np.abs(probabilities - own / own.sum(1, keepdims=True)).max() < 1e-5


def test_a_module_is_quantized(module_run: Path, digits_test_images: np.ndarray, tmp_path: Path) -> None:
    parity = cs.export_onnx(module_run, tmp_path / "net.onnx", int8=True, trust_code=True)
    assert parity.allowed is None
    predicted = outputs(tmp_path / "net.onnx", digits_test_images)[0].argmax(1)
    expected = cs.load(module_run, trust_code=True).logits(digits_test_images).argmax(1)
    assert (predicted == expected).mean() == pytest.approx(parity.agreement)
    assert parity.agreement > 0.95


def with_forward(folder: Path, lines: str) -> Path:
    """Replace the forward pass of the net of a bundle; the weights stay."""
    code = (folder / "source" / "model.py").read_text()
    start = code.index("        x = self.drop")
    end = code.index("\nclass Softmax")
    text = f"import torch\n{code[:start]}{lines}{code[end:]}"
    return rewritten(folder, "source/model.py", text.encode())


OF_WEIGHTS = """\
        x = self.bn2(self.conv2(x))
        if self.fc.weight.mean() > 0:
            x = -x
        return F.log_softmax(self.fc(x.mean((2, 3))), 1)
"""
LOOP = """\
        x = torch.stack([self.bn2(self.conv2(x[i:i + 1]))[0] for i in range(len(x))])
        return F.log_softmax(self.fc(x.mean((2, 3))), 1)
"""
UNKNOWN = """\
        x = torch.special.airy_ai(self.bn2(self.conv2(x)))
        return F.log_softmax(self.fc(x.mean((2, 3))), 1)
"""


@pytest.mark.parametrize(
    ("lines", "what", "fix"),
    [
        (OF_WEIGHTS, "its code branches on the values of tensors", "torch.where; nothing was written"),
        (LOOP, "its code makes the file take 2 images at once", "no loop over the images"),
        (UNKNOWN, "the net cannot be converted to ONNX: ", "with other operations of PyTorch"),
    ],
)
def test_what_cannot_be_converted_is_an_error(
    lines: str,
    what: str,
    fix: str,
    module_bundle_copy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, path = with_forward(module_bundle_copy, lines), tmp_path / "net.onnx"
    assert command(["export", str(folder), "--onnx", str(path), "--trust-code"]) == 2
    err = capsys.readouterr().err
    assert "error[E022]: " in err
    assert what in err
    assert fix in err
    assert "Traceback" not in err
    if "values" in what:
        number = (folder / "source" / "model.py").read_text().splitlines().index(
            "        if self.fc.weight.mean() > 0:"
        ) + 1
        assert f"source/model.py, line {number}: " in err
    assert not path.exists()


def test_pooling_to_other_sizes(module_bundle_copy: Path, tmp_path: Path) -> None:
    folder = with_forward(
        module_bundle_copy,
        "        x = nn.AdaptiveAvgPool2d((2, 1))(F.relu(self.bn2(self.conv2(x))))\n"
        "        x = nn.AdaptiveAvgPool2d(1)(F.adaptive_avg_pool2d(x, (3, 2)))\n"
        "        return F.log_softmax(self.fc(x.flatten(1)), 1)\n",
    )
    assert cs.export_onnx(folder, tmp_path / "net.onnx", trust_code=True).agreement == 1


def test_an_instance_is_exported(
    tmp_path: Path, digits_test_images: np.ndarray, without_report: None
) -> None:
    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
        )

    recipe = cs.load_recipe("digits", "train.epochs=1", "name=instance")
    run = cs.train(recipe, module=net(), runs=tmp_path / "runs").folder
    cs.evaluate(run, module=net())
    for export in (cs.export_onnx, cs.export_bundle):
        with pytest.raises(ConvsmithError, match="trained with an instance, whose class is in no file"):
            export(run, tmp_path / "out", trust_code=True)
    cs.export_onnx(run, tmp_path / "net.onnx", module=net())
    expected = cs.load(run, module=net()).logits(digits_test_images)
    assert np.abs(outputs(tmp_path / "net.onnx", digits_test_images)[0] - expected).max() < 1e-4
    assert torch.is_grad_enabled()
