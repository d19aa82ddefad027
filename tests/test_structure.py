"""The shape of the code: imports point one way, and the arithmetic needs no torch."""

import ast
import graphlib
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

import convsmith
from helpers.fast import few_fast
from helpers.imports import loaded

ROOT = Path(convsmith.__file__).parent
# From the ground up; a module imports from levels before its own, or from its own.
LEVELS = [
    ("errors",),
    ("text", "codegen"),
    ("system",),
    ("cluster",),
    ("net",),
    ("tracing",),
    ("modules",),
    ("data",),
    ("training",),
    ("briefs",),
    ("evaluation",),
    ("recipes",),
    ("runs",),
    ("models",),
    ("reports",),
    ("exporters",),
    ("library",),
    ("nas",),
    ("grading",),
    ("api",),
    ("cli",),
]
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}

# The same for the modules and packages of data.
DATA_LEVELS = [
    ("fold",),
    ("config",),
    ("splits",),
    ("images",),
    ("raw",),
    ("labels", "groups", "issues", "normalize", "resize", "sizes"),
    ("files",),
    ("hub",),
    ("tables",),
    ("pictures", "arrays"),
    ("signatures",),
    ("sources",),
    ("cache",),
    ("checks",),
    ("splitting",),
    ("dataset",),
    ("split_files",),
    ("augment",),
    ("pipeline",),
]


def imports_of(source: str) -> set[str]:
    """Return the top-level parts of convsmith that a source imports, inside functions too."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("convsmith."):
            parts.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "convsmith":
            parts |= {alias.name for alias in node.names if alias.name in LEVEL}
        elif isinstance(node, ast.Import):
            parts |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("convsmith.")}
    return parts


def back_edges(part: str, source: str) -> list[str]:
    return [name for name in sorted(imports_of(source)) if LEVEL[name] > LEVEL[part]]


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in LEVEL)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert back_edges(part, path.read_text(encoding="utf-8")) == []


def data_parts(source: str) -> set[str]:
    """Return the parts of `convsmith.data` that a source imports."""
    modules = (node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom))
    return {name.split(".")[2] for name in modules if name and name.startswith("convsmith.data.")}


def test_imports_within_data_point_one_way() -> None:
    level = {name: number for number, names in enumerate(DATA_LEVELS) for name in names}
    paths = [path for path in (ROOT / "data").rglob("*.py") if path.name != "__init__.py"]
    assert {path.relative_to(ROOT / "data").parts[0].removesuffix(".py") for path in paths} == set(level)
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in data_parts(path.read_text(encoding="utf-8"))
        if level[name] > level[path.relative_to(ROOT / "data").parts[0].removesuffix(".py")]
    ]
    assert wrong == []


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source: str, modules: Collection[str]) -> set[str]:
    """The modules that a source text imports, inside functions and for annotations too."""
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= {name if name in modules else node.module for name in names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    return imported & set(modules)


def import_cycle(sources: Mapping[str, str]) -> list[str]:
    """A cycle of imports between modules given by name; empty if there is none."""
    graph = {name: imported_modules(source, sources) - {name} for name, source in sources.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_imports_have_no_cycles() -> None:
    sources = {module_name(path): path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")}
    assert len(sources) > 100
    # The package itself imports lazily, and is imported for its version.
    del sources["convsmith"]
    assert import_cycle(sources) == []


def test_an_import_cycle_is_detected() -> None:
    sources = {
        "package": "",
        "package.a": "from package import b",
        "package.b": "if TYPE_CHECKING:\n    from package.c import C",
        "package.c": "def f():\n    import package.a",
    }
    assert set(import_cycle(sources)) == {"package.a", "package.b", "package.c"}
    assert import_cycle(sources | {"package.c": "import package"}) == []


def test_every_part_has_its_level() -> None:
    parts = {path.stem for path in ROOT.glob("*.py")} | {
        path.name for path in ROOT.iterdir() if path.is_dir()
    }
    # The library is data: it holds no code.
    assert [path.name for path in (ROOT / "library").rglob("*.py")] == ["__init__.py"]
    assert parts - {"__init__", "__main__", "__pycache__"} == set(LEVEL)


def test_a_back_edge_would_be_found() -> None:
    assert back_edges("net", "def f():\n    from convsmith.data.dataset import load") == ["data"]
    assert back_edges("data", "from convsmith import api") == ["api"]
    assert back_edges("net", "import convsmith.errors") == []


@pytest.mark.parametrize(
    "code",
    [
        "import convsmith",
        "import convsmith as cs; cs.summary('C16 C16:s2 / G F10', (3, 32, 32))",
        "import convsmith as cs; cs.check(cs.load_recipe('cifar10-classic'))",
        "from convsmith.cli import run; run(['recipes'])",
        "from convsmith.cli import run; run(['summary', 'mnist-classic'])",
        "from convsmith.cli import run; run(['check', 'cifar10-classic'])",
        "import convsmith.nas.evolution, convsmith.nas.halving",
    ],
)
def test_what_needs_no_torch_does_not_load_it(code: str) -> None:
    assert not loaded(code, "torch")


@pytest.mark.parametrize(
    "module", few_fast(["convsmith.training", "sklearn", "convsmith.runs", "datasets", "scipy"], 2)
)
def test_a_bundle_predicts_without_the_training_code(module: str) -> None:
    code = (
        "import numpy as np, convsmith as cs\n"
        "cs.load('digits').predict(np.zeros((9, 9, 3), np.uint8))\n"
        "from convsmith.cli import run; run(['predict', 'digits', '-'])"
    )
    assert not loaded(code, module)
    assert loaded(code, "convsmith.models.classifier")


def test_the_probe_would_find_torch() -> None:
    assert loaded("import convsmith.net.module", "torch")


def test_no_function_is_longer_than_a_screen() -> None:
    long = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno - len((ast.get_docstring(node) or "").splitlines())
                if length > 50:
                    long.append(f"{path.name}: {node.name} {length}")
    assert long == []
