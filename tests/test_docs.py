"""The documentation: its commands and examples run, links resolve, tables agree with results/*.csv."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
import torch
from PIL import Image

import convsmith
from convsmith.briefs.loader import brief_names, load_brief
from convsmith.briefs.schema import BlockPattern, Brief
from convsmith.briefs.structure import LayerKind
from convsmith.cli import run
from convsmith.models.zoo import zoo_folder, zoo_name
from convsmith.modules.load import load_module
from convsmith.net.layers.layer import OPTIONS
from convsmith.net.layers.registry import KINDS
from convsmith.net.settings import NetSettings
from convsmith.recipes.axes import combinations, parse_axes
from convsmith.recipes.loader import load, recipe_names
from helpers.lowest import floors
from helpers.notebooks import write_notebook
from helpers.paths import ROOT

HASHES = (ROOT / "hashes.txt").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """Return the lines of code blocks that call convsmith, and commands between backticks."""
    lines = []
    # tests/test_errors.py runs the examples of docs/errors.md, which fail on purpose.
    for page in (each for each in PAGES if each.name != "errors.md"):
        text = page.read_text(encoding="utf-8")
        blocks = "\n".join(re.findall(r"```.*?\n(.*?)```", text, flags=re.DOTALL))
        lines += [
            line.removeprefix("$ ") for line in blocks.splitlines() if re.match(r"(\$ )?convsmith ", line)
        ]
        lines += re.findall(r"`(convsmith (?:train|summary|check|preview|draw) [^`]+)`", text)
    return sorted({command.split("  #")[0].strip() for command in lines})


def test_commands_are_extracted() -> None:
    assert len(commands()) > 8


@pytest.mark.parametrize("command", commands())
def test_commands_work(
    command: str, tmp_path: Path, image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(zoo_folder("digits"), "digits-bundle")
    name, *arguments = shlex.split(command)[1:]
    if "--weights" in arguments:
        write_example_files(tmp_path)
        torch.save(load_module("mynet.py:Net").create().state_dict(), "net.pth")
        Image.new("RGB", (60, 40)).save(tmp_path / "picture.png")
        pictures = image_folder({"train": 2, "test": 2}, classes=tuple("abcdefghij"), size=32, colour=True)
        assert run([name, *(str(pictures) if each == "cifar10" else each for each in arguments)]) == 0
    elif name in {"recipes", "summary", "check", "format", "explain"} and not any(
        part.startswith("runs/") for part in arguments
    ):
        write_example_files(tmp_path)
        wrong = "c32" in command or "num_classes=7" in command
        failing = "model.net=C64 M2 / F10" in arguments or arguments[0].startswith(
            ("C64 C64:s2", "C16 C16 M2")
        )
        # tests/api/test_check.py trains.
        arguments = [each for each in arguments if each != "--train"]
        assert run([name, *arguments]) == (2 if wrong else 1 if failing else 0)
    elif (name in {"preview", "data"} and "digits" in arguments) or (
        name in {"export", "draw"}
        and not arguments[0].startswith("runs/")
        and "cifar10.onnx" not in arguments
    ):
        assert run([name, *arguments]) == 0
    elif name == "predict" and zoo_name(arguments[0]):
        Image.new("RGB", (60, 40)).save(tmp_path / "cat.png")
        assert run([name, arguments[0], "cat.png", *arguments[2:]]) == 0
    elif name in {"train", "folds", "grid"} and not arguments[0].endswith((".toml", "--resume")):
        for fields in combinations(parse_axes([part for part in arguments if "=" in part])):
            assert load(arguments[0], [f"{key}={value}" for key, value in fields.items()]).name
    elif name == "init":
        net = "Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()"
        (tmp_path / "model.py").write_text(
            f"from torch import nn\ndef Net():\n    return nn.Sequential(nn.{net})\n"
        )
        assert run([name, *arguments]) == 0
    elif name == "search":
        write_example_files(tmp_path)
        assert load_brief(arguments[0]).max_parameters
        assert load(arguments[arguments.index("--recipe") + 1]).name
    elif name == "grade":
        load_brief(arguments[arguments.index("--brief") + 1])
        assert "--recipe" not in arguments or load(arguments[arguments.index("--recipe") + 1]).name
    else:
        later = {
            "report",
            "compare",
            "lr-find",
            "watch",
            "export",
            "receptive-field",
            "resume",
            "grid",
            "eject",
            "hand-in",
            "predict",
        }
        assert name in {"evaluate", "preview", "check", "train", *later}


def write_example_files(folder: Path) -> None:
    (folder / "mynet.py").write_text(
        "from torch import nn\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 30 * 30, 10))\n\n"
        "class Wide(nn.Sequential):\n"
        "    def __init__(self, classes, width):\n"
        "        super().__init__(nn.Conv2d(3, width, 32), nn.Flatten(), nn.Linear(width, classes))\n",
        encoding="utf-8",
    )
    write_notebook(folder / "S8.ipynb", "from mynet import Net")
    (folder / "model.py").write_text(python_blocks("modules.md")[0], encoding="utf-8")
    (folder / "mybrief.toml").write_text("max_parameters = 100_000\n", encoding="utf-8")


def python_blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.slow
def test_the_page_of_modules_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands in their order, then its Python example."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code, example = python_blocks("modules.md")
    (tmp_path / "model.py").write_text(code, encoding="utf-8")
    Image.new("RGB", (20, 20)).save(tmp_path / "digit.png")
    text = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    lines = re.findall(r"^convsmith (.*)$", text, flags=re.MULTILINE)
    lines = [line for line in lines if "cifar10" not in line]
    assert len(lines) == 5
    for line in lines:
        assert run([*shlex.split(line), *(["train.epochs=3"] if line.startswith("train ") else [])]) == 0
    assert (tmp_path / "digits.onnx").is_file()
    assert "model.py:Net" in (tmp_path / "runs" / "digits-1" / "report.html").read_text(encoding="utf-8")
    exec(example, {})  # noqa: S102 - the example is ours


def test_python_example_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), flags=re.DOTALL)
    scope: dict[str, object] = {}
    exec(code, scope)  # noqa: S102 - the example is ours
    assert (tmp_path / "runs" / "digits-1" / "README.md").is_file()


def test_python_example_of_the_shipping_page(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "shipping.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(code, {})  # noqa: S102 - the example is ours
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "1"]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_notebooks_use_existing_names(name: str) -> None:
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for node in ast.walk(ast.parse("\n".join(cells))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("convsmith"):
            module = import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), node.module
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cs":
            assert node.attr in convsmith.__all__


# The source distribution has no pictures.
@pytest.mark.skipif(not (ROOT / "docs" / "images").is_dir(), reason="not a checkout")
def test_links_resolve() -> None:
    texts = [
        *PAGES,
        *(ROOT / "docs" / "decisions").glob("*.md"),
        ROOT / "dev" / "LOG.md",
        *ROOT.glob("C*.md"),
    ]
    for page in [*texts, ROOT / "results" / "README.md", ROOT / "docs" / "showcase" / "README.md"]:
        for link in re.findall(r"\]\(([^) ]+)\)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                path, _, anchor = link.partition("#")
                target = page.parent / path if path else page
                assert target.exists(), f"{page.name}: {link}"
                assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_tables_agree_with_the_results() -> None:
    check = [sys.executable, str(ROOT / "docs" / "tables.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "errors.md"], ids=lambda page: page.name
)
def test_quoted_output(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block that begins with `$ convsmith` quotes the output of that command."""
    monkeypatch.chdir(tmp_path)
    write_example_files(tmp_path)
    text = page.read_text(encoding="utf-8")
    for command, output in re.findall(r"```text\n\$ convsmith (.*?)\n(.*?)\n```", text, flags=re.DOTALL):
        run(shlex.split(command))
        captured = capsys.readouterr()
        assert (captured.out + captured.err).rstrip() == output


def test_tests_that_pages_name_exist() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")):
            assert f"def {name}(" in sources, f"{page.name}: {name}"


def test_contributing_lists_the_levels_of_the_structure_test() -> None:
    source = (ROOT / "tests" / "test_structure.py").read_text(encoding="utf-8")
    (levels,) = re.findall(r"^LEVELS = (\[.*?^\])$", source, flags=re.DOTALL | re.MULTILINE)
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("| level | content |")[1]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table.split("\n\n")[0], flags=re.MULTILINE)
    assert [tuple(re.findall(r"`(\w+)`", row)) for row in rows] == ast.literal_eval(levels)


def test_readme_lists_every_package() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("src/convsmith/\n")[1].split("```")[0]
    for path in (ROOT / "src" / "convsmith").iterdir():
        if not path.name.startswith("__") and path.suffix in {"", ".py"}:
            assert f"{path.name}{'/' if path.is_dir() else ''} " in tree, path.name


def test_readme_fits_200_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_decisions_are_numbered_dated_and_listed() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    numbers = [int(record.name[:4]) for record in records]
    assert numbers == list(range(1, len(records) + 1))
    for number, record in zip(numbers, records, strict=True):
        text = record.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. ")
        assert re.search(r"^20\d\d-\d\d-\d\d, ", text, flags=re.MULTILINE)
        assert f"({record.name})" in index


def test_notation_page_has_every_kind_option_and_setting() -> None:
    text = (ROOT / "docs" / "notation.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z])\d*` \| .*\|([^|]*)\|$", text, flags=re.MULTILINE))
    assert set(rows) == set(KINDS)
    for letter, kind in KINDS.items():
        assert rows[letter].strip("` ").replace(" ", "") == kind.options
    assert set(re.findall(r"^\| `:([a-z])[\w.-]+` ", text, flags=re.MULTILINE)) == set(OPTIONS)
    for name in NetSettings.model_fields:
        assert f"| `{name}` |" in text


def test_briefs_page_has_every_brief_field_and_kind() -> None:
    text = (ROOT / "docs" / "briefs.md").read_text(encoding="utf-8")
    for name in (*brief_names(), *Brief.model_fields, *get_args(LayerKind), *BlockPattern.model_fields):
        assert f"`{name}" in text, name


def test_briefs_of_the_page_are_valid() -> None:
    text = (ROOT / "docs" / "briefs.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        assert Brief.model_validate(tomllib.loads(block)) != Brief()


def test_settings_of_the_training_page_are_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 3
    for number, block in enumerate(blocks):
        recipe = tmp_path / f"block-{number}.toml"
        recipe.write_text(f'extends = "digits"\n{block}')
        assert load(str(recipe)).train != load("digits").train


def test_every_recipe_is_in_the_readme_with_its_result() -> None:
    """Those of the assignments are in the results."""
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md")}
    for name in recipe_names():
        assert f"`{name}`" in pages["docs/results.md" if name.startswith("course-") else "README.md"]
        assert load(name).result


def test_installed_packages_are_pinned_and_hashed() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    # A package that some systems lack has a marker.
    pinned = [line.split(" ;")[0] for line in lines]
    entry = r"^(\S+==\S+)(?: ; [^\n]+)? \\((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)$"
    hashed = re.findall(entry, HASHES, flags=re.MULTILINE)
    assert {name.lower().replace("_", "-") for name in pinned} == {
        *(name.lower().replace("_", "-") for name, _ in hashed),
        next(name for name in pinned if name.startswith("torch==")),
    }
    assert len(hashed) == len(re.findall(r"^\S+==", HASHES, flags=re.MULTILINE))


def test_every_dependency_is_in_the_table_with_its_floor() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w-]+)[^|]*\| ([\d.]+)", text, flags=re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # Packages for developers and notebooks have a tested lowest version without a reason.
    extras = {
        name: needed
        for name, needed in project["optional-dependencies"].items()
        if name not in {"dev", "notebook"}
    }
    assert rows == floors({**project, "optional-dependencies": extras})
