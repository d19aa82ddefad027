"""Nets of every kind judged by a brief, with weights, in a student's own test, and on the command line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.briefs.loader import load_brief
from convsmith.cli import run as run_command
from convsmith.errors import ConvsmithError, FileError, ModuleError, RecipeError
from convsmith.modules.load import load_module
from helpers.github import annotations
from helpers.junit import check_junit

CODE = """from torch import nn
from tqdm import tqdm


class Block(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)

    def forward(self, x):
        return self.conv(x).relu()


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first = Block(1, width)
        self.second = Block(width, 2 * width)
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, x):
        return self.fc(self.second(self.first(x)).mean((2, 3)))


class Wide(Net):
    def __init__(self):
        super().__init__(16)
"""
BRIEF = """max_parameters = 2000
require = ["global-average-pooling"]
min_accuracy = 0.01
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A student's repository, as the working directory."""
    for name in ("GITHUB_ACTIONS", "GITHUB_WORKSPACE", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(CODE)
    Path("brief.toml").write_text(BRIEF)
    torch.manual_seed(0)
    torch.save(load_module("model.py:Net").create().state_dict(), "net.pth")
    return tmp_path


def verdicts(checks: cs.Verdicts) -> dict[str, str]:
    """The verdicts by title, without that on hidden tensors, which every module with a limit has."""
    return {each.title: each.verdict for each in checks if not each.title.endswith("hidden tensors")}


def test_nets_of_every_kind(repository: Path, tiny_run: Path) -> None:
    expected = {
        "parameters": "pass",
        "global-average-pooling": "pass",
        "test accuracy": "not applicable",
    }
    brief, shape = load_brief("brief.toml"), (1, 8, 8)
    instance = load_module("model.py:Net").create()
    analysis = cs.summary("C8 / G F10", shape)
    assert verdicts(cs.check("model.py:Net", brief=brief, input_shape=shape)) == expected
    assert verdicts(cs.check(instance, brief=Path("brief.toml"), input_shape=shape)) == expected
    assert verdicts(cs.check(analysis, brief="brief.toml")) == expected
    assert verdicts(cs.check("C8 / G F10", brief=brief, data="digits")) == expected
    assert verdicts(cs.check(tiny_run, brief=brief)) == {**expected, "test accuracy": "pass"}
    assert verdicts(cs.check("zoo:digits", brief=brief))["test accuracy"] == "pass"
    recipe = cs.load_recipe("digits")
    assert verdicts(cs.check(recipe, brief=brief))["parameters"] == "fail"
    assert verdicts(cs.check(recipe, brief=brief, module=instance)) == expected


def test_weights_are_evaluated_once(repository: Path) -> None:
    brief = cs.Brief(min_accuracy=0.05)
    named = cs.check("model.py:Net", "data.test_fraction=0.5", brief=brief, weights="net.pth", data="digits")
    (check,) = named
    # The oracle: the same weights as a run of their own.
    result = cs.evaluate("model.py:Net", "data.test_fraction=0.5", weights="net.pth", data="digits")
    assert check.actual == f"{result.test.accuracy:.2%}"
    assert [path.name for path in repository.iterdir() if path.is_dir()] == ["runs"]
    # An instance keeps its own weights.
    instance = load_module("model.py:Net").create()
    before = {name: value.clone() for name, value in instance.state_dict().items()}
    again = cs.check(instance, "data.test_fraction=0.5", brief=brief, weights="net.pth", data="digits")
    assert [each.actual for each in again] == [check.actual]
    assert all(torch.equal(value, before[name]) for name, value in instance.state_dict().items())


@pytest.mark.parametrize(
    ("net", "arguments", "kind", "text"),
    [
        ("model.py:Net", {}, RecipeError, "the input's shape is missing"),
        ("model.py", {"input_shape": (1, 8, 8)}, ModuleError, "for example model.py:Net"),
        ("model.py:Block", {"input_shape": (1, 8, 8)}, ModuleError, "'model.py:Block(before=10, after=10)'"),
        ("model.py:Nit", {"input_shape": (1, 8, 8)}, ModuleError, "Net"),
        ("empty.py", {"input_shape": (1, 8, 8)}, ModuleError, "no net in this file"),
        ("model.py:Net", {"weights": "net.pth"}, RecipeError, "the weights need the data"),
        ("model.py:Net", {"weights": "no.pth", "data": "digits"}, FileError, "no.pth"),
        ("model.py:Wide", {"weights": "net.pth", "data": "digits"}, ModuleError, "first.conv.weight"),
        ("model.py:Net", {"weights": "whole.pth", "data": "digits"}, ModuleError, "state_dict"),
        ("digits", {"data": "mnist"}, RecipeError, "the shape of the images is known already"),
    ],
)
def test_mistakes(
    repository: Path, net: str, arguments: dict[str, object], kind: type[ConvsmithError], text: str
) -> None:
    Path("empty.py").write_text("x = 1\n")
    torch.save(nn.Linear(2, 2), "whole.pth")
    with pytest.raises(kind) as error:
        cs.check(net, brief="brief.toml", **arguments)  # type: ignore[arg-type]
    assert text in str(error.value)
    # pytest shows the line of the test only.
    assert error.value.__cause__ is None
    assert [entry.name for entry in error.traceback] == ["test_mistakes", "check"]


@pytest.mark.parametrize(
    ("net", "overrides", "arguments", "where"),
    [
        (cs.summary("C8 / G F10", (1, 8, 8)), (), {"train": True, "data": "digits"}, "training, data"),
        (cs.summary("C8 / G F10", (1, 8, 8)), ("seed=1",), {}, "overrides"),
        (cs.load_recipe("digits"), (), {"weights": "net.pth"}, "weights"),
        (cs.load_recipe("digits"), ("seed=1",), {"train": True}, "overrides"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), ("seed=1",), {"data": "digits"}, "overrides"),
        ("C8 / G F10", (), {"recipe": "digits", "data": "digits"}, "recipe='digits'"),
    ],
)
def test_arguments_without_effect_are_refused(
    net: "cs.Recipe | cs.Analysis | nn.Module | str",
    overrides: tuple[str, ...],
    arguments: dict[str, object],
    where: str,
) -> None:
    with pytest.raises(RecipeError) as error:
        cs.check(net, *overrides, brief=cs.Brief(max_parameters=3), **arguments)  # type: ignore[arg-type]
    assert error.value.problems[0].where == where


def test_an_instance_needs_a_shape(repository: Path) -> None:
    with pytest.raises(RecipeError, match="the shape of an image is missing"):
        cs.check(load_module("model.py:Net").create(), brief="brief.toml")


def test_a_brief_of_the_library_knows_its_images(repository: Path) -> None:
    checks = cs.check("C64:k4:s2 C32 / G F10", brief="course-cifar10-50k")
    assert verdicts(checks)["parameters"] == "pass"


STUDENTS_TEST = """import convsmith as cs
from model import Net


def test_brief():
    cs.check(Net(32), brief="brief.toml", input_shape=(1, 8, 8)).require()


def test_small():
    assert cs.check(Net(), brief="brief.toml", input_shape=(1, 8, 8)).require().passed


def test_typo():
    cs.check(Net(), brief="brieff.toml", input_shape=(1, 8, 8)).require()
"""


@pytest.mark.slow
def test_a_students_own_pytest_reads_well(repository: Path) -> None:
    Path("model.py").write_text(CODE.replace("from tqdm import tqdm\n", ""))
    Path("test_net.py").write_text(STUDENTS_TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_net.py"],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    output = done.stdout
    assert done.returncode == 1, output + done.stderr
    assert "2 failed, 1 passed" in output
    failures = [line.removeprefix("E").rstrip() for line in output.splitlines() if line.startswith("E ")]
    assert re.fullmatch(r" {7}AssertionError: Net: 1 of \d checks failed", failures[0])
    assert failures[1].split() == ["parameters:", "found", "19,466,", "required", "at", "most", "2,000"]
    assert failures[2].strip().startswith("fix: ")
    assert any("error[E010]: brieff.toml: cannot read" in line for line in failures)
    # No line of the library's own source.
    assert "__tracebackhide__" not in output
    assert "raise " not in output
    assert len(output.splitlines()) < 45


def test_annotations_summary_and_reports(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["check", "model.py:Net", "model.py:Wide", "model.py:Missing", "--brief", "brief.toml"]
    arguments += ["--input", "1x8x8", "--report", "out.md", "--junit", "out.xml"]
    assert run_command(arguments) == 2
    plain = capsys.readouterr()
    assert annotations(plain.out + plain.err) == []
    assert re.search(r"model.py:Wide: 1 of \d checks failed", plain.out)
    assert "error[E022]" in plain.err
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(repository))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert run_command(arguments) == 2
    shown = capsys.readouterr().out
    errors = [each for each in annotations(shown) if each.name == "error"]
    assert [each.properties["title"] for each in errors] == [
        "model.py:Missing cannot be judged",
        "model.py:Wide: parameters",
    ]
    assert CODE.splitlines()[int(errors[1].properties["line"]) - 1] == "class Wide(Net):"
    summary = Path("summary.md").read_text("utf-8")
    assert Path("out.md").read_text("utf-8") == f"# Checks by brief.toml\n\n{summary}"
    suites = check_junit(Path("out.xml").read_text("utf-8"))
    assert [suite.get("name") for suite in suites] == ["model.py:Net", "model.py:Wide", "model.py:Missing"]
    assert [suite.get("errors") for suite in suites] == ["0", "0", "1"]


def test_json_stays_alone_on_standard_output(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    arguments = ["--brief", "brief.toml", "--input", "1x8x8", "--json"]
    assert run_command(["check", "model.py:Wide", *arguments]) == 1
    one = capsys.readouterr()
    assert json.loads(one.out)["checks"][0]["verdict"] == "fail"
    assert len(annotations(one.err)) > 1
    assert run_command(["check", "model.py:Net", "model.py:Wide", *arguments]) == 1
    both = json.loads(capsys.readouterr().out)
    assert both["passed"] is False
    assert [net["name"] for net in both["nets"]] == ["model.py:Net", "model.py:Wide"]


def test_a_wrong_brief_is_an_annotation_too(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    Path("brief.toml").write_text("max_parameter = 3\n")
    assert run_command(["check", "model.py:Net", "--brief", "brief.toml", "--input", "1x8x8"]) == 2
    output = capsys.readouterr()
    (error,) = annotations(output.out)
    assert "max_parameters" in error.message
    assert error.properties == {"file": "brief.toml", "line": "1", "title": "brief.toml cannot be judged"}
    assert "max_parameters" in output.err


def test_a_report_that_cannot_be_written_hides_no_verdict(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    arguments = ["--brief", "brief.toml", "--input", "1x8x8", "--report", "no/such/folder.md"]
    assert run_command(["check", "model.py:Wide", "model.py:Nit", *arguments]) == 2
    output = capsys.readouterr()
    assert len([each for each in annotations(output.out) if each.name == "error"]) == 2
    assert "Nit" in output.err
    assert "no/such/folder.md: cannot write" in output.err


def test_one_file_of_weights_for_each_net(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "model.py:Net", "model.py:Wide", "--brief", "brief.toml", "--data", "digits"]
    assert run_command([*arguments, "--weights", "net.pth"]) == 2
    assert "found 1 file of weights for 2 nets" in capsys.readouterr().err


def test_the_models_of_a_hand_in(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("steps.toml").write_text('max_parameters = 2000\nsteps = [3, 4]\ngoal = "last"\n')
    nets = ["model.py:Wide", "model.py:Net"]
    checks = cs.check(nets, brief="steps.toml", input_shape=(1, 8, 8))
    assert verdicts(checks) == {
        "models of the hand-in": "fail",
        "model.py:Wide: parameters": "not applicable",
        "model.py:Net: parameters": "pass",
    }
    arguments = ["--brief", "steps.toml", "--input", "1x8x8"]
    assert run_command(["check", *nets, *arguments]) == 1
    assert "all nets together: 1 of 1 check failed" in capsys.readouterr().out
    assert run_command(["check", *nets, "model.py:Net", *arguments]) == 0


@pytest.mark.parametrize("net", [pytest.param("model.py:Net", marks=pytest.mark.slow), "C8 C16 / G F10"])
def test_a_net_is_trained_by_the_rules_of_the_brief(
    repository: Path, net: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("brief.toml").write_text(
        "epochs = [1, 2]\nbatch_size = 64\nmin_accuracy = 0.05\neach_of_last = 1\n"
        'train_accuracy = { epoch = 2, min = 0.05 }\noptimizer = "adam"\n'
    )
    arguments = ["check", net, "--brief", "brief.toml", "--train", "--data", "digits"]
    assert run_command([*arguments, "data.test_fraction=0.3"]) == 0
    output = capsys.readouterr().out
    assert "Epoch 2" in output
    assert "plain settings, without augmentation: 2 epochs, seed 0" in output
    (folder,) = Path("runs").iterdir()
    assert f"run folder: {folder}" in output
    recipe = cs.load_recipe(str(folder / "recipe.toml"))
    train = recipe.train
    assert (train.epochs, train.batch_size, train.optimizer.name) == (2, 64, "adam")
    # Places are in the file that is trained, not in its copy.
    assert "source/" not in output
    # The folder is one of a usual training: it is judged again, and trained longer.
    again = cs.check(folder, trust_code=True)
    assert {each.verdict for each in again} == {"pass"}
    if net == "model.py:Net":
        assert cs.resume(folder, epochs=3, trust_code=True).folder == folder


@pytest.mark.slow
def test_an_instance_is_trained_as_a_copy(repository: Path) -> None:

    class Local(nn.Sequential):
        """A class that no command can load."""

    instance = Local(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    before = {name: value.clone() for name, value in instance.state_dict().items()}
    checks = cs.check(
        instance,
        "train.epochs=1",
        "data.test_fraction=0.3",
        brief=cs.Brief(min_accuracy=0.01),
        data="digits",
        train=True,
    )
    assert verdicts(checks) == {"test accuracy": "pass"}
    (folder,) = Path("runs").iterdir()
    assert cs.check(folder, trust_code=True, module=instance)[0].actual == checks[0].actual
    recipe = cs.load_recipe("digits", "train.epochs=1")
    brief = cs.Brief(max_parameters=10_000)
    (parameters, *_) = cs.check(recipe, brief=brief, train=True, module=instance)
    assert parameters.actual.startswith(f"{sum(each.numel() for each in instance.parameters()):,}")
    assert all(torch.equal(value, before[name]) for name, value in instance.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["model.py:Net", "--train"], "the training needs images"),
        (["model.py:Net", "--train", "--input", "1x8x8"], "a training makes weights of its own"),
        (["model.py:Net", "--train", "--weights", "net.pth"], "a training makes weights of its own"),
        (["model.py:Net", "--recipe", "digits"], "add --train"),
        (["zoo:digits", "--train"], "this zoo is trained already"),
        (["digits", "--train", "--data", "mnist"], "a recipe has settings and data of its own"),
        (
            ["model.py:Net", "--weights", "net.pth", "--data", "digits", "--input", "1x8x8"],
            "the size of the images",
        ),
    ],
)
def test_mistakes_of_a_command(
    repository: Path, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["check", *arguments, "--brief", "brief.toml"]) == 2
    assert text in capsys.readouterr().err
    assert not Path("runs").exists()
