"""Source code exported from notations, runs and bundles."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import convsmith as cs
from convsmith.cli import run
from convsmith.errors import UntrustedCodeError
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.recipes.schema import Recipe
from convsmith.runs.folder import RunFolder
from helpers.imports import loaded
from helpers.nets import net_from_source
from helpers.own_nets import CODE, write_nets

Capture = pytest.CaptureFixture[str]


def test_the_file_runs(tmp_path: Path, capsys: Capture) -> None:
    (path,) = cs.export(cs.resolve("C8 C16:s2 / G F10", input_shape=(3, 32, 32)), tmp_path / "new")
    assert path == tmp_path / "new" / "model.py"
    runpy.run_path(str(path), run_name="__main__")
    # 3*8*9 + 16 + 8*16*9 + 32 + 16*10 + 10, computed by hand.
    assert capsys.readouterr().out == "output (1, 10)\nparameters 1586\n"


def test_a_net_is_exported_without_torch(tmp_path: Path) -> None:
    arguments = ["export", "recipe:cifar10-classic", "--code", "--out", str(tmp_path)]
    assert not loaded(f"from convsmith.cli import run; run({arguments!r})", "torch")
    assert (tmp_path / "model.py").is_file()


def test_the_weights_of_a_run_are_exported(tiny: Recipe, tmp_path: Path, capsys: Capture) -> None:
    folder = cs.train(tiny, runs=tmp_path).folder
    out = tmp_path / "out"
    assert run(["export", str(folder), "--code", "--out", str(out)]) == 0
    written = capsys.readouterr().out.splitlines()
    assert written == [str(out / "model.py"), str(out / "model.safetensors")]
    text = (out / "model.py").read_text(encoding="utf-8")
    net = net_from_source(text)
    net.load_state_dict(safetensors.torch.load_file(out / "model.safetensors"))
    own = build(plan(parse(tiny.notation.net), (1, 8, 8), tiny.notation))
    own.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(net.eval()(images), own.eval()(images))
    mean = json.loads((folder / "data.json").read_text())["mean"][0]
    assert f"minus ({mean:.6g})" in " ".join(text.split())
    assert "in this order: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in " ".join(text.split())


def test_the_weights_of_a_bundle_are_exported(tiny: Recipe, tmp_path: Path) -> None:
    folder = cs.export_bundle(cs.train(tiny, runs=tmp_path).folder, tmp_path / "bundle")
    path, weights = cs.export(cs.resolve(str(folder)), tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    net = net_from_source(text).eval()
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
    # The manifest matches, as if the author of the folder were hostile.
    RunFolder(path=folder).write_manifest()
    path, _ = cs.export(cs.resolve(str(folder)), tmp_path / "out")
    net_from_source(path.read_text(encoding="utf-8"))


def error_of(capsys: Capture, *arguments: str) -> str:
    assert run(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_an_existing_file_is_not_overwritten(tmp_path: Path, capsys: Capture) -> None:
    first = ["export", "C8 / G F10", "--code", "--input", "3x32x32", "--out", str(tmp_path)]
    second = ["export", "C16 / G F10", "--code", "--input", "3x32x32", "--out", str(tmp_path)]
    assert run(first) == 0
    before = (tmp_path / "model.py").read_bytes()
    # Exporting the same net again changes nothing.
    assert run(first) == 0
    capsys.readouterr()
    err = error_of(capsys, *second)
    assert "error[E010]" in err
    assert "another file exists already" in err
    assert "fix: name another place, or replace the file with --force" in err
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
        (["src", "--code"], "this folder is not a trained run", "convsmith train"),
    ],
)
def test_errors(arguments: list[str], what: str, fix: str, capsys: Capture) -> None:
    err = error_of(capsys, "export", *arguments)
    assert what in err
    assert fix in err


def test_overrides_and_damaged_weights_are_rejected(tiny: Recipe, tmp_path: Path, capsys: Capture) -> None:
    folder = cs.train(tiny, runs=tmp_path).folder
    err = error_of(capsys, "export", str(folder), "model.net=C16 / G F10", "--code")
    assert "a run's recipe cannot be changed" in err
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert "model.safetensors: damaged: found 7 bytes" in error_of(
        capsys, "export", str(folder), "--code", "--out", str(tmp_path / "x")
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["module_run", "module_bundle"])
def test_a_module_is_exported_as_its_own_files(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, digits_test_images: np.ndarray
) -> None:
    place, out = request.getfixturevalue(name), tmp_path / "out"
    with pytest.raises(UntrustedCodeError):
        cs.export(place, out)
    written = cs.export(place, out, trust_code=True)
    assert {path.name for path in written} == {"model.py", "layers.py", "README.md", "model.safetensors"}
    assert (out / "model.py").read_text() == CODE
    page = (out / "README.md").read_text()
    assert "The outputs are log-probabilities." in page
    assert "in this order: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in page
    classifier = cs.load(place, trust_code=True)
    images = torch.from_numpy(digits_test_images[:4]).permute(0, 3, 1, 2).float()
    shape = classifier.preprocessing
    inputs = (images / 255 - shape.mean[0]) / shape.std[0]
    # What the page says, in a Python without convsmith.
    code = page.split("```python\n")[1].split("```")[0]
    torch.save(inputs, tmp_path / "inputs.pt")
    program = (
        f"import sys, torch\nsys.modules['convsmith'] = None\nsys.path[0] = '.'\n{code}\n"
        f"print(net(torch.load({str(tmp_path / 'inputs.pt')!r})).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=out, capture_output=True, text=True, check=True
    )
    found = torch.tensor(json.loads(done.stdout))
    expected = torch.from_numpy(classifier.logits(digits_test_images[:4]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_modules_without_weights_or_code(tmp_path: Path, capsys: Capture) -> None:
    code = write_nets(tmp_path / "code")
    out = tmp_path / "out"
    arguments = ["digits", f"model.module={code}:Softmax", "--code", "--out", str(out)]
    assert run(["export", *arguments]) == 0
    assert {path.name for path in out.iterdir()} == {"model.py", "layers.py", "README.md"}
    page = (out / "README.md").read_text()
    assert "net = Softmax()" in page
    assert "load_file" not in page
    assert "The outputs are probabilities." in page
    assert run(["export", f"{code}:Net", "--code", "--input", "1x8x8", "--out", str(out)]) == 2
    assert "a module of your own is PyTorch code already" in capsys.readouterr().err
