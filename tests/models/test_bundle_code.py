"""Bundles that hold the code of their net: run on request, and only as it was written."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import convsmith as cs
from convsmith.cli import run as command
from convsmith.errors import BundleError, ConvsmithError, FileError, ModuleError, UntrustedCodeError
from convsmith.models import bundle
from helpers.bundles import rewritten

Change = Callable[[Path], object]


def with_spec(folder: Path, **fields: object) -> Path:
    """Change the spec of a bundle and its manifest, as an attacker would."""
    metadata = json.loads((folder / "bundle.json").read_text())
    metadata["spec"] |= fields
    return rewritten(folder, "bundle.json", json.dumps(metadata).encode())


def with_entry(folder: Path, name: str, content: bytes) -> Path:
    """Add an entry to the manifest without writing the file."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def touching(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w')\nfrom torch import nn\nclass Net(nn.Module):\n    pass\n"


def test_no_code_runs_without_trust(module_bundle_copy: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    folder = rewritten(module_bundle_copy, "source/model.py", touching(canary).encode())
    out = tmp_path / "out"
    for attempt in (
        lambda: cs.load(folder),
        lambda: cs.predict(folder, np.zeros((8, 8), np.uint8)),
        lambda: cs.resolve(str(folder)),
        lambda: cs.export_bundle(folder, out),
        lambda: cs.export_onnx(folder, out),
        lambda: cs.export(str(folder), out),
        lambda: cs.train(
            cs.load_recipe("digits", "model.net=C4 / G F10", f"train.teacher={folder}"), runs=out
        ),
    ):
        with pytest.raises(UntrustedCodeError, match="its net is a module"):
            attempt()
    for words in (["summary"], ["check"], ["draw", "--out", str(out)], ["predict"], ["receptive-field"]):
        name, *options = words
        pictures = ["picture.png"] if name == "predict" else []
        if pictures:
            from helpers.images import saved

            pictures = [saved(tmp_path / "picture.png", np.zeros((8, 8), np.uint8))]
        assert command([name, str(folder), *pictures, *options]) == 2
    assert not canary.exists()
    assert not out.exists()
    # Not even reading the files runs them.
    assert bundle.read(folder).metadata.name == "own"
    assert not canary.exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda source: (source / "layers.py").write_text("def width_of(w):\n    return w + 0\n"), "damaged"),
        (lambda source: (source / "layers.py").unlink(), "source/layers.py is missing"),
        (lambda source: (source / "torch.py").write_text("x = 1\n"), "not a file of this bundle's code"),
        (
            lambda source: (source / "__pycache__").mkdir() or (source / "__pycache__/a.py").touch(),
            "not a file",
        ),
        (lambda source: (source / "link.py").symlink_to("/etc/passwd"), "found a link, expected a file"),
    ],
)
def test_code_that_has_changed_is_refused(module_bundle_copy: Path, change: Change, what: str) -> None:
    change(module_bundle_copy / "source")
    with pytest.raises(BundleError, match=what):
        cs.load(module_bundle_copy, trust_code=True)


def test_compiled_files_of_python_do_not_matter(module_bundle_copy: Path) -> None:
    (module_bundle_copy / "source" / "__pycache__").mkdir()
    (module_bundle_copy / "source" / "__pycache__" / "layers.cpython-313.pyc").write_bytes(b"x")
    assert cs.load(module_bundle_copy, trust_code=True).name == "own"


def test_the_folder_of_the_code_is_no_link(module_bundle_copy: Path, tmp_path: Path) -> None:
    (module_bundle_copy / "source").rename(tmp_path / "elsewhere")
    (module_bundle_copy / "source").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="found a link, expected a folder"):
        cs.load(module_bundle_copy, trust_code=True)


@pytest.mark.parametrize(
    "name",
    [
        "source/../escape.py", "/etc/passwd", "source//etc/passwd", "source/a/../../b.py", "source/./a.py",
        "code/model.py", "source", "source/", "source/C:\\a.py", "source/a\0.py",
    ],
)  # fmt: skip
def test_names_that_leave_the_folder_are_refused(module_bundle_copy: Path, name: str) -> None:
    (module_bundle_copy.parent / "escape.py").write_text("x = 1\n")
    with pytest.raises(BundleError, match="damaged: "):
        cs.load(with_entry(module_bundle_copy, name, b"x = 1\n"), trust_code=True)


def test_sizes_are_checked_before_files_are_read(
    module_bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MAX_FILES", 1)
    with pytest.raises(BundleError, match=r"found 2 source files of [\d,]+ bytes, expected at most 1"):
        bundle.read(module_bundle_copy)
    monkeypatch.setattr(bundle, "MAX_FILES", 500)
    monkeypatch.setattr(bundle, "MAX_TOTAL", 10)
    with pytest.raises(BundleError, match="expected at most 500 of 10 bytes"):
        bundle.read(module_bundle_copy)
    monkeypatch.setattr(bundle, "MAX_TOTAL", 10**9)
    # The manifest may lie about the size.
    with (module_bundle_copy / "source" / "layers.py").open("ab") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(BundleError, match="expected at most 67,108,864"):
        bundle.read(module_bundle_copy)


@pytest.mark.parametrize(
    ("module", "what"),
    [
        ("/etc/passwd.py:Net", "its file is not in source/"),
        ("../model.py:Net", "its file is not in source/"),
        ("source/../model.py:Net", "the file that holds the net is missing"),
        ("source/other.py:Net", "the file that holds the net is missing"),
        ("torch.nn:Linear(64, 10)", "the net has no code, but there are files"),
        ("C8 / G F10", "expected a file and a class in it"),
        ("source/model.py:Net(open('x'))", "with literal arguments"),
        ("", "spec.module"),
    ],
)
def test_references_that_do_not_fit_the_code_are_refused(
    module_bundle_copy: Path, module: str, what: str
) -> None:
    with pytest.raises(BundleError, match="damaged: ") as caught:
        bundle.read(with_spec(module_bundle_copy, module=module))
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("module", "what"),
    [
        ("os:system('touch {canary}')", "os is a module of Python, not a package of nets; it was not called"),
        ("torch.hub:load('{canary}', 'x')", "load is no function of a package of nets; it was not called"),
        ("torch:Generator()", "Generator is a class of another kind than torch.nn.Module"),
        ("torch.nn.functional:relu", "relu is no function of a package of nets"),
        ("torch.nn:Linear(8, 10)", "forward returns (4, 1, 8, 10) for 4 images"),
        ("nowhere_at_all:net()", "nowhere_at_all is not installed"),
    ],
)
def test_a_package_gives_nets_of_pytorch_or_nothing(
    module_bundle_copy: Path, module: str, what: str, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    shutil.rmtree(module_bundle_copy / "source")
    manifest = json.loads((module_bundle_copy / "manifest.json").read_text())
    kept = {name: entry for name, entry in manifest.items() if not name.startswith("source/")}
    (module_bundle_copy / "manifest.json").write_text(json.dumps(kept))
    folder = with_spec(module_bundle_copy, module=module.format(canary=canary))
    with pytest.raises(UntrustedCodeError):
        cs.load(folder)
    with pytest.raises(ModuleError) as caught:
        cs.load(folder, trust_code=True)
    assert what in str(caught.value)
    assert not canary.exists()


def test_notation_has_no_code(bundle_copy: Path) -> None:
    (bundle_copy / "source").mkdir()
    (bundle_copy / "source" / "a.py").write_bytes(b"x")
    with pytest.raises(BundleError, match="the net has no code, but there are files"):
        cs.load(with_entry(bundle_copy, "source/a.py", b"x"), trust_code=True)


def test_code_that_makes_another_net_is_refused(module_bundle_copy: Path) -> None:
    path = module_bundle_copy / "source" / "model.py"
    for code, error, what in (
        (path.read_text().replace("nn.Linear(8, 10)", "nn.Linear(8, 7)"), ModuleError, "7 outputs"),
        (path.read_text().replace("width=4", "width=4, more=1"), None, ""),
        (path.read_text().replace("bias=False", "bias=True"), BundleError, "tensor conv1.bias is missing"),
        (path.read_text().replace("self.bn1 =", "self.bn0 ="), ModuleError, "no attribute 'bn1'"),
        (
            "from torch import nn\nclass Net(nn.Module):\n    pass\n",
            ModuleError,
            "unexpected keyword argument 'width'",
        ),
        ("def Net(width):\n    return len\n", ModuleError, "returns a builtin_function_or_method"),
        ("syntax error\n", ModuleError, "syntax"),
    ):
        rewritten(module_bundle_copy, "source/model.py", code.encode())
        if error is None:
            cs.load(module_bundle_copy, trust_code=True)
            continue
        with pytest.raises(error) as caught:
            cs.load(module_bundle_copy, trust_code=True)
        assert what in str(caught.value), code


def test_an_instance_needs_no_code(module_bundle_copy: Path, digits_test_images: np.ndarray) -> None:
    expected = cs.load(module_bundle_copy, trust_code=True).logits(digits_test_images)
    instance = cs.load(module_bundle_copy, trust_code=True).net
    rewritten(module_bundle_copy, "source/model.py", b"raise SystemExit\n")
    found = cs.load(module_bundle_copy, module=instance).logits(digits_test_images)
    assert np.array_equal(found, expected)
    with pytest.raises(ConvsmithError):
        cs.load(module_bundle_copy, module=nn.Linear(64, 10))


def test_another_version_of_the_package_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_report: None
) -> None:
    package = tmp_path / "site" / "ownnets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from torch import nn\n__version__ = '1.0'\n"
        "def net(width):\n    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), "
        "nn.Linear(36 * width, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    recipe = cs.load_recipe("digits", "train.epochs=1", "name=package", "model.module=ownnets:net(width=4)")
    run = cs.train(recipe, runs=tmp_path / "runs").folder
    cs.evaluate(run, trust_code=True)
    folder = cs.export_bundle(run, tmp_path / "bundle", trust_code=True)
    assert not (folder / "source").exists()
    assert "| package" in (folder / "README.md").read_text()
    with pytest.raises(UntrustedCodeError):
        cs.resolve(str(folder))
    assert cs.resolve(str(folder), trust_code=True).notes == ()
    monkeypatch.setattr(sys.modules["ownnets"], "__version__", "2.0")
    (note,) = cs.resolve(str(folder), trust_code=True).notes
    assert note == "package: trained with ownnets 1.0, this is ownnets 2.0"


def test_other_files_in_the_folder_of_the_code_are_kept(module_bundle_copy: Path, tiny_run: Path) -> None:
    (module_bundle_copy / "source" / "mine.py").write_text("years of work")
    with pytest.raises(FileError, match=r"source/mine\.py"):
        cs.export_bundle(tiny_run, module_bundle_copy, replace=True)
    assert (module_bundle_copy / "source" / "mine.py").read_text() == "years of work"
