"""A net as a PyTorch module: trained, resumed, evaluated and compared as one in the notation is."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import convsmith as cs
from convsmith.cli import run as run_command
from convsmith.errors import ModuleError, RecipeError, RunError, StoppedError, UntrustedCodeError
from convsmith.models.run_model import RunModel
from convsmith.modules.access import CodeAccess
from convsmith.recipes.session import Session
from helpers.interrupted import Interrupt

# The layers of `C4 C8:s2 / G F10` in their order, with names of its own.
CODE = """
from torch import nn
from torch.nn import functional as F
from helpers import width_of

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width_of(8), 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))

class Random(Net):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.2, self.training))
"""
HELPERS = "def width_of(width):\n    return width\n"
TINY = ("train.epochs=2", "name=tiny")


def write_code(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(CODE)
    (folder / "helpers.py").write_text(HELPERS)
    return folder / "model.py"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_code(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="module")
def run(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose net is a module, to be read only."""
    recipe = cs.load_recipe("digits", *TINY, f"model.module={code}:Net(width=4)")
    return cs.train(recipe, runs=tmp_path_factory.mktemp("runs")).folder


@pytest.fixture
def run_copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "copy")


def weights(run: Path) -> list[Tensor]:
    return list(safetensors.torch.load_file(run / "model.safetensors").values())


def sorted_weights(run: Path) -> list[bytes]:
    return sorted(tensor.numpy().tobytes() for tensor in weights(run))


def test_a_module_trains_to_the_weights_of_the_same_net_in_the_notation(run: Path, tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", *TINY, "model.net=C4 C8:s2 / G F10")
    notation = cs.train(recipe, runs=tmp_path).folder
    assert sorted_weights(run) == sorted_weights(notation)
    assert cs.results(run)["test"]["correct"] == cs.results(notation)["test"]["correct"]


def test_the_files_of_the_module_are_copied_and_hashed(run: Path, code: Path) -> None:
    assert (run / "source" / "model.py").read_bytes() == code.read_bytes()
    assert (run / "source" / "helpers.py").read_text() == HELPERS
    assert 'module = "source/model.py:Net(width=4)"' in (run / "recipe.toml").read_text()
    assert 'outputs = "logits"' in (run / "recipe.toml").read_text()


def test_code_is_run_only_if_the_user_says_so(run: Path, tmp_path: Path) -> None:
    for command in (
        lambda: cs.load(run),
        lambda: cs.evaluate(run),
        lambda: cs.report(run),
        lambda: cs.resume(run, epochs=3),
        lambda: cs.resolve(str(run)),
        lambda: cs.compare([run, run], tmp_path / "comparison"),
        lambda: cs.eject(run, tmp_path / "ejected"),
        lambda: cs.export_bundle(run, tmp_path / "bundle"),
    ):
        with pytest.raises(UntrustedCodeError, match="its net is a module"):
            command()


def test_a_trusted_run_predicts_what_its_evaluation_did(run: Path) -> None:
    classifier = cs.load(run, trust_code=True)
    session = Session.load(cs.load_recipe(str(run / "recipe.toml")))
    predicted = classifier.logits(session.data.test.images).argmax(1)
    accuracy = (predicted == session.data.test.labels).mean()
    assert accuracy == pytest.approx(cs.results(run)["test"]["accuracy"])
    assert cs.results(run)["prediction_check"]["agrees"]


def test_an_interrupted_run_names_the_command_that_continues_it(code: Path, tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", *TINY, f"model.module={code}:Net")
    with pytest.raises(StoppedError) as caught:
        cs.train(recipe, runs=tmp_path, callbacks=[Interrupt(epoch=2)])
    run = tmp_path / "tiny-1"
    assert f"fix: `convsmith resume {run} --trust-code` goes on" in str(caught.value)
    with pytest.raises(RunError, match=r"resume .* --trust-code`"):
        RunModel(run, access=CodeAccess(trust=True)).check_finished()
    assert run_command(["resume", str(run), "--trust-code"]) == 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda source: (source / "helpers.py").write_text(HELPERS + "# edited\n"), "not the code that was"),
        (lambda source: (source / "helpers.py").unlink(), "damaged: missing"),
        (lambda source: (source / "torch.py").write_text("x = 1\n"), "not a file of this run's code"),
    ],
)
def test_code_that_has_changed_is_refused(run_copy: Path, change: object, what: str) -> None:
    assert callable(change)
    change(run_copy / "source")
    for command in (
        lambda: cs.load(run_copy, trust_code=True),
        lambda: cs.resume(run_copy, epochs=3, trust_code=True),
    ):
        with pytest.raises(RunError, match=what):
            command()


def test_a_resumed_module_has_the_weights_of_an_uninterrupted_one(
    code: Path, tmp_path: Path, without_report: None
) -> None:
    for name in ("Net", "Random"):
        base = [*TINY, f"model.module={code}:{name}", "train.batch_size=256", "train.microbatch_size=64"]
        whole = cs.train(cs.load_recipe("digits", *base), runs=tmp_path / "whole").folder
        part = cs.train(cs.load_recipe("digits", *base, "train.stop_after=1"), runs=tmp_path / "part").folder
        cs.resume(part, epochs=2, trust_code=True)
        assert sorted_weights(whole) == sorted_weights(part)


def test_random_functions_give_the_same_weights_whatever_the_threads(
    code: Path, tmp_path: Path, without_report: None
) -> None:
    """`F.dropout` draws from PyTorch's global generator, which threads would share."""
    base = [*TINY, f"model.module={code}:Random", "train.batch_size=256", "train.microbatch_size=32"]
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            folder = cs.train(cs.load_recipe("digits", *base), runs=tmp_path / str(threads)).folder
            results.append(sorted_weights(folder))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


def test_runs_of_modules_are_compared_by_their_code(run: Path, code: Path, tmp_path: Path) -> None:
    other = write_code(tmp_path / "other")
    other.write_text(CODE.replace("F.relu(self.bn1", "F.gelu(self.bn1"))
    recipe = cs.load_recipe("digits", *TINY, f"model.module={other}:Net(width=4)")
    second = cs.train(recipe, runs=tmp_path).folder
    record = cs.compare([run, second], tmp_path / "comparison", trust_code=True).record
    assert len(record["groups"]) == 2


def test_an_instance_is_trained_from_its_own_weights(code: Path, tmp_path: Path) -> None:
    layer = nn.Linear(64, 10)
    module, before = nn.Sequential(nn.Flatten(), layer), layer.weight.clone()
    recipe = cs.load_recipe("digits", *TINY, "train.stop_after=1")
    result = cs.train(recipe, module=module, runs=tmp_path)
    assert torch.equal(layer.weight, before)
    with pytest.raises(UntrustedCodeError):
        cs.evaluate(result.folder)
    again = cs.evaluate(result.folder, module=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    assert again.test.correct == result.test.correct
    cs.resume(result.folder, epochs=2, module=module)
    with pytest.raises(RunError, match="do not fit"):
        cs.load(result.folder, module=nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)))
    with pytest.raises(ModuleError, match="the net has 11 outputs, the data has 10 classes"):
        cs.load(result.folder, module=nn.Sequential(nn.Flatten(), nn.Linear(64, 11)))


def test_a_student_of_a_module_asks_for_trust(run: Path, tmp_path: Path, without_report: None) -> None:
    recipe = cs.load_recipe(
        "digits", "train.epochs=1", "name=student", "model.net=C4 / G F10", f"train.teacher={run}"
    )
    with pytest.raises(UntrustedCodeError):
        cs.train(recipe, runs=tmp_path)
    assert cs.train(recipe, runs=tmp_path, trust_code=True).folder.name == "student-1"


def test_a_student_of_a_bundle_with_code(
    module_bundle: Path, module_run: Path, tmp_path: Path, without_report: None
) -> None:
    records = []
    for number, teacher in enumerate((module_bundle, module_run)):
        recipe = cs.load_recipe(
            "digits", "train.epochs=1", "model.net=C4 / G F10", f"train.teacher={teacher}"
        )
        if not number:
            with pytest.raises(UntrustedCodeError):
                cs.train(recipe, runs=tmp_path)
        folder = cs.train(recipe, runs=tmp_path, trust_code=True).folder
        records.append(json.loads((folder / "teacher.json").read_text()))
    bundle, run = records
    assert bundle["net"] == run["net"] == "model.py:Net(width=6)"
    assert bundle["parameters"] == run["parameters"]
    assert bundle["test_accuracy"] == pytest.approx(run["test_accuracy"], abs=0.005)


def test_a_recipe_has_one_net(code: Path) -> None:
    with pytest.raises(RecipeError, match="a recipe has one net, found two"):
        cs.load_recipe("digits", f"model.module={code}:Net", "model.net=C4 / G F10")
    recipe = cs.load_recipe("digits", f"model.module={code}:Net")
    assert cs.load_recipe("digits", f"model.module={code}:Net").table()["model"] == {"module": f"{code}:Net"}
    with pytest.raises(RecipeError, match="norm, init: for nets in the notation; a module has its own"):
        cs.load_recipe("digits", f"model.module={code}:Net", "model.norm=none", "model.init=dirac")
    with pytest.raises(RecipeError, match="this needs a net in the notation"):
        _ = recipe.notation


def test_a_module_beside_a_recipe_is_found_from_anywhere(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_code(tmp_path)
    (tmp_path / "mine.toml").write_text('extends = "digits"\nmodel.module = "model.py:Net"\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (
        cs.resolve("../mine.toml").analysis.parameters
        == cs.resolve("digits", "model.net=C4 C8:s2 / G F10").analysis.parameters
    )


def test_whitening_is_for_the_notation(code: Path, tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", f"model.module={code}:Net", "train.whitening=true")
    with pytest.raises(RecipeError, match="whitening is for nets in the notation"):
        cs.train(recipe, runs=tmp_path)


def test_a_search_needs_the_notation(code: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="this needs a net in the notation"):
        cs.search("course-cifar10", cs.load_recipe("digits", f"model.module={code}:Net"), study=tmp_path)


def test_a_module_that_does_not_fit_the_data_leaves_nothing_behind(code: Path, tmp_path: Path) -> None:
    code = write_code(tmp_path / "code")
    code.write_text(CODE.replace("nn.Linear(8, 10)", "nn.Linear(8, 7)"))
    with pytest.raises(ModuleError, match="the net has 7 outputs, the data has 10 classes"):
        cs.train(cs.load_recipe("digits", f"model.module={code}:Net"), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("call", "message"), [("Net(depth=3)", "unexpected keyword argument"), ("Net(width=0)", "Net")]
)
def test_a_constructor_is_called_before_data_is_read(
    code: Path, tmp_path: Path, call: str, message: str
) -> None:
    code = write_code(tmp_path / "code")
    code.write_text(CODE.replace("super().__init__()", "super().__init__(); 1 / width"))
    recipe = cs.load_recipe("digits", f"model.module={code}:{call}", f"data.source={tmp_path / 'no_data'}")
    with pytest.raises(ModuleError, match=message):
        Session.load(recipe)


def test_the_command_line_trains_a_module(
    code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = str(tmp_path / "runs")
    assert run_command(["train", "digits", "--module", f"{code}:Net", *TINY, "--runs", runs]) == 0
    run = tmp_path / "runs" / "tiny-1"
    assert run_command(["evaluate", str(run)]) == 2
    assert "fix: read the code, then allow it: --trust-code" in capsys.readouterr().err
    assert run_command(["evaluate", str(run), "--trust-code"]) == 0
    for page in ("report.html", "README.md"):
        text = (run / page).read_text()
        assert "model.py:Net" in text
        assert "beside the folder" in text
    # As the pages say: the recipe beside the folder `source`.
    shutil.copytree(run / "source", tmp_path / "again" / "source")
    shutil.copy(run / "recipe.toml", tmp_path / "again" / "tiny.toml")
    assert cs.resolve(str(tmp_path / "again" / "tiny.toml")).analysis.parameters == 36 + 8 + 288 + 16 + 90
