"""The notebook runs from top to bottom and shows every picture, here on a small stand-in for MNIST."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "mnist.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_mnist_notebook(
    image_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"train": 30, "test": 10}, classes=tuple("0123456789"), size=28, name="mnist")
    monkeypatch.setenv("CONVSMITH_DATA", str(root.parent))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = f'OVERRIDES = ["train.epochs=1"]\nRUNS = Path({str(tmp_path / "runs")!r})'
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env={**os.environ})
    outputs: list[Any] = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    text = "".join(output.get("text", "") for output in outputs)
    assert len(pictures) == 6
    assert "Total params: 593,200" in text
    assert "Test set: Average loss:" in text
    assert "Accuracy of 9 : " in text
    assert "plots/misclassified.png" in text
