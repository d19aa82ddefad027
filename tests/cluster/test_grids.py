"""A grid on each engine, with a worker that is killed: the weights are those of plain trainings."""

import sys
from pathlib import Path

import pytest

import convsmith as cs
from convsmith.system import reading
from helpers.clusters import cluster, killed, trained_now

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals"),
]
RECIPE = ("train.epochs=8", "train.batch_size=32", "name=tiny", "model.net=C8 C12:s2 / G F10")


@pytest.mark.parametrize("name", ["loky", "dask", "ray"])
def test_a_killed_worker_is_replaced(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe = cs.load_recipe("digits", *RECIPE)
    # A run that has a checkpoint and is not complete.
    with cluster(name, tmp_path, 2) as address, killed(lambda: trained_now(tmp_path / "tiny-grid-1")):
        result = cs.grid(recipe, "seed=0..3", on=address, workers=2, runs=tmp_path)
    assert [run.state for run in result.runs] == ["complete"] * 4
    resumed = [run.name for run in result.runs if (result.folder / run.name / "resumed.json").is_file()]
    assert resumed
    for run in result.runs:
        plain = plain_weights(run.number - 1, tmp_path)
        assert reading.sha256(result.folder / run.name / "model.safetensors") == plain


def plain_weights(seed: int, folder: Path) -> str:
    """Train alone, on one thread as the workers do."""
    import subprocess

    command = [sys.executable, "-m", "convsmith", "train", "digits", *RECIPE, f"seed={seed}"]
    runs = folder / f"plain-{seed}"
    subprocess.run([*command, "--runs", str(runs)], check=True, capture_output=True)
    return reading.sha256(runs / "tiny-1" / "model.safetensors")
