"""Fixtures of the exporters: the digits classifier, and its ONNX model."""

from pathlib import Path
from typing import Any

import pytest

import convsmith as cs
from convsmith.data.dataset import load as load_data
from convsmith.exporters import onnx_model
from convsmith.models import bundle
from convsmith.models.classifier import Classifier
from convsmith.models.zoo import zoo_folder


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
    """Export once, since it is slow: `to_onnx` returns the exported model."""
    monkeypatch.setattr(onnx_model, "to_onnx", lambda _: model)
    return tmp_path / "digits.onnx"
