"""Damaged and generated input for every reader, and the cases that it has revealed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import convsmith as cs
from convsmith.briefs.loader import load_brief
from convsmith.data.config import DataConfig
from convsmith.data.dataset import load as load_data
from convsmith.errors import DataError, FileError, RecipeError, RunError
from convsmith.evaluation import explanation, predictions
from convsmith.modules.access import NO_CODE
from convsmith.recipes.loader import load
from convsmith.reports import comparison
from convsmith.system import files, reading
from convsmith.system.folders import cache_folder
from helpers import fuzz

NAMES = (
    "notation", "recipe", "overrides", "settings", "brief", "state", "weights", "manifest", "data record",
    "results", "metrics", "log", "predictions", "explanation", "cache: index", "cache: metadata",
    "cache: labels", "cache: images", "checkpoint: zip", "checkpoint: old format", "checkpoint: safetensors",
    "checkpoint: pickle", "data: table", "data: JSON", "data: list by number", "data: arrays",
    "data: array file",
    "data: IDX", "data: IDX labels", "data: binary", "data: parquet", "data: archive of parquet",
    "data: archive of IDX",
)  # fmt: skip


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, fuzz.Reader]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVSMITH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield {each.name: each for each in fuzz.readers(tmp_path_factory.mktemp("fuzz"))}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_input_makes_a_reader_fail_unexpectedly(readers: dict[str, fuzz.Reader], name: str) -> None:
    assert tuple(readers) == NAMES
    count = 30 if name == "cache: index" else 200
    tally = fuzz.fuzz(readers[name], count, seed=1)
    assert tally.inputs == count
    # Some inputs are still valid, others are not: a reader that accepts or rejects all of them tests nothing,
    # unless a checksum detects every change.
    checked = name in {"state", "weights"} or name.startswith(("cache: ", "checkpoint: "))
    assert 0 < tally.rejected < count or checked


@pytest.mark.parametrize("failure", [KeyError("x"), fuzz.TooSlow("more than 2 s")])
def test_unexpected_exceptions_are_reported(failure: BaseException) -> None:
    def read(content: bytes) -> None:
        raise failure

    with pytest.raises(AssertionError, match="input '0 broken 0'"):
        fuzz.fuzz(fuzz.Reader("broken", fuzz.noise, read), 1, 0)


def test_slow_inputs_are_stopped() -> None:
    with pytest.raises(fuzz.TooSlow), fuzz.time_limit(0.05):
        all(True for _ in iter(int, 1))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run = cs.train(load("digits", fuzz.OVERRIDES), runs=folder).folder
    (run / "manifest.json").unlink()
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", ["[1, Infinity, 8]", "[1, 8]", "[0, 8, 8]", '["1", 8, 8]', "[1, 1e99, 8]", "8"]
)
def test_invalid_shapes(run: Path, shape: str) -> None:
    record = json.loads((run / "data.json").read_text())
    text = json.dumps({**record, "image_shape": "HERE"}).replace('"HERE"', shape)
    (run / "data.json").write_text(text)
    for use in (lambda: cs.resolve(str(run)), lambda: comparison._open(run, NO_CODE)):
        # Infinity is no JSON.
        with pytest.raises(cs.ConvsmithError, match=r"data\.json: (damaged: image_shape|not valid JSON)"):
            use()


@pytest.mark.slow
@pytest.mark.parametrize("test", [None, {}, {"correct": 1, "total": 0}, {"correct": "x", "total": 2}, []])
def test_results_without_a_score(run: Path, test: object) -> None:
    (run / "results.json").write_text(
        json.dumps({**json.loads((run / "results.json").read_text()), "test": test})
    )
    with pytest.raises(RunError, match=r"results\.json: damaged: test"):
        _ = cs.resolve(str(run)).test_metrics


@pytest.mark.slow
def test_metrics_without_epochs(run: Path) -> None:
    path = run / "metrics.csv"
    path.write_text(path.read_text().replace("epoch,", "eppoch,"))
    with pytest.raises(RunError, match="damaged: epoch is missing"):
        cs.progress(run)


@pytest.mark.slow
def test_logits_beyond_single_precision(run: Path) -> None:
    arrays = dict(np.load(run / "predictions.npz"))
    files.write_arrays(
        run / "predictions.npz", {**arrays, "logits": np.full_like(arrays["logits"], 1e308, "f8")}
    )
    with pytest.raises(RunError, match="logits are float64"):
        predictions.read(run / "predictions.npz")
    huge = np.zeros_like(arrays["logits"])
    huge[:, 0] = 3e38
    files.write_arrays(run / "predictions.npz", {**arrays, "logits": huge})
    assert comparison._open(run, NO_CODE).metrics.calibration.ece > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("channels", np.array([np.inf])),
        ("indices", np.array([-1] * 16)),
        ("occlusion", np.full((16, 2, 2), np.nan, np.float32)),
        ("occlusion", np.array(["x"] * 16)),
        ("block0", np.zeros(3, np.float32)),
    ],
)
def test_invalid_maps(
    run: Path, name: str, array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"
) -> None:
    path = run / "explanation.npz"
    files.write_arrays(path, {**dict(np.load(path)), name: array})
    with pytest.raises(RunError, match="damaged explanation"):
        explanation.read(path, 599)


def test_a_header_that_python_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    files.write_arrays(path, {"a": np.zeros(3)})
    np.savez(path, a=np.zeros(3))
    path.write_bytes(path.read_bytes().replace(b"(3,), }", b"(3,   }"))
    with pytest.raises(FileError, match="not a NumPy archive"):
        reading.read_arrays(path)


@pytest.mark.parametrize("content", ["..", "x" * 5000, "\0", "0" * 63, 7])
def test_an_invalid_index_entry_is_rebuilt(content: object, fresh_cache: Path) -> None:
    config = DataConfig(source="digits")
    before = load_data(config).fingerprint
    (index,) = fresh_cache.glob("sources/*.json")
    valid = index.read_text()
    index.write_text(json.dumps({**json.loads(valid), "content": content}))
    assert load_data(config).fingerprint == before
    assert index.read_text() == valid


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"sha256": 7}', '{"sha256": {"train-images.npy": 7}}', '{"sha256": {"../x": "0"}}']
)
def test_a_cache_with_invalid_metadata(text: str, fresh_cache: Path) -> None:
    config = DataConfig(source="digits")
    load_data(config)
    (metadata,) = fresh_cache.glob("content-*/*/meta.json")
    metadata.write_text(text)
    with pytest.raises(DataError, match="the cache is damaged"):
        load_data(config)


def test_a_cache_with_a_missing_file(fresh_cache: Path) -> None:
    config = DataConfig(source="digits")
    load_data(config)
    (labels,) = fresh_cache.glob("content-*/*/train-labels.npy")
    labels.unlink()
    with pytest.raises(DataError, match=r"the cache is damaged: .*No such file.*train-labels"):
        load_data(config)


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "cache"))
    return cache_folder()


def test_a_name_with_a_null_character() -> None:
    with pytest.raises(FileError, match="cannot read: embedded null byte"):
        load("digits", ["brief=a/\0"])


def test_a_brief_that_extends_itself(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(f'extends = "{two}"\n')
    two.write_text(f'brief = "{one}"\n')
    with pytest.raises(RecipeError, match="the brief extends itself") as caught:
        load_brief(str(one))
    assert caught.value.problems[0].where == f"{one} -> {two} -> {one}"


@pytest.mark.parametrize(
    ("text", "what"), [("9" * 5000, "not valid JSON"), ("[" * 100_000, "found 100,000 levels of nesting")]
)
def test_huge_numbers_and_deep_lists(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text(text)
    with pytest.raises(FileError, match=what):
        reading.read_json(path)
    path.write_text(f"a = {text}")
    with pytest.raises(FileError, match="not valid TOML"):
        reading.read_toml(path)
    with pytest.raises(RecipeError, match=r"seed: found"):
        load("digits", [f"seed={text}"])
