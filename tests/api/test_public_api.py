"""The public API: exports, annotations, docstrings and their page."""

import ast
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import convsmith as cs
from convsmith.training.callbacks import Callback
from helpers.paths import ROOT

PAGE = ROOT / "docs" / "api.md"
FUNCTIONS = [name for name in cs.__all__ if not isinstance(getattr(cs, name), type)]
EXAMPLES = {
    "check", "decode_data", "describe_data", "explain_error", "folds", "format_net", "grade", "grid",
    "hand_in", "list_recipes", "load", "load_recipe", "predict", "predict_many", "resolve", "show_progress",
    "summary", "train", "verify_data",
}  # fmt: skip


def test_dir_lists_the_public_names() -> None:
    assert sorted(cs.__all__) == [name for name in dir(cs) if name != "__version__"]
    assert len(set(cs.__all__)) == len(cs.__all__)


def test_type_checkers_import_every_public_name() -> None:
    tree = ast.parse(Path(cs.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {alias.asname: node.module for node in imports for alias in node.names if alias.asname}
    assert names == {name: getattr(cs, name).__module__ for name in cs.__all__}


@pytest.mark.parametrize("owner", [cs, Callback])
def test_types_in_public_signatures_are_public(owner: object) -> None:
    functions = [value for name in dir(owner) if inspect.isfunction(value := getattr(owner, name))]
    hints = [typing.get_type_hints(function, localns={"nn": nn, **_deferred()}) for function in functions]
    types = {each for hint in hints for annotation in hint.values() for each in _classes(annotation)}
    assert {each.__name__ for each in types if each.__module__.startswith("convsmith.")} <= set(cs.__all__)


def _classes(annotation: object) -> Iterator[type]:
    arguments = typing.get_args(annotation)
    if isinstance(annotation, type) and not arguments:
        yield annotation
    for argument in arguments:
        yield from _classes(argument)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = cs.trian  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_annotated_and_documented(name: str) -> None:
    function = getattr(cs, name)
    hints = typing.get_type_hints(function, localns={"nn": nn, **_deferred()})
    assert set(hints) == {*inspect.signature(function).parameters, "return"}
    assert typing.Any not in hints.values()
    doc = inspect.getdoc(function)
    assert doc
    assert (">>>" in doc) == (name in EXAMPLES)


def _deferred() -> dict[str, object]:
    """The types that modules of the API import for type checkers only."""
    return {"Parity": cs.Parity, "SearchResult": cs.SearchResult}


def test_the_page_lists_every_public_name() -> None:
    listed = re.findall(r"^\| `cs\.(\w+)` \| \S", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(cs.__all__)


def test_the_page_lists_every_hook() -> None:
    listed = re.findall(r"^\| `(\w+\([\w, ]*\))` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    hooks = {name: hook for name, hook in vars(Callback).items() if inspect.isfunction(hook)}
    signatures = [
        f"{name}({', '.join(list(inspect.signature(hook).parameters)[1:])})" for name, hook in hooks.items()
    ]
    assert sorted(listed) == sorted(signatures)


@pytest.mark.usefixtures("without_report")
def test_the_callback_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (code,) = (each for each in blocks if "Callback" in each)
    exec(code, {})  # noqa: S102 - the example is ours
    assert re.fullmatch(r"\[0\.\d+, 0\.\d+\]\n", capsys.readouterr().out)


@pytest.mark.usefixtures("without_report")
def test_paths_can_be_text(tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", "train.epochs=1", "model.net=C4 / G F10")
    run = str(cs.train(recipe, runs=str(tmp_path / "runs")).folder)
    assert cs.resume(run, epochs=2).folder == Path(run)
    assert cs.evaluate(run).folder == cs.report(run).folder == Path(run)
    assert cs.results(run)["test"]["total"] == 599
    other = str(cs.train(recipe, runs=str(tmp_path / "runs")).folder)
    for paths in (
        cs.eject(run, str(tmp_path / "project"), execute=False),
        cs.preview(recipe, str(tmp_path / "drawn")),
        cs.draw(cs.resolve("digits").analysis, str(tmp_path / "net")),
    ):
        assert all(path.is_file() for path in paths)
    assert cs.export_bundle(run, str(tmp_path / "bundle")) == tmp_path / "bundle"
    with pytest.raises(cs.ConvsmithError, match="no saved predictions"):
        cs.compare([run, other], str(tmp_path / "comparison"))


def test_every_path_of_the_api_can_be_text() -> None:
    for name in FUNCTIONS:
        hints = typing.get_type_hints(getattr(cs, name), localns={"nn": nn, **_deferred()})
        hints.pop("return")
        for hint in hints.values():
            for part in (hint, *typing.get_args(hint)):
                # A list, since the arguments of a callable are not hashable.
                accepted = [part, *typing.get_args(part), *typing.get_args(hint)]
                assert part is not Path or str in accepted, name
