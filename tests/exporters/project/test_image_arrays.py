"""Projects of runs on arrays: the images are in the project, as the training had them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsmith as cs
from convsmith.errors import DataError
from data.arrays.test_idx import write
from helpers.projects import imported, lint, without_convsmith

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (48, 8, 8), dtype=np.uint8)
Y = (np.arange(48) % 3).astype(np.uint8)
TINY = ("model.net=C4 / G F3", "train.epochs=1", "augment.transforms=[]", "train.batch_size=8")


def arrays(root: Path, kind: str) -> Any:
    """Return 30 training and 18 test images in files, or in memory."""
    if kind == "idx":
        write(root, "train-images-idx3-ubyte", X[:30], Y[:30])
        write(root, "t10k-images-idx3-ubyte", X[30:], Y[30:])
        return str(root)
    if kind == "npz":
        np.savez(root / "set.npz", x_train=X[:30], y_train=Y[:30], x_test=X[30:], y_test=Y[30:])
        return str(root / "set.npz")
    return (X[:30], Y[:30]), (X[30:], Y[30:])


def pairs(images: np.ndarray, labels: np.ndarray) -> set[tuple[bytes, int]]:
    return {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}


@pytest.mark.parametrize("kind", ["idx", "npz", "memory"])
def test_a_project_has_the_images_of_its_run(kind: str, tmp_path: Path) -> None:
    validation = "data.validation=0.2" if kind == "npz" else "data.validation=0.0"
    recipe = cs.load_recipe("digits", *TINY, validation)
    result = cs.train(recipe, data=arrays(tmp_path, kind), runs=tmp_path / "runs")
    project = tmp_path / "project"
    cs.eject(result.folder, project, execute=False)
    lint(project)
    with imported(project, "utils.utils") as (utils,):
        splits = utils.load_images(str(project / "data.npz"))
    names = ["train", "test"] if kind != "npz" else ["train", "validation", "test"]
    assert list(splits) == names
    found = {name: pairs(*split) for name, split in splits.items()}
    assert found["test"] == pairs(X[30:], Y[30:])
    assert set().union(*found.values()) == pairs(X, Y)
    if kind == "idx":
        correct = f"{result.test.correct}/{result.test.total}"
        assert correct in without_convsmith(project, "test", "--workers", "0")
        assert "data.npz" in (project / "README.md").read_text()
        assert "pillow" not in (project / "requirements.txt").read_text()


def test_too_many_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = cs.load_recipe("digits", *TINY)
    run = cs.train(recipe, data=(X, Y), runs=tmp_path / "runs").folder
    monkeypatch.setattr("convsmith.exporters.project.image_arrays._MAX_BYTES", 1000)
    with pytest.raises(
        DataError, match="the images are 3,072 bytes, and an ejected project holds at most 1,000"
    ):
        cs.eject(run, tmp_path / "project", execute=False)
    assert not (tmp_path / "project").exists()
