"""Predictions, verification, decoding, folds and a search on each engine, with a worker that is killed.

The result is that of one process. `test_grids.py` does the same for grids.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import convsmith as cs
from convsmith.data.cache import parts
from convsmith.runs import shared_inference
from convsmith.system import reading
from convsmith.system.folders import cache_folder
from helpers.clusters import cluster, killed, killed_amid_parts, trained_now
from helpers.sources import png

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc"),
]
IMAGES = 8_000
TINY = ("train.batch_size=32", "name=tiny", "model.net=C8 C12:s2 / G F10")


@pytest.fixture(scope="module", params=["loky", "dask", "ray"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(request.param, tmp_path_factory.mktemp(request.param), 2) as address:
        yield address


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Different images of 8x8 pixels in parquet files."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(4):
        cells = [png(int(each), (8, 8)) for each in generator.integers(0, 256, IMAGES // 4)]
        columns = {"image": cells, "label": generator.integers(0, 2, IMAGES // 4)}
        pq.write_table(pa.table(columns), root / f"train-{number}.parquet", row_group_size=500)
    return root


def test_predictions(engine: str, images: Path, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"batch_size": 16, "part_size": 64}
    one, many = tmp_path / "one", tmp_path / "many"
    cs.predict_many("digits", images, one, **sizes)
    with killed_amid_parts(engine, lambda: len(tables(many)), IMAGES // 64):
        record = cs.predict_many("digits", images, many, on=engine, workers=2, **sizes)
    assert (record.count, record.unreadable) == (IMAGES, 0)
    assert len(tables(many)) == IMAGES // 64
    assert [path.read_bytes() for path in tables(many)] == [path.read_bytes() for path in tables(one)]


def tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*"))


@pytest.mark.parametrize("command", ["verify", "decode"])
def test_verification_and_decoding(
    engine: str, command: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_LEAST", 64)

    def result(**options: Any) -> Any:
        if command == "verify":
            return cs.verify_data(str(images), **options).record()
        return hashes(cs.decode_data(str(images), **options).folder)

    def done() -> int:
        return len(list(cache_folder().glob("parts/*/*.npz")))

    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "one"))
    one = result()
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "many"))
    with killed_amid_parts(engine, done, IMAGES // 64):
        many = result(on=engine, workers=2)
    assert many == one
    assert list((cache_folder() / "parts").iterdir()) == []


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_folds(engine: str, tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", *TINY, "train.epochs=6")
    plain = cs.folds(recipe, count=3, out=tmp_path / "plain")
    out = tmp_path / "folds"
    with killed(lambda: trained_now(out)):
        result = cs.folds(recipe, count=3, out=out, on=engine, workers=2)
    assert (result.metrics.correct, result.metrics.loss) == (plain.metrics.correct, plain.metrics.loss)
    assert weights(out) == weights(tmp_path / "plain")
    assert list(out.glob("*/resumed.json"))


def weights(folds: Path) -> list[str]:
    return [reading.sha256(path) for path in sorted(folds.glob("*/model.safetensors"))]


def test_an_evaluation(engine: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_inference, "_PART_BATCHES", 1)
    recipe = cs.load_recipe(
        "digits", *TINY, "model.net=C8 C12:s2 / G F2", "train.epochs=1", f"data.source={images}"
    )
    run = cs.train(recipe, runs=tmp_path).folder
    expected = (run / "predictions.npz").read_bytes()
    with killed_amid_parts(engine, lambda: len(list(run.glob(".evaluation/*/*.npz"))), IMAGES // 1000 + 1):
        cs.evaluate(run, on=engine, workers=2)
    assert (run / "predictions.npz").read_bytes() == expected
    assert not (run / ".evaluation").exists()


def test_a_search(engine: str, tmp_path: Path) -> None:
    """Which candidates there are depends on when trials end; none is lost with a worker."""
    study, brief = tmp_path / "study", tmp_path / "small.toml"
    brief.write_text("max_parameters = 9_000\n")
    recipe = cs.load_recipe("digits", *TINY)
    with killed(lambda: trained_now(study / "trials")):
        result = cs.search(
            str(brief), recipe, trials=4, epochs=6, factor=2, study=study, on=engine, workers=2
        )
    trials = result.data.trials
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert trials[0].state == "complete"
    assert {trial.state for trial in trials} <= {"complete", "waits"}
    assert all(trial.accuracy for trial in trials)
