"""Names of models: each denotes one model, whatever the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.dataset import load as load_data
from convsmith.errors import BundleError, ConvsmithError, ModuleError, RecipeError, RunError, ShapeError
from convsmith.exporters import onnx_export, onnx_model
from convsmith.models.classifier import Classifier
from convsmith.models.model import Model
from convsmith.models.resolve import model_files, resolve, resolve_trained
from convsmith.models.teacher import load_teacher
from convsmith.modules import limits
from convsmith.recipes.loader import load as load_recipe
from helpers.imports import loaded
from helpers.notebooks import write_notebook

NET = "C8 C16:s2 / G F10"
MODULE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=8):
        super().__init__(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 10))
"""
KINDS = ("notation", "module", "recipe", "toml", "run", "bundle", "zoo")
TRAINED = ("run", "bundle", "zoo")


@pytest.fixture(scope="module")
def names(tiny_run: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A name of each kind."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "model.py").write_text(MODULE)
    (folder / "mine.toml").write_text(f'extends = "digits"\nmodel.net = "{NET}"\n')
    return {
        "notation": NET,
        "module": f"{folder / 'model.py'}:Net(width=4)",
        "recipe": "recipe:digits",
        "toml": str(folder / "mine.toml"),
        "run": str(tiny_run),
        "bundle": str(tiny_bundle),
        "zoo": "zoo:digits",
    }


def arguments(kind: str, names: dict[str, str]) -> list[str]:
    return [names[kind], *(["--input", "1x8x8"] if kind in {"notation", "module"} else [])]


def opened(kind: str, names: dict[str, str]) -> Model:
    return resolve(names[kind], input_shape=(1, 8, 8) if kind in {"notation", "module"} else None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_has_the_same_parameters_for_every_command(
    kind: str, names: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = opened(kind, names)
    assert model.kind == {"toml": "recipe"}.get(kind, kind)
    parameters = model.analysis.parameters
    assert sum(each.numel() for each in model.net().parameters()) == parameters
    assert command(["summary", *arguments(kind, names), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["parameters"] == parameters
    assert command(["check", *arguments(kind, names), "--brief", "course-cifar10", "--json"]) in {0, 1}
    checks = {each["title"]: each["found"] for each in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["parameters"] == f"{parameters:,}"
    assert command(["draw", *arguments(kind, names), "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert (
        command(["export", *arguments(kind, names), "--code", "--out", str(tmp_path)])
        == (kind == "module") * 2
    )
    if kind != "module":
        written = resolve(f"{tmp_path / 'model.py'}:Net", input_shape=(1, 8, 8))
        assert written.analysis.parameters == parameters


@pytest.mark.parametrize("kind", TRAINED)
def test_a_name_has_the_same_weights_for_every_command(
    kind: str, names: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = names[kind]
    model = resolve_trained(name)
    weights = model.net().state_dict()
    cs.export(cs.resolve(name), tmp_path)
    exported = safetensors.torch.load_file(tmp_path / "model.safetensors")
    teacher = load_teacher(
        load_recipe("digits", [f"train.teacher={name}"]), load_data(load_recipe("digits").data)
    )
    assert teacher is not None
    to_onnx: list[Classifier] = []

    def record(classifier: Classifier) -> bytes:
        to_onnx.append(classifier)
        raise InterruptedError

    monkeypatch.setattr(onnx_model, "to_onnx", record)
    with pytest.raises(InterruptedError):
        onnx_export.verified_onnx(resolve_trained(name))
    for state in (
        exported,
        cs.load(name).net.state_dict(),
        teacher.teacher.net.state_dict(),
        to_onnx[0].net.state_dict(),
        resolve(name).net().state_dict(),
    ):
        assert state.keys() == weights.keys()
        assert all(torch.equal(state[key], weights[key]) for key in weights)
    assert (teacher.sha256, teacher.accuracy) == (model.digest(), model.accuracy)


@pytest.mark.parametrize("kind", TRAINED)
def test_predictions_are_those_of_the_module(kind: str, names: dict[str, str]) -> None:
    model = resolve_trained(names[kind])
    images = np.asarray(model.dataset().test.images[:8])
    classifier = model.classifier("cpu", torch.float32)
    mean, std = (
        torch.tensor(each).view(1, -1, 1, 1) for each in (model.preprocessing.mean, model.preprocessing.std)
    )
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        expected = model.net()(pixels).numpy()
    assert classifier.logits(images) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["recipe", "run", "bundle", "zoo"])
def test_models_with_images_have_an_effective_receptive_field(
    kind: str, names: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["receptive-field", names[kind], "--images", "8", "--out", str(tmp_path)]) == 0
    assert "8 images" in capsys.readouterr().out


def test_a_run_and_its_bundle_have_nearly_the_same_receptive_field(
    names: dict[str, str], tmp_path: Path
) -> None:
    fields = [
        cs.receptive_field(cs.resolve(names[kind]), tmp_path, num_images=16)[0].energy
        for kind in ("run", "bundle")
    ]
    assert fields[1] == pytest.approx(fields[0], rel=0.1, abs=1e-3)


def test_a_word_that_names_two_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # A folder of this name does not matter.
    (tmp_path / "digits").mkdir()
    kinds = [resolve("digits", prefer=each).kind for each in ("recipe", "zoo")]
    assert kinds == ["recipe", "zoo"]
    assert resolve("digits").notes == (
        "digits: the recipe, untrained; zoo:digits is the trained model of the zoo",
    )
    assert resolve("zoo:digits").notes == resolve("digits-best").notes == ()
    assert resolve_trained("digits").place == resolve_trained("digits-best").place == "digits"
    assert command(["export", "digits", "--code"]) == 0
    out, err = capsys.readouterr()
    assert err == "digits: the trained model of the zoo; recipe:digits is the recipe, untrained\n"
    assert out.splitlines() == ["exported/model.py", "exported/model.safetensors"]
    exported = safetensors.torch.load_file("exported/model.safetensors")
    assert all(torch.equal(exported[key], each) for key, each in cs.load("digits").net.state_dict().items())
    # Only a recipe can be changed.
    assert command(["export", "digits", "model.norm=group", "--code", "--out", "changed"]) == 0
    assert "the recipe, untrained" in capsys.readouterr().err
    assert not Path("changed/model.safetensors").exists()


@pytest.mark.parametrize("name", ["cifar10-best", "mnist-best", "digits-best"])
def test_the_best_model_of_a_data_set_has_its_name_everywhere(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = resolve_trained(name).analysis.parameters
    for line in (["summary", name], ["check", name], ["draw", name, "--out", str(tmp_path)]):
        assert command(line) == 0
    assert f"Parameters: {parameters:,}" in capsys.readouterr().out
    assert command(["export", name, "--code", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "model.safetensors").is_file()


def test_a_bundle_can_be_exported_again(names: dict[str, str], tmp_path: Path) -> None:
    copy = cs.export_bundle(names["bundle"], tmp_path / "copy")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        path.name: path.read_bytes() for path in Path(names["bundle"]).iterdir()
    }
    assert cs.load(cs.export_bundle("digits", tmp_path / "digits")).name == "digits"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("cifar10-clasic", RecipeError, "did you mean 'cifar10-classic'"),
        ("cifar10-bst", RecipeError, "did you mean 'cifar10-best'"),
        ("recipe:nothing", RecipeError, "unknown recipe 'nothing'"),
        ("zoo:digit", BundleError, "did you mean 'digits'"),
        ("runs/digits-99", RunError, "no such run folder"),
        ("C8 / G F10", RecipeError, "the input's shape is missing"),
    ],
)
def test_names_of_no_model(name: str, error: type[ConvsmithError], message: str) -> None:
    with pytest.raises(error) as caught:
        resolve(name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar10-bst", "did you mean 'cifar10-best'"),
        ("recipe:digits", "this recipe has no trained weights"),
        ("C8 / G F10", "no trained net is called"),
        ("model.py:Net", "this module has no trained weights"),
        ("runs/digits-99", "no such folder"),
    ],
)
def test_names_of_no_trained_model(name: str, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        resolve_trained(name)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", TRAINED)
def test_only_the_brief_of_a_trained_model_can_be_changed(kind: str, names: dict[str, str]) -> None:
    recipe = resolve(names[kind], ["brief.min_accuracy=0.5"]).recipe
    assert recipe is not None
    assert recipe.brief.min_accuracy == 0.5
    with pytest.raises(RecipeError, match="cannot be changed after the training"):
        resolve(names[kind], ["model.bias=true"])
    with pytest.raises(RecipeError, match="min_acuracy"):
        resolve(names[kind], ["brief.min_acuracy=0.5"])


def test_trained_weights_need_their_input_shape(tmp_path: Path) -> None:
    flat = cs.train(load_recipe("digits", ["train.epochs=1", "model.net=C4:s2 / F10"]), runs=tmp_path)
    model = resolve(str(flat.folder), input_shape=(1, 16, 16))
    with pytest.raises(ShapeError, match="trained parameters"):
        model.net()


@pytest.mark.parametrize("kind", ["notation", "recipe", "toml", "bundle", "zoo"])
def test_no_torch_for_the_analysis(kind: str, names: dict[str, str]) -> None:
    code = f"import convsmith as cs; cs.resolve({names[kind]!r}, input_shape=(1, 8, 8)).judge()"
    assert not loaded(code, "torch")


def test_modules_in_notebooks_and_packages(tmp_path: Path) -> None:
    """A note says what was left out; an error of the forward pass shows the statement that was."""
    path = write_notebook(
        tmp_path / "S7.ipynb",
        "from torch import nn\nfrom nowhere_1 import blur\nscale = open('scale.txt').read()",
        "class Net(nn.Conv2d):\n    def __init__(self):\n        super().__init__(1, 2, 3)",
        "class Scaled(Net):\n    def forward(self, x):\n        return super().forward(x) * scale",
        "class Blurred(Net):\n    def forward(self, x):\n        return blur(super().forward(x))",
    )
    model = resolve(f"{path}:Net", input_shape=(1, 8, 8))
    assert (model.kind, model.name, model.analysis.parameters) == ("module", "Net", 20)
    (note,) = model.notes
    assert note.endswith(
        "left out: 1 statement, the first in cell 1, line 3: scale = open('scale.txt').read()"
    )
    with pytest.raises(ModuleError) as caught:
        resolve(f"{path}:Scaled", input_shape=(1, 8, 8))
    (problem,) = caught.value.problems
    assert "the forward pass fails: NameError: name 'scale' is not defined" in problem.what
    assert "cell 1, line 3, was left out: scale = open('scale.txt').read() (not run)" in problem.context
    assert "define scale by a constant" in problem.fix
    with pytest.raises(ModuleError) as caught:
        resolve(f"{path}:Blurred", input_shape=(1, 8, 8))
    (problem,) = caught.value.problems
    assert "nowhere_1.blur is needed, and nowhere_1 is not installed" in problem.what
    assert "pip install nowhere_1" in problem.fix
    assert resolve("torch.nn:Conv2d(1, 2, 3)", input_shape=(1, 8, 8)).analysis.parameters == 20


def test_a_forward_pass_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TIME_LIMIT", 0.5)
    path = tmp_path / "model.py"
    path.write_text(f"{MODULE}\n    def forward(self, x):\n        while True:\n            pass\n")
    with pytest.raises(ModuleError) as caught:
        resolve(f"{path}:Net", input_shape=(1, 8, 8))
    (problem,) = caught.value.problems
    assert problem.what == "the forward pass does not end: stopped after 0.5 seconds"
    assert problem.where in {f"{path}, line {line}" for line in (9, 10)}


def test_the_files_of_a_module(tmp_path: Path) -> None:
    assert Path("S7.ipynb") in model_files("S7.ipynb:Net(3)")
    assert Path("a/model.py") in model_files("a/model.py:Net")
