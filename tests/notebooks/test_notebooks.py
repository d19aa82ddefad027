"""The notebooks run from top to bottom and show every picture, here on small stand-ins for the data."""

from helpers.paths import ROOT
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = ROOT / "notebooks"


def executed(name: str, overrides: list[str], folder: Path) -> tuple[int, str]:
    """Run a notebook with these overrides; how many pictures it shows, and all its text."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)  # type: ignore[no-untyped-call]
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = f"OVERRIDES = {overrides!r}\nRUNS = Path({str(folder / 'runs')!r})"
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(env={**os.environ})
    outputs: list[Any] = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if {"image/png", "image/svg+xml"} & set(output.get("data", {}))]
    tables = [output["data"].get("text/markdown", "") for output in outputs if "data" in output]
    return len(pictures), "".join([*(output.get("text", "") for output in outputs), *tables])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_mnist_notebook(
    image_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"train": 30, "test": 10}, classes=tuple("0123456789"), size=28, name="mnist")
    monkeypatch.setenv("CONVSMITH_DATA", str(root.parent))
    pictures, text = executed("mnist.ipynb", ["train.epochs=1"], tmp_path)
    assert pictures == 9
    assert "Total params: 593,200" in text
    assert "Test set: Average loss:" in text
    assert "Accuracy of 9 : " in text
    assert "plots/misclassified.svg" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_cifar10_notebook(
    image_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder(
        {"train": 20, "test": 6}, classes=tuple("0123456789"), size=32, colour=True, name="cifar10"
    )
    monkeypatch.setenv("CONVSMITH_DATA", str(root.parent))
    pictures, text = executed("cifar10.ipynb", ["train.epochs=1"], tmp_path)
    assert pictures == 14
    assert "Total params: 156,736" in text
    assert "| receptive field" in text
    assert "Test set: Average loss:" in text
    assert "of the energy is within" in text
    assert "cifar10-sprint-1-project/main.py" in text
