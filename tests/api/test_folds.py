"""The folds of a recipe: their runs, the predictions of all of them, and label errors."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.datasets import load_digits

import convsmith as cs
from convsmith.api import folds as folds_module
from convsmith.api.folds import FoldsResult
from convsmith.cli import run
from convsmith.errors import DataError, FileError, RecipeError, RunError, StoppedError, UsageError
from convsmith.evaluation import predictions as saved_predictions
from convsmith.evaluation.metrics import wilson_interval
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import DataRecord
from convsmith.system import reading
from convsmith.training.callbacks import Callback, EpochStart
from helpers import inline_pool
from helpers.interrupted import Interrupt
from helpers.own_nets import write_nets
from helpers.pages import Page

TINY = (
    "train.epochs=2",
    "model.net=C8 C12:s2 / G F10",
    "name=tiny",
    "data.validation=0.1",
    "train.batch_size=32",
)
FLIPS = 12


def digits() -> tuple[np.ndarray, np.ndarray]:
    """400 digits, the labels of some of which are another class."""
    x, y = load_digits(return_X_y=True)
    x, y = np.rint(x * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)[:400], y[:400].copy()
    y[:FLIPS] = (y[:FLIPS] + 3) % 10
    return x, y


def table_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


class Starts(Callback):
    """Counts the trainings that reach a first batch."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch_start(self, start: EpochStart) -> None:
        self.epochs += 1


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> FoldsResult:
    x, y = digits()
    out = tmp_path_factory.mktemp("folds") / "tiny"
    return cs.folds(cs.load_recipe("digits", *TINY), count=2, out=out, data=((x, y), (x[:50] ^ 255, y[:50])))


def again(result: FoldsResult, out: Path, *overrides: str, count: int = 2, **options: object) -> FoldsResult:
    """Train the same folds again, or others, in another folder."""
    x, y = digits()
    data = options.pop("data", ((x, y), (x[:50] ^ 255, y[:50])))
    recipe = cs.load_recipe("digits", *TINY, *overrides)
    return cs.folds(recipe, count=count, out=out, data=data, **options)  # type: ignore[arg-type]


@pytest.fixture
def copied(result: FoldsResult, tmp_path: Path) -> Path:
    return shutil.copytree(result.folder, tmp_path / "tiny")


def test_all_files_are_written(result: FoldsResult) -> None:
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        "folds.json", "recipe.toml", "fold-1", "fold-2", "predictions.npz", "predictions.csv", "results.json",
        "label_errors.json", "label_errors.csv", "report.html", "manifest.json",
    }  # fmt: skip
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert set(manifest) == names - {"fold-1", "fold-2", "manifest.json"}
    assert all(each["sha256"] == reading.sha256(result.folder / name) for name, each in manifest.items())


def test_each_fold_is_a_run_that_names_its_held_out_fold(result: FoldsResult) -> None:
    for number, path in enumerate(result.runs, start=1):
        run = RunFolder.open(path)
        assert run.is_finished
        assert run.recipe().data.fold == f"{number}/2"
        record = run.read(DataRecord)
        assert record.fold == f"{number}/2"
        assert record.splits["test"].images == (result.folds == number - 1).sum()
        log = run.read_log()
        assert f"Held-out fold {number} of 2: Average loss" in log
        assert f"the net is evaluated on held-out fold {number} of 2" in log
        page = Page(run.page.read_text())
        assert f"(held-out fold {number} of 2 of the training set; the test set is not used)" in page.text
        for text in (log, run.report.read_text(), page.text):
            assert text.lower().count("test set") == text.count("the test set is not used")
            assert "test image" not in text.lower()
            assert "test accuracy" not in text.lower()
            assert "test loss" not in text.lower()


def test_the_predictions_are_those_of_the_runs_one_for_each_image(result: FoldsResult) -> None:
    x, y = digits()
    places = np.array([int(each.rpartition(" ")[2]) for each in result.locations])
    assert sorted(places) == list(range(len(x)))
    pooled = saved_predictions.read(result.folder / "predictions.npz")
    assert np.array_equal(pooled.labels, y[places])
    for number, folder in enumerate(result.runs):
        own = saved_predictions.read(folder / "predictions.npz")
        assert np.array_equal(pooled.logits[result.folds == number], own.logits)
    rows = table_of(result.folder / "predictions.csv")
    assert [row["location"] for row in rows] == list(result.locations)
    assert [int(row["fold"]) for row in rows] == (result.folds + 1).tolist()
    assert [row["predicted"] for row in rows] == [str(each) for each in pooled.predicted]
    table = np.array([[float(row[f"probability of {name}"]) for name in range(10)] for row in rows])
    assert np.allclose(table, pooled.probabilities, atol=1e-6)


def test_the_metrics_are_those_of_scikit_learn(result: FoldsResult) -> None:
    labels, predicted = result.predictions.labels, result.predictions.predicted
    results = json.loads((result.folder / "results.json").read_text())
    pooled = results["pooled"]
    assert pooled["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    expected = sklearn_metrics.balanced_accuracy_score(labels, predicted)
    assert pooled["balanced_accuracy"] == pytest.approx(expected)
    if pooled["macro_f1"] is not None:
        assert pooled["macro_f1"] == pytest.approx(
            sklearn_metrics.f1_score(labels, predicted, average="macro")
        )
    assert np.array_equal(
        pooled["confusion"], sklearn_metrics.confusion_matrix(labels, predicted, labels=range(10))
    )
    assert pooled["loss"] == pytest.approx(
        sklearn_metrics.log_loss(labels, result.predictions.probabilities.astype(float)), rel=1e-4
    )
    for fold in results["folds"]:
        chosen = result.folds == fold["number"] - 1
        assert fold["images"] == chosen.sum()
        assert fold["accuracy"] == sklearn_metrics.accuracy_score(labels[chosen], predicted[chosen])
        interval = wilson_interval(fold["correct"], fold["images"])
        assert fold["accuracy_95"] == [interval.low, interval.high]
    accuracies = [fold["accuracy"] for fold in results["folds"]]
    assert results["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert results["accuracy"]["deviation"] == pytest.approx(np.std(accuracies, ddof=1))


def test_label_errors_are_those_of_cleanlab(result: FoldsResult) -> None:
    cleanlab = pytest.importorskip("cleanlab.filter")
    expected = cleanlab.find_label_issues(
        result.predictions.labels,
        result.predictions.probabilities,
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    assert result.label_errors is not None
    images = result.label_errors.images
    assert [each.index for each in images] == expected.tolist()
    assert result.results.label_errors == len(images)
    record = json.loads((result.folder / "label_errors.json").read_text())["images"]
    rows = table_of(result.folder / "label_errors.csv")
    for each, stored, row in zip(images, record, rows, strict=True):
        assert (stored["location"], stored["index"]) == (each.location, each.index)
        assert each.location == row["location"] == result.locations[each.index]
        assert row["label"] == each.label == str(result.predictions.labels[each.index])
        assert np.allclose(stored["probabilities"], result.predictions.probabilities[each.index])


def test_the_page_shows_the_images_of_label_errors(result: FoldsResult) -> None:
    page = Page(result.page.read_text())
    assert result.label_errors is not None
    shown = [tag for tag in page.all("li") if "data-rank" in tag]
    assert [tag["title"] for tag in shown] == [
        f"{each.location}, fold {each.fold}" for each in result.label_errors.images[: len(shown)]
    ]
    assert "tiny, 2 folds" in page.text
    links = [tag["href"] for tag in page.all("a")]
    assert {"fold-1/report.html", "fold-2/report.html", "label_errors.csv", "predictions.csv"} <= set(links)
    assert all((result.folder / str(link)).is_file() for link in links if not str(link).startswith("#"))


def test_complete_folds_are_not_trained_again(result: FoldsResult, copied: Path) -> None:
    starts, before = Starts(), {path: reading.sha256(path) for path in copied.rglob("*") if path.is_file()}
    lines: list[str] = []
    second = again(result, copied, callbacks=[starts], log=lines.append)
    assert starts.epochs == 0
    assert {path: reading.sha256(path) for path in copied.rglob("*") if path.is_file()} == before
    assert second.results == result.results
    assert [line for line in lines if "complete" in line] == [
        f"Fold {number} of 2: complete, in {copied / f'fold-{number}'}" for number in (1, 2)
    ]


@pytest.mark.parametrize(
    ("overrides", "count", "line"),
    [
        (["train.optimizer.lr=0.5"], 2, "train.optimizer.lr: was "),
        (["data.split_seed=1"], 2, "data.split_seed: was 0, is 1"),
        (["model.net=C8 / G F10"], 2, 'model.net: was "C8 C12:s2 / G F10", is "C8 / G F10"'),
        ([], 3, "folds: was 2, is 3"),
    ],
)
def test_a_folder_with_other_folds_is_an_error(
    result: FoldsResult, overrides: list[str], count: int, line: str
) -> None:
    with pytest.raises(RunError) as caught:
        again(result, result.folder, *overrides, count=count)
    text = str(caught.value)
    assert "the folder has other folds" in text
    assert line in text
    assert "fix: use the same settings, or another folder with --out" in text


def test_other_data_are_an_error(result: FoldsResult) -> None:
    x, y = digits()
    y[40] = (y[40] + 1) % 10
    with pytest.raises(RunError) as caught:
        again(result, result.folder, data=((x, y), (x[:50] ^ 255, y[:50])))
    assert "the data set is not the one of these folds" in str(caught.value)
    assert "data: fingerprint: was " in str(caught.value)


def test_data_that_change_between_two_folds_are_an_error(
    result: FoldsResult, tmp_path: Path, image_folder: Callable[..., Path]
) -> None:
    root = image_folder({"": 8})

    class Change(Callback):
        def on_train_end(self, seconds: float) -> None:
            next(root.rglob("*.png")).unlink()

    recipe = cs.load_recipe(
        "digits", "model.net=C4 / G F3", "train.epochs=1", f"data.source={root}", "augment.transforms=[]"
    )
    with pytest.raises(RunError, match="the data set has changed since the folds were chosen"):
        cs.folds(recipe, count=2, out=tmp_path / "out", callbacks=[Change()])
    assert not (tmp_path / "out" / "report.html").exists()
    del result


def test_an_edited_fold_is_an_error(result: FoldsResult, copied: Path) -> None:
    del result
    path = copied / "fold-2" / "recipe.toml"
    path.write_text(path.read_text().replace("epochs = 2", "epochs = 3"))
    with pytest.raises(RunError) as caught:
        again(cs.FoldsResult, copied)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "the run is not that of this fold" in text
    assert "train.epochs: was 2, is 3" in text
    assert "fix: remove the folder of this run, to train the fold again" in text


def test_a_folder_with_other_files_is_an_error(result: FoldsResult, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileError, match=r"other files, such as thesis\.tex"):
        again(result, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_record_is_an_error(result: FoldsResult, copied: Path) -> None:
    record = json.loads((copied / "folds.json").read_text())
    del record["fingerprint"]
    (copied / "folds.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="damaged: fingerprint"):
        again(result, copied)


@pytest.mark.parametrize("count", [-1, 0, 1, 1001])
def test_a_number_of_folds_out_of_range_is_an_error(count: int, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"--folds: found {count:,}, expected 2 to 1,000"):
        cs.folds(cs.load_recipe("digits"), count=count, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_folds_than_images_of_a_class_are_an_error_before_anything_is_written(tmp_path: Path) -> None:
    x, y = digits()
    with pytest.raises(DataError, match="expected at least one for each of 300 folds"):
        cs.folds(cs.load_recipe("digits", *TINY), count=300, out=tmp_path / "out", data=(x, y))
    assert not (tmp_path / "out").exists()


def test_a_recipe_of_a_fold_has_no_folds(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the recipe holds out fold 1/3"):
        cs.folds(cs.load_recipe("digits", "data.fold=1/3"), out=tmp_path / "out")


def test_a_recipe_that_selects_by_the_test_set_has_no_folds(tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", "train.schedule={name='plateau', monitor='test'}")
    with pytest.raises(RecipeError, match="monitors the test set"):
        cs.folds(recipe, out=tmp_path / "out")


def test_without_cleanlab_all_but_the_label_errors_is_there(
    result: FoldsResult, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "cleanlab.filter", None)
        second = again(result, copied)
    assert second.label_errors is None
    assert second.results.label_errors is None
    assert "pip install 'convsmith[labels]'" in second.lines()[-1]
    assert not (copied / "label_errors.csv").exists()
    assert "Label errors were not searched" in Page(second.page.read_text()).text
    # The same call adds them.
    pytest.importorskip("cleanlab")
    starts = Starts()
    third = again(result, copied, callbacks=[starts])
    assert starts.epochs == 0
    assert third.label_errors == result.label_errors


@pytest.mark.slow
def test_a_fold_alone_is_an_ordinary_training(result: FoldsResult, tmp_path: Path) -> None:
    x, y = digits()
    run = cs.train(
        cs.load_recipe("digits", *TINY, "data.fold=2/2"), runs=tmp_path, data=((x, y), (x[:50] ^ 255, y[:50]))
    )
    weights = (run.folder / "model.safetensors", result.runs[1] / "model.safetensors")
    assert len({reading.sha256(path) for path in weights}) == 1
    assert repr(run).startswith("Held-out accuracy: ")


@pytest.mark.slow
def test_a_kill_in_a_fold_ends_in_the_same_weights(result: FoldsResult, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    # Killed in the second epoch of the second fold.
    with pytest.raises(SystemExit):
        again(result, out, callbacks=[Interrupt(4, kill=True)])
    assert (out / "fold-1" / "manifest.json").exists()
    assert not (out / "fold-2" / "manifest.json").exists()
    first = reading.sha256(out / "fold-1" / "report.html")
    starts, lines = Starts(), list[str]()
    second = again(result, out, callbacks=[starts], log=lines.append)
    assert starts.epochs <= 2
    assert "Fold 2 of 2: resumed" in lines
    assert reading.sha256(out / "fold-1" / "report.html") == first
    for one, other in zip(result.runs, second.runs, strict=True):
        assert reading.sha256(one / "model.safetensors") == reading.sha256(other / "model.safetensors")
    assert reading.sha256(out / "predictions.npz") == reading.sha256(result.folder / "predictions.npz")
    assert second.label_errors == result.label_errors


@pytest.mark.usefixtures("usual_signals")
def test_a_stop_names_the_same_command(result: FoldsResult, tmp_path: Path) -> None:
    with pytest.raises(StoppedError) as caught:
        again(result, tmp_path / "tiny", callbacks=[Interrupt(1)])
    assert f"the same command goes on from there, in {tmp_path / 'tiny'}" in str(caught.value)


@pytest.mark.slow
def test_folds_of_an_own_module_and_of_an_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_nets(tmp_path)
    x, y = digits()
    recipe = cs.load_recipe("digits", TINY[0], "train.batch_size=32", "name=own", "model.module=model.py:Net")
    result = cs.folds(recipe, count=2, out=tmp_path / "own", data=(x, y))
    assert (result.runs[0] / "source" / "model.py").is_file()
    (tmp_path / "model.py").write_text((tmp_path / "model.py").read_text() + "\n# edited\n")
    with pytest.raises(RunError, match=r"model\.source"):
        cs.folds(recipe, count=2, out=tmp_path / "own", data=(x, y))
    from torch import nn

    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )
    before = {name: each.clone() for name, each in net.state_dict().items()}
    folder = tmp_path / "instance"
    with pytest.raises(SystemExit):
        cs.folds(recipe, count=2, out=folder, data=(x, y), module=net, callbacks=[Interrupt(3, kill=True)])
    result = cs.folds(recipe, count=2, out=folder, data=(x, y), module=net)
    assert all((before[name] == each).all() for name, each in net.state_dict().items())
    # A third is split off as test set.
    assert len(result.predictions) == 266
    other = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )
    with pytest.raises(RunError, match=r"model\.weights"):
        cs.folds(recipe, count=2, out=folder, data=(x, y), module=other)


@pytest.mark.slow
def test_commands_work_on_a_fold(
    tmp_path: Path, image_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = image_folder({"train": 12, "test": 6})
    source, out = f"data.source={root}", tmp_path / "folds"
    arguments = [
        "digits",
        source,
        "model.net=C4 / G F3",
        "train.epochs=1",
        "augment.transforms=[]",
        "name=mine",
    ]
    assert run(["folds", *arguments, "--folds", "3", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "Fold 3 of 3: held out" in text
    assert f"Report: {out / 'report.html'}" in text
    folder = str(out / "fold-2")
    for command in (
        ["report", folder],
        ["evaluate", folder],
        ["compare", folder, str(out / "fold-1"), "--out", str(tmp_path / "c")],
    ):
        assert run(command) == 0, command
    assert run(["predict", folder, str(next(root.rglob("*.png")))]) == 0
    assert "different test sets" in capsys.readouterr().out
    assert run(["eject", folder, str(tmp_path / "project")]) == 2
    assert "the run holds out fold 2/3" in capsys.readouterr().err
    # Extended as a run of its own, it is not a fold of these any more.
    assert run(["resume", folder, "--epochs", "2"]) == 0
    assert run(["folds", *arguments, "--folds", "3", "--out", str(out)]) == 2
    assert "train.epochs: was 1, is 2" in capsys.readouterr().err
    shutil.rmtree(folder)
    assert run(["folds", *arguments, "--folds", "3", "--out", str(out), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["folds"]) == 3


@pytest.mark.slow
def test_imbalanced_data_have_the_mean_of_the_classes_first(tmp_path: Path) -> None:
    x, y = digits()
    keep = (y != 3) | (np.cumsum(y == 3) <= 8)
    result = cs.folds(cs.load_recipe("digits", *TINY), count=2, out=tmp_path / "out", data=(x[keep], y[keep]))
    assert result.results.imbalanced
    assert result.lines()[0].startswith("Balanced accuracy: ")
    text = Page(result.page.read_text()).text
    assert text.index("Balanced accuracy") < text.index("Accuracy of a fold")


@pytest.mark.slow
def test_a_start_that_was_trained_on_the_images_is_a_warning(tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", "train.epochs=1", "train.start_from=digits")
    result = cs.folds(recipe, count=2, out=tmp_path / "out")
    (warning,) = [note for note in result.results.notes if note.startswith("warning")]
    assert "it may have seen held-out images, so that the held-out accuracy is too high" in warning
    assert f"Note: {warning}" in result.lines()
    assert f"Note: {warning}." in Page(result.page.read_text()).text
    # Mean and deviation of the start are in the recipes of the runs, and are no other settings.
    assert cs.folds(recipe, count=2, out=tmp_path / "out").results == result.results


def test_a_recipe_that_does_not_fit_leaves_no_settings_behind(result: FoldsResult, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the net has 2 outputs"):
        again(result, tmp_path / "out", "model.net=C4 / G F2")
    # Nothing was trained, so that other settings are no contradiction.
    with pytest.raises(RecipeError, match="the net has 3 outputs"):
        again(result, tmp_path / "out", "model.net=C4 / G F3")


def test_folds_on_workers_are_those_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's tasks run in this process; tests/cluster has real workers."""
    monkeypatch.setattr(folds_module, "connect", inline_pool.connect)
    recipe = cs.load_recipe("digits", *TINY, "train.epochs=1", "train.batch_size=128")
    lines: list[str] = []
    alone = cs.folds(recipe, count=2, out=tmp_path / "alone")
    shared = cs.folds(recipe, count=2, out=tmp_path / "shared", on="loky", workers=2, log=lines.append)
    assert shared.predictions.logits.tobytes() == alone.predictions.logits.tobytes()
    assert reading.sha256(shared.folder / "predictions.csv") == reading.sha256(
        alone.folder / "predictions.csv"
    )
    assert lines[1] == "2 folds to train on loky, 2 at once"
    again = cs.folds(recipe, count=2, out=tmp_path / "shared", on="loky", log=lines.append)
    assert again.metrics.accuracy == alone.metrics.accuracy
    assert lines[-1] == "0 folds to train on loky, 1 at once"


def test_workers_see_no_memory_of_this_process(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="workers do not see data or a module in the memory of this process"):
        cs.folds(cs.load_recipe("digits", *TINY), out=tmp_path / "a", data=digits(), on="loky")
    assert not (tmp_path / "a").exists()
