"""A run from its training to its report: the files, their agreement, and errors."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import convsmith as cs
from convsmith.errors import ConvsmithError, RecipeError, RunError
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.reports.report import Result
from convsmith.runs.folder import RunFolder
from convsmith.system import reading
from convsmith.text import format_duration

PICTURES = {
    "examples", "augmented", "loss", "log_loss", "accuracy", "learning_rate", "class_accuracy", "confusion",
    "reliability", "risk", "architecture", "receptive_field", "energy", "predictions", "misclassified",
    "explanation",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run with some misclassified images."""
    recipe = load("digits", ["train.epochs=4", "model.net=C8 C16:s2 / G F10", "name=tiny"])
    return cs.train(recipe, runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copied(run: Result, tmp_path: Path) -> Path:
    return shutil.copytree(run.folder, tmp_path / "copy")


def test_a_result_prints_accuracy_and_paths(run: Result) -> None:
    accuracy, folder, report = repr(run).splitlines()
    interval = run.metrics.interval
    low, high = 100 * interval.low, 100 * interval.high
    assert accuracy == f"Test accuracy: {run.test.accuracy:.2%}, 95% interval {low:.2f} to {high:.2f} %"
    assert (folder, report) == (f"Run folder: {run.folder}", f"Report: {run.folder / 'report.html'}")


def test_all_files_are_written(run: Result) -> None:
    assert run.folder.name == "tiny-1"
    assert {path.name for path in run.folder.iterdir()} == {
        "README.md", "confidence.json", "data.json", "environment.json", "explanation.npz", "log.txt",
        "manifest.json", "metrics.csv", "model.safetensors", "plots", "predictions.npz",
        "receptive_field.npz", "recipe.toml", "report.html", "results.json", "state.safetensors",
        "summary.txt",
    }  # fmt: skip
    assert {path.stem for path in (run.folder / "plots").iterdir()} == PICTURES


def test_the_manifest_hashes_every_other_file(run: Result) -> None:
    manifest = json.loads((run.folder / "manifest.json").read_text())
    there = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    assert set(manifest) == there - {"manifest.json"}
    # The fields of the recipe have a hash of their own, without the notes, which may be edited.
    assert len(manifest["recipe.toml"].pop("settings_sha256")) == 64
    for name, entry in manifest.items():
        assert entry == {
            "sha256": reading.sha256(run.folder / name),
            "bytes": (run.folder / name).stat().st_size,
        }


def test_the_log_has_the_form_of_the_course(run: Result) -> None:
    log = (run.folder / "log.txt").read_text()
    number = r"\d+\.\d{4}"
    assert len(re.findall(rf"Train: Loss={number} Batch_id=18 Accuracy=\d+\.\d\d: 100% 19/19 \[", log)) == 4
    assert len(re.findall(rf"Test set: Average loss: {number}, Accuracy: \d+/599 \(\d+\.\d\d%\)", log)) == 5
    assert re.search(rf"Train set: Average loss: {number}, Accuracy: \d+/1198", log)
    assert "Data: scikit-learn digits, verified, fingerprint 9f2e10b14a82" in log
    assert "Learning rate: 4.0000e-04" in log
    assert "Remaining: about" in log
    seconds = sum(row.seconds for row in RunFolder.open(run.folder).metrics())
    assert f"Time of all epochs, training and evaluation: {format_duration(seconds)}" in log
    assert f"It took {seconds:.0f} s" in (run.folder / "README.md").read_text()
    assert len(re.findall(r"Accuracy of \d : ", log)) == 10


def test_metrics_log_and_results_agree(run: Result) -> None:
    rows = list(csv.DictReader((run.folder / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    logged = re.findall(
        r"Test set: Average loss: ([\d.]+), Accuracy: (\d+)", (run.folder / "log.txt").read_text()
    )
    for row, (loss, correct) in zip(rows, logged[:4], strict=True):
        assert float(row["test_loss"]) == pytest.approx(float(loss), abs=1e-4)
        assert round(float(row["test_accuracy"]) * 599) == int(correct)
        assert row["validation_loss"] == ""
    results = json.loads((run.folder / "results.json").read_text())
    assert results["test"]["correct"] == run.test.correct == int(logged[-1][1])
    assert sum(each["correct"] for each in results["classes"]) == run.test.correct
    assert sum(each["total"] for each in results["classes"]) == 599


def test_predictions_give_the_same_metrics(run: Result) -> None:
    saved = np.load(run.folder / "predictions.npz", allow_pickle=False)
    predicted = saved["logits"].argmax(1)
    assert (predicted == saved["labels"]).sum() == run.test.correct
    for label, each in enumerate(run.classes):
        of_class = saved["labels"] == label
        assert (each.correct, each.total) == ((predicted[of_class] == label).sum(), of_class.sum())


def test_the_report_has_the_metrics(run: Result) -> None:
    report = run.report.read_text()
    assert f"**Test accuracy {100 * run.test.accuracy:.2f} %**" in report
    assert run.train.line("Train set") in report
    assert "| parameters | pass |" in report
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", report):
        assert (run.folder / picture).is_file()
    assert report.count("](plots/") == len(PICTURES)
    assert "Total params: 1,442" in report
    anchors = re.findall(r"\]\(#(.*?)\)", report)
    headings = {
        line.lstrip("# ").lower().replace(" ", "-") for line in report.splitlines() if line[:1] == "#"
    }
    assert set(anchors) <= headings


def test_the_report_reproduces_the_run(run: Result, tmp_path: Path) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)\n```", run.report.read_text(), flags=re.DOTALL)
    (tmp_path / "tiny.toml").write_text(toml, encoding="utf-8")
    again = cs.train(load(str(tmp_path / "tiny.toml")), runs=tmp_path / "runs")
    weights = [reading.sha256(folder / "model.safetensors") for folder in (run.folder, again.folder)]
    assert weights[0] == weights[1]


def test_pictures_are_valid_images(run: Result) -> None:
    for name in PICTURES:
        root = ET.parse(run.folder / "plots" / f"{name}.svg").getroot()  # noqa: S314 - our own file
        assert int(root.attrib["width"]) >= 400
        assert int(root.attrib["height"]) >= 100
        marks = [each for each in root.iter() if each.tag.endswith(("}path", "}image", "}use"))]
        assert len(marks) >= 5


def test_evaluating_again_gives_the_same_files(run: Result, copied: Path) -> None:
    before = {path.name: reading.sha256(path) for path in copied.rglob("*") if path.is_file()}
    again = cs.evaluate(copied)
    assert (again.train, again.test, again.classes) == (run.train, run.test, run.classes)
    after = {path.name: reading.sha256(path) for path in copied.rglob("*") if path.is_file()}
    assert before == after


def test_missing_pictures_are_drawn_again(copied: Path) -> None:
    shutil.rmtree(copied / "plots")
    cs.evaluate(copied)
    assert {path.stem for path in (copied / "plots").iterdir()} == PICTURES


@pytest.mark.parametrize("damage", ["truncated", "bit", "other net", "pickle", "header"])
def test_damaged_weights_are_rejected(copied: Path, damage: str) -> None:
    path = copied / "model.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-10:]
    elif damage == "bit":
        content[0] ^= 1
    elif damage == "header":
        content[:8] = (2**63).to_bytes(8, "little")
    elif damage == "pickle":
        content[:] = b"\x80\x04cos\nsystem\n(S'true'\ntR."
    else:
        content[:] = safetensors.numpy.save({"x": np.zeros(3, np.float32)})
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        cs.evaluate(copied)
    assert str(path) in str(caught.value)


def test_a_changed_data_set_is_rejected(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = image_folder({"train": 8, "test": 4})
    recipe = load("digits", [f"data.source={root}", "model.net=C4 / G F3", "train.epochs=1"])
    result = cs.train(recipe, runs=tmp_path / "runs")
    Image.new("L", (8, 8), 7).save(root / "train" / "one" / "new.png")
    with pytest.raises(RunError, match="the data set is not the one of this run"):
        cs.evaluate(result.folder)


def test_folders_that_are_not_runs(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        cs.evaluate(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"recipe\.toml, data\.json, model\.safetensors missing"):
        cs.evaluate(tmp_path)
    (copied / "metrics.csv").write_text("epoch,lr\nx,1\n")
    with pytest.raises(ConvsmithError, match="damaged"):
        cs.evaluate(copied)


def test_nothing_is_written_if_the_recipe_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        cs.train(load("digits", ["model.net=C8 / G F9"]), runs=tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_cannot_be_created(tmp_path: Path, tiny: Recipe) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ConvsmithError, match="cannot write"):
        cs.train(tiny, runs=tmp_path / "runs")


@pytest.mark.slow
def test_a_schedule_that_monitors_the_test_set_is_noted(tmp_path: Path) -> None:
    overrides = ["train.epochs=1", "model.net=C4 / G F10", "train.schedule=plateau"]
    result = cs.train(load("digits", [*overrides, "train.schedule.monitor=test"]), runs=tmp_path)
    for name in ("log.txt", "README.md"):
        assert "the schedule saw the test set" in (result.folder / name).read_text()
    result = cs.train(load("digits", [*overrides, "data.validation=0.1"]), runs=tmp_path)
    assert "saw the test set" not in result.report.read_text()
    assert "Validation set: Average loss:" in (result.folder / "log.txt").read_text()


def test_hostile_class_names_are_escaped(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    names = ("<script>alert(1)<", "a|b`c$x^2$", "=cmd()" + "x" * 180)
    root = image_folder({"train": 8, "test": 4}, classes=tuple(name.replace("/", "") for name in names))
    recipe = load("digits", [f"data.source={root}", "model.net=C4 / G F3", "train.epochs=1"])
    report = cs.train(recipe, runs=tmp_path / "runs").report.read_text()
    table = report.split("### Accuracy of each class")[1].split("## Pictures")[0]
    assert "<" not in table
    assert "&lt;script&gt;alert(1)&lt;" in table
    assert "a\\|b\\`c$x^2$" in table


@pytest.mark.slow
def test_a_relative_data_folder_is_found_from_anywhere(
    image_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"train": 8, "test": 4})
    monkeypatch.chdir(root.parent)
    recipe = load("digits", [f"data.source=./{root.name}", "model.net=C4 / G F3", "train.epochs=1"])
    result = cs.train(recipe, runs=tmp_path / "runs")
    monkeypatch.chdir("/")
    assert cs.evaluate(result.folder).test == result.test


def test_a_run_without_mistakes_and_a_class_without_test_images(
    image_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = image_folder({"train": 8, "test": 4})
    shutil.rmtree(root / "test" / "two")
    overrides = [f"data.source={root}", "model.net=C8 C8 / G F3", "train.epochs=20", "train.batch_size=4"]
    result = cs.train(load("digits", overrides), runs=tmp_path / "runs")
    assert {each.name: each.total for each in result.classes} == {"one": 4, "two": 0, "zero": 4}
    assert "| two | 0 | 0 | undefined | undefined | undefined |" in result.report.read_text()


@pytest.mark.slow
def test_the_digits_recipe_meets_its_brief(tmp_path: Path) -> None:
    result = cs.train(load("digits"), runs=tmp_path)
    assert result.test.total == 599
    assert result.test.accuracy >= 0.98
    assert {check.verdict for check in result.checks} == {"pass"}
