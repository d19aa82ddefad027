"""Values that are valid alone and contradict each other; hostile text in labels and errors."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.errors import ConvsmithError, DataError, RecipeError, RunError
from convsmith.evaluation import predictions
from convsmith.exporters import onnx_model
from convsmith.exporters.card import card
from convsmith.models import bundle
from convsmith.models.bundle_model import BundleModel
from convsmith.models.zoo import zoo_folder
from convsmith.runs.folder import EVALUATION
from convsmith.system import files, reading
from helpers.oracle import Oracle


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_run, tmp_path / "run")


def sign(run: Path) -> None:
    """Write the manifest again, as an attacker would."""
    manifest = json.loads((run / "manifest.json").read_text())
    for name in manifest:
        content = (run / name).read_bytes()
        manifest[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (run / "manifest.json").write_text(json.dumps(manifest))


def edit(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    def edit_run(run: Path) -> None:
        record = json.loads((run / name).read_text())
        change(record)
        (run / name).write_text(json.dumps(record))

    return edit_run


def split_of_tests(record: Any) -> Any:
    return record["splits"]["test"]


def other_predictions(run: Path) -> None:
    saved = predictions.read(run / "predictions.npz")
    half = len(saved) // 2
    shorter = predictions.Predictions(logits=saved.logits[:half], labels=saved.labels[:half])
    predictions.write(shorter, run / "predictions.npz")


def other_epochs(run: Path) -> None:
    first, *rows = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("\n".join([first, rows[0], rows[0]]) + "\n")


def accuracy_of_300_percent(run: Path) -> None:
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    rows[-1]["train_accuracy"] = "3.0"
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")


CONTRADICTIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "9,999 right of 360": (edit("results.json", lambda it: it["test"].update(correct=9999)), "check"),
    "an accuracy of its own": (edit("results.json", lambda it: it["test"].update(accuracy=0.99)), "check"),
    "classes of other counts": (edit("results.json", lambda it: it["classes"][0].update(correct=0)), "check"),
    "labels of another length": (edit("data.json", lambda it: it["class_names"].append("x")), "summary"),
    "fewer labels": (edit("data.json", lambda it: it["class_names"].pop()), "check"),
    "counts of other classes": (edit("data.json", lambda it: split_of_tests(it)["per_class"].pop()), "check"),
    "other images": (edit("data.json", lambda it: split_of_tests(it).update(images=7)), "check"),
    "predictions of fewer images": (other_predictions, "predict"),
    "one epoch twice": (other_epochs, "watch"),
    "an accuracy of 300 %": (accuracy_of_300_percent, "watch"),
}  # fmt: skip


@pytest.mark.parametrize("name", EVALUATION)
def test_a_file_of_another_evaluation_is_refused(name: str, run_copy: Path, tmp_path: Path) -> None:
    if name.endswith(".npz"):
        arrays = reading.read_arrays(run_copy / name)
        files.write_arrays(run_copy / name, {key: array[::-1] for key, array in arrays.items() if array.ndim})
    else:
        (run_copy / name).write_text((run_copy / name).read_text() + "\n")
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    for command in (
        lambda: cs.report(run_copy),
        lambda: cs.compare([run_copy, run_copy.parent / "second"], tmp_path / "pages"),
        lambda: cs.export_bundle(run_copy, tmp_path / "bundle"),
    ):
        shutil.rmtree(run_copy.parent / "second", ignore_errors=True)
        shutil.copytree(run_copy, run_copy.parent / "second")
        with pytest.raises(RunError, match=f"{name}: damaged: found") as caught:
            command()
        assert "convsmith evaluate" in str(caught.value)
    assert {path: path.read_bytes() for path in before} == before
    cs.evaluate(run_copy)
    cs.report(run_copy)


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_files_of_a_run_that_contradict_each_other_are_refused(name: str, run_copy: Path) -> None:
    damage, command = CONTRADICTIONS[name]
    damage(run_copy)
    sign(run_copy)
    image = run_copy.with_name("image.png")
    Image.new("L", (8, 8)).save(image)
    more = {"predict": [str(image)], "watch": ["--once"]}.get(command, [])
    oracle = Oracle(run_copy)
    oracle.expect_error(command, str(run_copy), *more, code="E050", names=(str(run_copy),))


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.toml", "metrics.csv", "data.json"])
@pytest.mark.parametrize("manifest", ["one entry less", "empty"])
def test_a_manifest_lists_every_file(name: str, manifest: str, run_copy: Path) -> None:
    content = bytearray((run_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run_copy / name).write_bytes(content)
    entries = json.loads((run_copy / "manifest.json").read_text())
    del entries[name]
    (run_copy / "manifest.json").write_text(json.dumps({} if manifest == "empty" else entries))
    oracle = Oracle(run_copy)
    names = (name, "not in manifest.json")
    oracle.expect_error("check", str(run_copy), code="E050", names=names)
    oracle.expect_error(
        "export", str(run_copy), "--code", "--out", str(run_copy.parent), code="E050", names=names
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        "[Infinity]",
        "[-1e999]",
        '{"a": 1, "a": 2}',
        f"[{'9' * 4000}]",
        f"[{'9' * 5000}]",
        "[" * 10**6,
    ],
)
def test_json_beyond_the_standard_is_refused(text: str, run_copy: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        reading.parse_json(text)
    (run_copy / "data.json").write_text(text)
    sign(run_copy)
    Oracle(run_copy).expect_error("check", str(run_copy), code="E010", names=("not valid JSON", "data.json"))


def test_numbers_of_thousands_of_digits_in_recipes_are_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "a.toml"
    for digits in (30, 4000, 5000):
        recipe.write_text(f"seed = {'9' * digits}\n[data]\nsource = 'digits'\n[model]\nnet = 'C4 / G F10'\n")
        Oracle(tmp_path).expect_error("check", str(recipe), code="E010", names=("not valid TOML",))
        with pytest.raises(RecipeError):
            cs.load_recipe("digits", f"seed={'9' * digits}")


@pytest.mark.parametrize("name", ["x" * 300, f"a/{'x' * 300}", f"./{'y' * 400}", "a\0b/c/d"])
def test_a_data_set_of_an_impossible_name_is_reported(name: str) -> None:
    with pytest.raises(DataError):
        cs.verify_data(name)


HOSTILE = (
    "\x1b[31mred", "bell\x07", "del\x7f", "\u202egnp.exe", "\u2066isolated\u2069", "two\nlines: sure",
    "tab\tle", "=1+1", "carriage\rreturn", "zero\u200bwidth",
)  # fmt: skip


def test_labels_are_cleaned_wherever_they_are_written(tmp_path: Path) -> None:
    trained = bundle.read(zoo_folder("digits"))
    metadata = trained.metadata.model_copy(
        update={"labels": HOSTILE, "name": "\x1b]0;x\x07", "description": "\u202e\n# Title"}
    )
    analysis = BundleModel(trained, "bundle").analysis
    page = card(metadata, analysis, is_library_recipe=False)
    contents = bundle.contents_of(metadata, trained.contents["model.safetensors"], page)
    bundle.write(tmp_path / "bundle", contents)
    for name in ("README.md", "bundle.json", "manifest.json"):
        text = (tmp_path / "bundle" / name).read_text(encoding="utf-8")
        assert all(char.isprintable() or char == "\n" for char in text), name
    assert "\n# Title" not in page
    written = bundle.read(tmp_path / "bundle")
    # JSON gives the labels back.
    expected = (metadata.labels, metadata.name, metadata.description)
    assert (written.metadata.labels, written.metadata.name, written.metadata.description) == expected
    classifier = BundleModel(written, "bundle").classifier()
    facts = onnx_model.metadata(classifier)
    assert all(text.isprintable() for text in facts.values())
    assert tuple(json.loads(facts["labels"])) == HOSTILE
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
    for prediction in classifier.predict(images, top_k=10):
        assert repr(prediction).isprintable()
        assert json.loads(json.dumps(prediction.record()))["label"] in HOSTILE


def test_no_error_is_longer_than_can_be_read(tmp_path: Path) -> None:
    long = "x" * 10_000_000
    for error in (
        ConvsmithError(long, where=long, fix=long, context=long),
        RecipeError.of([*RecipeError("a").problems] * 100_000),
    ):
        assert len(str(error)) < 50_000
        assert " more " in str(error)
    assert "\n" not in str(ConvsmithError("x", where="a\nerror[E101]: y"))
    recipe = tmp_path / "a.toml"
    recipe.write_text(f"name = '{'x' * 10**6}'\n")
    result = Oracle(tmp_path).expect_error("check", str(recipe), code="E030")
    assert len(result.err) < 5000
