"""The exported file against the net that it was written from: names, weights, outputs, layout."""

import json
import runpy
import subprocess
import sys
import types
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn

import convsmith as cs
from convsmith.cli import run
from convsmith.data.dataset import CANONICAL
from convsmith.net import source
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import Plan, plan
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load, recipe_names
from convsmith.recipes.schema import Recipe
from convsmith.runs.folder import RunFolder
from helpers.imports import loaded
from helpers.nets import legal, net_settings, notations

RESIDUAL = "C8 +(C8 C8)*2 +(C16:s2 +(S16) P16) / D:d2 M3:s2:p1 A3:s1:p1 U2 / G F12 F10"
Capture = pytest.CaptureFixture[str]


def net_of(text: str) -> nn.Module:
    """The `Net` of a file's text, run where no convsmith can be imported by accident."""
    module = types.ModuleType("model")
    exec(compile(text, "model.py", "exec"), module.__dict__)  # noqa: S102 - the text is ours
    net: nn.Module = module.__dict__["Net"]()
    return net


def compare(planned: Plan) -> None:
    """Equal keys in equal order, and outputs equal bit for bit, in both modes."""
    text = source.source(planned)
    assert "convsmith." not in text
    assert "import convsmith" not in text
    built, written = build(planned), net_of(text)
    assert list(written.state_dict()) == list(built.state_dict())
    written.load_state_dict(built.state_dict())
    images = torch.randn(2, *planned.input_shape, generator=torch.Generator().manual_seed(0))
    for train in (False, True):
        outputs = []
        for net in (built.train(train), written.train(train)):
            torch.manual_seed(7)
            outputs.append(net(images))
        assert torch.equal(*outputs)
        assert outputs[0].shape == (2, planned.num_classes)
    for one, other in zip(built.buffers(), written.buffers(), strict=True):
        assert torch.equal(one, other)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations(), net_settings)
def test_any_net(text: str, config: NetSettings) -> None:
    compare(legal(text, config))


@pytest.mark.parametrize("name", recipe_names())
def test_the_nets_of_the_recipes(name: str) -> None:
    recipe = load(name)
    shape = CANONICAL[recipe.data.source].info.image_shape
    compare(plan(parse(recipe.model.net), shape, recipe.model))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_residuals_in_residuals(norm: str) -> None:
    config = NetSettings(norm=norm, dropout=0.25, activation="leaky-relu")  # type: ignore[arg-type]
    compare(plan(parse(RESIDUAL), (3, 32, 32), config))


@pytest.mark.parametrize(
    "net", [RESIDUAL, "F10", "C4 / G F10", " / ".join(["C64:k5:d3 S64:k7:s1"] * 9 + ["G P10"])]
)
def test_the_layout_is_that_of_the_formatter(net: str, tmp_path: Path) -> None:
    config = NetSettings(dropout=0.125, init="orthogonal")
    path = tmp_path / "model.py"
    notes = ["Images are divided by 255. " * 8, "Short."]
    path.write_text(source.source(plan(parse(net), (3, 64, 64), config), notes), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    lint = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E,F,I,W",
        "--ignore",
        "E501",
        str(path),
    ]
    assert subprocess.run(lint, check=False, capture_output=True).returncode == 0


def test_the_docstring_has_the_numbers() -> None:
    model = load("cifar10-classic").model
    net = net_of(source.source(plan(parse(model.net), (3, 32, 32), model)))
    docstring = " ".join((net.__doc__ or "").split())
    assert docstring.startswith(model.net)
    # The course's figure, and by hand: 3 + 2 + 4, then 3 * 2, then 3 * 4, then 3 * 8 pixels.
    assert "174,352 parameters" in docstring
    assert "receptive field 51 pixels" in docstring
    assert "Takes images `(N, 3, 32, 32)`, returns logits `(N, 10)`." in docstring
    assert sum(each.numel() for each in net.parameters()) == 174_352


def test_the_file_runs(tmp_path: Path, capsys: Capture) -> None:
    (path,) = cs.export(cs.load_target("C8 C16:s2 / G F10", input_shape=(3, 32, 32)), tmp_path / "new")
    assert path == tmp_path / "new" / "model.py"
    runpy.run_path(str(path), run_name="__main__")
    # 3*8*9 + 16 + 8*16*9 + 32 + 16*10 + 10, worked out by hand.
    assert capsys.readouterr().out == "output (1, 10)\nparameters 1586\n"


def test_a_net_is_exported_without_torch(tmp_path: Path) -> None:
    arguments = ["export", "cifar10-classic", "--code", "--out", str(tmp_path)]
    assert not loaded(f"from convsmith.cli import run; run({arguments!r})", "torch")
    assert (tmp_path / "model.py").is_file()


def test_a_runs_weights_come_with_it(tiny: Recipe, tmp_path: Path, capsys: Capture) -> None:
    folder = cs.train(tiny, runs=tmp_path).folder
    out = tmp_path / "out"
    assert run(["export", str(folder), "--code", "--out", str(out)]) == 0
    written = capsys.readouterr().out.splitlines()
    assert written == [str(out / "model.py"), str(out / "model.safetensors")]
    text = (out / "model.py").read_text(encoding="utf-8")
    net = net_of(text)
    net.load_state_dict(safetensors.torch.load_file(out / "model.safetensors"))
    own = build(plan(parse(tiny.model.net), (1, 8, 8), tiny.model))
    own.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(net.eval()(images), own.eval()(images))
    mean = json.loads((folder / "data.json").read_text())["mean"][0]
    assert f"minus ({mean:.6g})" in " ".join(text.split())
    assert "in this order: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in " ".join(text.split())


def test_a_bundles_weights_come_with_it(tiny: Recipe, tmp_path: Path) -> None:
    folder = cs.export_bundle(cs.train(tiny, runs=tmp_path).folder, tmp_path / "bundle")
    path, weights = cs.export(cs.load_target(str(folder)), tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    net = net_of(text).eval()
    net.load_state_dict(safetensors.torch.load_file(weights))
    classifier = cs.load(folder)
    images = torch.randint(256, (50, 1, 8, 8), dtype=torch.uint8)
    learned = classifier.preprocessing
    own = net((images / 255 - learned.mean[0]) / learned.std[0])
    torch.testing.assert_close(
        own, torch.from_numpy(classifier.logits(images.permute(0, 2, 3, 1).numpy())), rtol=1e-4, atol=1e-4
    )
    assert f"minus ({learned.mean[0]:.6g})" in " ".join(text.split())
    assert "in this order: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in " ".join(text.split())


def test_class_names_cannot_break_the_file(tiny: Recipe, tmp_path: Path) -> None:
    folder = cs.train(tiny, runs=tmp_path).folder
    record = json.loads((folder / "data.json").read_text())
    record["class_names"][0] = '"""\nraise SystemExit\n\\'
    (folder / "data.json").write_text(json.dumps(record))
    # What such a folder is worth whose author wrote the manifest, too.
    RunFolder(path=folder).write_manifest()
    path, _ = cs.export(cs.load_target(str(folder)), tmp_path / "out")
    net_of(path.read_text(encoding="utf-8"))


def mistake(capsys: Capture, *arguments: str) -> str:
    assert run(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_another_file_is_not_replaced(tmp_path: Path, capsys: Capture) -> None:
    first = ["export", "C8 / G F10", "--code", "--input", "3x32x32", "--out", str(tmp_path)]
    second = ["export", "C16 / G F10", "--code", "--input", "3x32x32", "--out", str(tmp_path)]
    assert run(first) == 0
    before = (tmp_path / "model.py").read_bytes()
    # The same once more changes nothing and is no mistake.
    assert run(first) == 0
    capsys.readouterr()
    err = mistake(capsys, *second)
    assert "error[E010]" in err
    assert "another file exists already" in err
    assert "fix: name another folder with --out, or replace the file with --force" in err
    assert (tmp_path / "model.py").read_bytes() == before
    assert run([*second, "--force"]) == 0
    assert "C16 / G F10" in (tmp_path / "model.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["C8 / G F10", "--input", "3x32x32"], "nothing to write", "--code"),
        (["C8 / G F10", "--code"], "the input's shape is missing", "--input 3x32x32"),
        (["c8 / G F10", "--code", "--input", "3x32x32"], "unknown layer kind 'c'", "write C"),
        (["runs/digits-99", "--code"], "no such run folder", "convsmith train"),
        (["digit", "--code"], "unknown recipe 'digit'", "did you mean 'digits'?"),
        (["digits", "--code", "norm=none"], "unknown field", ""),
        (["src", "--code"], "this folder is no trained run", "convsmith train"),
    ],
)
def test_mistakes(arguments: list[str], what: str, fix: str, capsys: Capture) -> None:
    err = mistake(capsys, "export", *arguments)
    assert what in err
    assert fix in err


def test_a_run_is_what_it_was_trained_as(tiny: Recipe, tmp_path: Path, capsys: Capture) -> None:
    folder = cs.train(tiny, runs=tmp_path).folder
    err = mistake(capsys, "export", str(folder), "model.net=C16 / G F10", "--code")
    assert "a run's recipe cannot be changed" in err
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert "model.safetensors: damaged: found 7 bytes" in mistake(
        capsys, "export", str(folder), "--code", "--out", str(tmp_path / "x")
    )
    assert not (tmp_path / "x").exists()
