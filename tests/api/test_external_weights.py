"""Weights of a plain PyTorch script: evaluated, reported, predicted with and exported without a training."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import convsmith as cs
from convsmith.cli import run as run_command
from convsmith.data.config import DataConfig
from convsmith.data.dataset import load as load_data
from convsmith.data.images.memory_mapped import Images
from convsmith.errors import (
    ConvsmithError,
    DataError,
    FileError,
    ModuleError,
    RecipeError,
    RunError,
    UntrustedCodeError,
)
from convsmith.evaluation import predictions
from convsmith.models.external import evaluation_notes
from convsmith.runs.evaluation import Evaluation
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import WeightsRecord
from helpers.projects import lint, without_convsmith

# A file as users have them: imports that are not installed, and a softmax at the end.
CODE = """
import torchvision.transforms as T
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.conv2(x)).mean((2, 3))
        return F.log_softmax(self.fc(x), dim=1)
"""
NOTATION = "C8 C16:s2 / G F10"
# The script normalises pixels to -1..1.
NAMED = ("data.mean=[0.5]", "data.std=[0.5]")
SPLIT = DataConfig(source="digits", test_fraction=0.3333)


class Net(nn.Module):
    """The class of `CODE`, which the script imports."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.bn1(self.conv1(images)))
        maps = functional.relu(self.conv2(maps)).mean((2, 3))
        return functional.log_softmax(self.fc(maps), dim=1)


def as_tensor(images: Images) -> Tensor:
    return (torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def train_by_hand(net: nn.Module) -> nn.Module:
    """A training as plain scripts have it."""
    torch.manual_seed(0)
    data = load_data(SPLIT)
    images, labels = as_tensor(data.train.images), torch.from_numpy(data.train.labels)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(3):
        for chosen in torch.split(torch.randperm(len(labels)), 64):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(net(images[chosen]), labels[chosen]))
            optimizer.step()
    return net.eval()


@torch.no_grad()
def predicted(net: nn.Module, split: str = "test") -> NDArray[np.int64]:
    labels: NDArray[np.int64] = net(as_tensor(load_data(SPLIT).splits[split].images)).argmax(1).numpy()
    return labels


def correct(net: nn.Module, split: str) -> int:
    return int((predicted(net, split) == load_data(SPLIT).splits[split].labels).sum())


class Script:
    """The files that a script leaves, and its net."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.net = train_by_hand(Net())
        self.notation = train_by_hand(cs.resolve(NOTATION, input_shape=(1, 8, 8)).net().train())
        self.code = folder / "model.py"
        self.code.write_text(CODE)
        state = self.net.state_dict()
        wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
        worse = {name: torch.zeros_like(tensor) for name, tensor in wrapped.items()}
        names = {"class_to_idx": {str(digit): digit for digit in range(10)}}
        self.files = {
            "net.pth": state,
            "checkpoint.pth": {"epoch": 3, "model": worse, "model_ema": wrapped, **names},
            "lightning.ckpt": {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}},
        }
        for name, content in self.files.items():
            torch.save(content, folder / name)
        safetensors.torch.save_file(state, folder / "net.safetensors")
        torch.save(self.notation.state_dict(), folder / "notation.pth")
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def target(self) -> str:
        return f"{self.code}:Net"


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    return Script(tmp_path_factory.mktemp("script"))


@pytest.fixture(scope="module")
def run(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of `net.pth`, to be read only."""
    runs = tmp_path_factory.mktemp("runs")
    return cs.evaluate(script.target, *NAMED, weights=script / "net.pth", data="digits", runs=runs).folder


@pytest.fixture
def without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations end without the report, which takes seconds."""

    def write_report(folder: RunFolder, _: object, evaluation: Evaluation) -> Mock:
        folder.write_manifest()
        record = folder.read(WeightsRecord)
        found = evaluation_notes(record, evaluation.metrics.accuracy, len(evaluation.metrics.classes))
        return Mock(folder=folder.path, test=evaluation.test, notes=found)

    monkeypatch.setattr("convsmith.api.evaluate.write_report", write_report)
    monkeypatch.setattr("convsmith.api.evaluate.replace", lambda result: result)


@pytest.fixture
def run_copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "Net-1")


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


# --- Evaluate


def test_the_evaluation_predicts_what_the_script_does(script: Script, run: Path) -> None:
    saved = predictions.read(run / "predictions.npz")
    np.testing.assert_array_equal(saved.predicted, predicted(script.net))
    results = cs.results(run)
    assert results["test"]["correct"] == correct(script.net, "test")
    assert results["train"]["correct"] == correct(script.net, "train")
    # Far above chance, so that equal counts mean something.
    assert results["test"]["accuracy"] > 0.5


@pytest.mark.parametrize(
    "name", ["checkpoint.pth", "checkpoint.pth#model_ema", "lightning.ckpt", "net.safetensors"]
)
def test_every_file_of_the_weights_gives_the_same_predictions(
    script: Script, run: Path, tmp_path: Path, without_pages: None, name: str
) -> None:
    other = cs.evaluate(
        script.target, *NAMED, weights=f"{script.folder}/{name}", data="digits", runs=tmp_path
    ).folder
    ours, theirs = (predictions.read(each / "predictions.npz") for each in (run, other))
    np.testing.assert_array_equal(ours.logits, theirs.logits)


def test_weights_of_the_notation(script: Script, tmp_path: Path, without_pages: None) -> None:
    result = cs.evaluate(NOTATION, *NAMED, weights=script / "notation.pth", data="digits", runs=tmp_path)
    assert result.folder.name == "net-1"
    assert result.test.correct == correct(script.notation, "test")


def test_a_recipe_brings_its_data_and_its_brief(script: Script, tmp_path: Path, without_pages: None) -> None:
    result = cs.evaluate(
        "digits", f"model.net={NOTATION}", *NAMED, weights=script / "notation.pth", runs=tmp_path
    )
    assert result.test.correct == correct(script.notation, "test")
    recipe = cs.load_recipe(str(result.folder / "recipe.toml"))
    assert recipe.brief == cs.load_recipe("digits").brief
    assert recipe.train.epochs == 0
    assert not recipe.augment.all


def test_the_run_records_the_weights_and_no_training(run: Path, script: Script) -> None:
    record = read(run, "weights.json")
    assert record["file"] == "net.pth"
    assert record["sha256"] == hashlib.sha256((script / "net.pth").read_bytes()).hexdigest()
    assert (run / "metrics.csv").read_text().count("\n") == 1
    assert not (run / "state.safetensors").exists()
    assert (run / "source" / "model.py").read_text() == CODE
    recipe = (run / "recipe.toml").read_text()
    assert "epochs = 0" in recipe
    assert "lr" not in recipe
    assert "augment.transforms" not in recipe
    stored = safetensors.torch.load_file(run / "model.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in script.net.state_dict().items())


def test_the_report_claims_no_training(run: Path) -> None:
    readme, page = (run / "README.md").read_text(), (run / "report.html").read_text()
    assert "with weights from net.pth, trained elsewhere" in readme
    for text in (readme, page):
        assert "trained elsewhere: how, and on which images, is not known" in text
        assert "--weights net.pth" in text
        assert "convsmith train" not in text
        for claim in ("epoch", "Learning rate", "learning rate", "It took", "no epoch was selected"):
            assert claim not in text.replace("epochs = 0", "")
    assert 'href="#training"' not in page
    assert not list((run / "plots").glob("*loss*"))


UNTRAINABLE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((10, 64), float("nan")), requires_grad=False)

    @torch.no_grad()
    def forward(self, x):
        return (x.flatten(1) @ self.weight.T).softmax(1)
"""


def test_a_net_that_cannot_be_trained_is_evaluated(tmp_path: Path, without_pages: None) -> None:
    """Frozen parameters without numbers, no gradient: only the weights of the file count."""
    (tmp_path / "model.py").write_text(UNTRAINABLE)
    weight = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    torch.save({"weight": weight}, tmp_path / "net.pth")
    target = f"{tmp_path}/model.py:Net"
    result = cs.evaluate(target, *NAMED, weights=tmp_path / "net.pth", data="digits", runs=tmp_path)
    data = load_data(SPLIT).test
    by_hand = (as_tensor(data.images).flatten(1) @ weight.T).argmax(1).numpy()
    assert result.test.correct == int((by_hand == data.labels).sum())
    again = cs.evaluate(result.folder, trust_code=True)
    assert again.test.correct == result.test.correct
    assert 'outputs = "probabilities"' in (result.folder / "recipe.toml").read_text()


# --- What is assumed


def notes(run: Path) -> str:
    return "\n".join(read(run, "weights.json")["notes"])


def test_notes_say_what_is_assumed(script: Script, run: Path, tmp_path: Path, without_pages: None) -> None:
    assert "mean (0.5000) and the standard deviation (0.5000), as named" in notes(run)
    assert "the order of the data's classes: 0, 1, 2" in notes(run)
    assert "convsmith split the test images off the data" in notes(run)
    result = cs.evaluate(script.target, weights=script / "checkpoint.pth", data="digits", runs=tmp_path)
    for sentence in (
        "checkpoint['model_ema'], an average of the weights, is used",
        "the prefix 'module.' of the names is removed",
        "as measured on the training images; if the weights were trained with others, name data.mean and",
        "the classes in the file are those of the data, in the same order",
        "would be with pixels from -1 to 1; if the weights were trained so, add data.mean=[0.5]",
    ):
        assert any(sentence in note for note in result.notes), sentence
    assert result.notes[0].startswith("warning: of 1,000 training images")


def test_other_classes_and_another_order_are_named(
    script: Script, tmp_path: Path, without_pages: None
) -> None:
    state = script.net.state_dict()
    order = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
    state |= {name: state[name][order] for name in ("fc.weight", "fc.bias")}
    torch.save({"net": state, "classes": [f"{digit}" for digit in order.tolist()]}, tmp_path / "net.pth")
    result = cs.evaluate(
        script.target, *NAMED, weights=tmp_path / "net.pth", data="digits", runs=tmp_path / "runs"
    )
    text = "\n".join(result.notes)
    assert "the classes in the file and in the data differ: class 0 is '1' there, '0' here" in text
    assert "output 0 is '1', output 1 is '2', output 2 is '3', ..." in text
    assert result.notes[0].startswith("warning: an accuracy of")
    assert "near chance for 10 classes" in (result.folder / "log.txt").read_text()


# --- Later commands


def test_a_run_of_weights_is_used_like_any_other(run_copy: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UntrustedCodeError):
        cs.evaluate(run_copy)
    before = (run_copy / "report.html").read_text()
    cs.report(run_copy, trust_code=True)
    assert (run_copy / "report.html").read_text() == before
    again = cs.evaluate(run_copy, trust_code=True)
    assert again.test.correct == cs.results(run)["test"]["correct"]
    assert again.notes == tuple(sorted(again.notes, key=lambda note: not note.startswith("warning")))
    assert cs.progress(run_copy).line() == "Net-1: weights that were trained elsewhere, no epochs"
    assert cs.load(run_copy, trust_code=True).labels[3] == "3"


def test_it_cannot_be_resumed_or_trained(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="trained elsewhere, so that there is no training to resume"):
        cs.resume(run, epochs=3, trust_code=True)
    recipe = cs.load_recipe(str(run / "recipe.toml"))
    for command in (
        lambda: cs.train(recipe, runs=tmp_path),
        lambda: cs.lr_find(recipe, tmp_path),
        lambda: cs.search("course-cifar10", recipe, study=tmp_path),
    ):
        with pytest.raises(RecipeError, match="this recipe has no training"):
            command()
    longer = cs.load_recipe(str(run / "recipe.toml"), "train.epochs=1")
    assert longer.description == "Based on Net, with train.epochs = 1 (was 0)"


def test_it_is_compared_with_a_training(run: Path, script: Script, tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", "train.epochs=1", f"model.net={NOTATION}", "name=short")
    trained = cs.train(recipe, runs=tmp_path).folder
    comparison = cs.compare([run, trained], tmp_path / "comparison", trust_code=True)
    first, second = comparison.record["runs"]
    assert first["seconds"] is None
    assert second["seconds"] > 0
    assert first["weights"] == "weights from net.pth, trained elsewhere"
    differences = {each["field"]: each["values"] for each in comparison.record["differences"]}
    assert differences["weights.file"]["Net"] == "net.pth"
    assert differences["train.epochs"]["Net"] is None
    for page in (comparison.page, comparison.markdown):
        assert "trained elsewhere" in page.read_text()
    alone = cs.compare(
        [
            run,
            cs.evaluate(
                script.target, *NAMED, weights=script / "checkpoint.pth", data="digits", runs=tmp_path
            ).folder,
        ],
        tmp_path / "alone",
        trust_code=True,
    )
    assert len(alone.record["groups"]) == 2
    assert 'aria-label="seconds"' not in alone.page.read_text()


def test_it_teaches(run: Path, tmp_path: Path, without_report: None) -> None:
    recipe = cs.load_recipe("digits", "train.epochs=1", "model.net=C4 / G F10", f"train.teacher={run}")
    student = cs.train(recipe, runs=tmp_path, trust_code=True).folder
    assert (
        "the teacher was trained elsewhere, so it may have been trained on some of the student's test images"
        in "".join(read(student, "teacher.json")["notes"])
    )


# --- Predict and export


def test_weights_predict_without_a_run(script: Script, run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    classifier = cs.load(script.target, *NAMED, weights=script / "net.pth", data="digits", log=said.append)
    images = load_data(SPLIT).test.images
    np.testing.assert_array_equal(classifier.logits(images).argmax(1), predicted(script.net))
    assert classifier.confidence == cs.load(run, trust_code=True).confidence
    assert any("the order of the data's classes" in each for each in said)


@pytest.fixture(params=["module", "notation"])
def given(request: pytest.FixtureRequest, script: Script) -> tuple[str, dict[str, Any], nn.Module]:
    """A target with its weights and data, and the script's net."""
    target, name, net = {
        "module": (script.target, "net.pth", script.net),
        "notation": (NOTATION, "notation.pth", script.notation),
    }[request.param]
    return target, {"weights": script / name, "data": "digits"}, net


def test_weights_become_onnx(given: tuple[str, dict[str, Any], nn.Module], tmp_path: Path) -> None:
    target, files, net = given
    parity = cs.export_onnx(target, tmp_path / "net.onnx", *NAMED, **files)
    assert parity.agreement == 1
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    images = np.asarray(load_data(SPLIT).test.images)
    logits = np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])
    np.testing.assert_array_equal(logits.argmax(1), predicted(net))


def test_weights_become_code(script: Script, tmp_path: Path) -> None:
    cs.export(NOTATION, tmp_path, *NAMED, weights=script / "notation.pth", data="digits")
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in script.notation.state_dict().items())


def test_weights_become_a_bundle(given: tuple[str, dict[str, Any], nn.Module], tmp_path: Path) -> None:
    target, files, net = given
    bundle = cs.export_bundle(target, tmp_path / "bundle", *NAMED, **files)
    images = load_data(SPLIT).test.images
    logits = cs.load(bundle, trust_code=True).logits(images)
    # Weights in fp16 decide ties in another way.
    assert (logits.argmax(1) == predicted(net)).mean() > 0.99
    assert read(bundle, "bundle.json")["weights"]["correct_fp32"] == correct(net, "test")
    card, name = (bundle / "README.md").read_text(), files["weights"].name
    assert f"from {name}, trained elsewhere" in card
    assert f"convsmith evaluate recipe.toml --weights {name}" in card
    for claim in ("epoch", "seconds", "one training", "convsmith train", "after the training"):
        assert claim not in card.replace("epochs = 0", "")
    # A receptive field needs the data, and no training.
    assert cs.receptive_field(cs.resolve(str(bundle), trust_code=True), tmp_path)[0].num_images


# --- Eject


@pytest.fixture(scope="module")
def notation_run(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("notation")
    weights = script / "notation.pth"
    return cs.evaluate(NOTATION, *NAMED, weights=weights, data="digits", runs=runs).folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "notation_run"])
def test_an_ejected_project_tests_the_weights_and_trains_nothing(
    name: str, script: Script, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = request.getfixturevalue(name)
    project = tmp_path / "project"
    cs.eject(run, project, execute=False, trust_code=True)
    net = script.net if name == "run" else script.notation
    printed = without_convsmith(project, "test")
    assert f"Accuracy: {correct(net, 'test')}/599 (" in printed
    assert f"Accuracy: {correct(net, 'train')}/1198 (" in printed
    readme = (project / "README.md").read_text()
    assert "trained elsewhere: how, and on which images, is not known" in readme
    files = [*project.rglob("*.py"), *project.glob("*.ipynb")]
    texts = [readme, *(path.read_text() for path in files)]
    for claim in ("epoch", "main.py train", "Learning rate", "Train a new", "optimiser", "train.log"):
        assert not [text for text in texts if claim in text]
    assert not (project / "logs" / "metrics.csv").exists()
    assert "trained elsewhere" in (project / "logs" / "evaluation.log").read_text()
    if name == "run":
        # The user's file is as it was.
        (project / "model" / "model.py").write_text("")
    lint(project)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "notation_run"])
def test_the_notebook_of_an_ejected_project_runs(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    said: list[str] = []
    run = request.getfixturevalue(name)
    cs.eject(run, tmp_path / "project", trust_code=True, log=said.append)
    assert said == []


# --- Errors


@pytest.mark.parametrize(
    ("target", "given", "kind", "what"),
    [
        ("{net}", {}, RecipeError, "the weights need the data that they were trained on"),
        ("{net}", {"weights": "none.pth", "data": "digits"}, FileError, "cannot read"),
        ("{net}", {"data": "no-such-folder"}, DataError, "no-such-folder"),
        (
            "{code}:Net(classes=7)",
            {"data": "digits"},
            ModuleError,
            "the file's net has 10 outputs, this one 7",
        ),
        ("{code}:Nett", {"data": "digits"}, ModuleError, "Nett"),
        ("no/such", {"data": "digits"}, RecipeError, "no such recipe, module or folder"),
        ("zoo:digits", {"data": "digits"}, RecipeError, "this model of the zoo has weights of its own"),
        ("C8 / G F10", {"data": "digits"}, ModuleError, "the weights do not fit the net"),
    ],
)
def test_what_does_not_fit_leaves_nothing(
    script: Script, tmp_path: Path, target: str, given: dict[str, str], kind: type[ConvsmithError], what: str
) -> None:
    target = target.format(net=script.target, code=script.code)
    weights = given.get("weights", str(script / "net.pth"))
    with pytest.raises(kind) as caught:
        cs.evaluate(target, weights=weights, data=given.get("data"), runs=tmp_path / "runs")
    assert what in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_data_of_other_classes(script: Script, image_folder: Callable[..., Path], tmp_path: Path) -> None:
    pictures = image_folder({"": 6})
    for target, name in ((script.target, "net.pth"), (NOTATION, "notation.pth")):
        with pytest.raises(ConvsmithError, match="the net has 10 outputs, the data has 3 classes") as caught:
            cs.evaluate(target, weights=script / name, data=pictures, runs=tmp_path / "runs")
        assert "name data of 10 classes" in str(caught.value)


def test_a_failure_in_the_evaluation_leaves_nothing(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convsmith.api.evaluate.evaluate_run", fail)
    with pytest.raises(KeyboardInterrupt):
        cs.evaluate(script.target, weights=script / "net.pth", data="digits", runs=tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())


def test_arguments_without_a_meaning(script: Script, run: Path, tmp_path: Path) -> None:
    weights = script / "net.pth"
    commands: list[tuple[Callable[[], object], str]] = [
        (lambda: cs.evaluate(run, weights=weights), "this run has weights of its own"),
        (lambda: cs.evaluate(run, data="digits"), "data go with weights from a file"),
        (lambda: cs.evaluate(run, "seed=1"), "the recipe of trained weights cannot be changed"),
        (lambda: cs.load("digits", data="digits"), "data go with weights from a file"),
        (lambda: cs.export(run, tmp_path / "x", data="digits"), "data go with weights from a file"),
        (lambda: cs.evaluate(script.target, "train.epochs=3", weights=weights, data="digits"), "no effect"),
        (lambda: cs.load("digits", weights=weights, module=Net()), "not with an instance"),
    ]
    for command, what in commands:
        with pytest.raises(RecipeError, match=what):
            command()


# --- The command line


def test_the_command_line(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--weights", str(script / "net.pth"), "--data", "digits"]
    runs = ["--runs", str(tmp_path / "runs")]
    assert run_command(["report", script.target, *NAMED, *given, *runs]) == 0
    said = capsys.readouterr()
    assert "Report: " in said.out
    assert "Note: the outputs are taken in the order of the data's classes" in said.err
    assert run_command(["evaluate", script.target, *NAMED, *given, *runs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["correct"] == correct(script.net, "test")
    from PIL import Image

    seven = load_data(SPLIT).test
    index = int(np.flatnonzero(predicted(script.net) == 7)[0])
    Image.fromarray(np.asarray(seven.images[index])[..., 0]).save(tmp_path / "seven.png")
    assert run_command(["predict", script.target, str(tmp_path / "seven.png"), *NAMED, *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["label"] == "7"
    assert run_command(["predict", "digits", "x.png", "--data", "digits"]) == 2
    assert "data go with weights from a file" in capsys.readouterr().err
    notation = ["--weights", str(script / "notation.pth"), "--data", "digits"]
    bundle = str(tmp_path / "bundle")
    assert (
        run_command(
            [
                "export",
                NOTATION,
                *NAMED,
                *notation,
                "--bundle",
                bundle,
                "--code",
                "--out",
                str(tmp_path / "code"),
            ]
        )
        == 0
    )
    assert run_command(["export", NOTATION, *notation, "--code", "--input", "1x8x8"]) == 2
    assert "the size of the images is that of the data" in capsys.readouterr().err
