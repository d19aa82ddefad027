"""The error page: every code has a section with a real example and its exit code."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import convsmith as cs
from convsmith import errors
from convsmith.cli import run
from convsmith.errors import ConvsmithError, UsageError
from convsmith.evaluation.label_errors import find_label_errors
from convsmith.evaluation.predictions import Predictions
from convsmith.exporters.parity import compare
from convsmith.runs.writer import RunWriter
from convsmith.system.memory import enough_memory
from convsmith.training.launch import exit_code_of
from helpers.paths import ROOT

Capture = pytest.CaptureFixture[str]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SECTIONS = {
    text[3:7]: text
    for text in re.split(r"^(?=## )", PAGE, flags=re.MULTILINE)
    if re.match(r"## E\d{3}: ", text)
}
CLASSES = {
    each.code: each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, ConvsmithError) and each is not ConvsmithError
}
PARTS = (
    r"\*\*What happened\.\*\* ",
    r"\*\*Why(\.\*\* .*\n(.+\n)*\n\*\*How| and how) to fix it\.\*\*",
    r"```text\n\$ convsmith ",
    r"Exit code: \d+",
)


def example(code: str) -> tuple[list[str], str, int]:
    """Return the arguments of a section's example, its error output, and its exit code."""
    if code == "E022":
        Path("mynet.py").write_text("from torch import nn\nclass Net(nn.Conv2d): ...\n", encoding="utf-8")
    if code == "E040":
        Path("photo").mkdir(exist_ok=True)
    if code in {"E070", "E072"}:
        Image.new("RGB", (60, 40)).save("ship.png")
        Path("seven.png").write_text("7", encoding="utf-8")
    block = re.search(r"```text\n\$ convsmith (.*)\n([^`]*(?:`[^`]+`[^`]*)*)```", SECTIONS[code])
    exit_code = re.search(r"^Exit code: (\d+)", SECTIONS[code], flags=re.MULTILINE)
    assert block
    assert exit_code
    return shlex.split(block[1]), block[2], int(exit_code[1])


@pytest.fixture(autouse=True)
def _in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_codes_and_sections_correspond() -> None:
    assert list(SECTIONS) == sorted(CLASSES)
    assert len({each.code for each in ConvsmithError.__subclasses__()}) == len(CLASSES)


@pytest.mark.parametrize("code", SECTIONS)
def test_sections_have_the_same_parts(code: str) -> None:
    matches = [re.search(part, SECTIONS[code]) for part in PARTS]
    positions = [each.start() for each in matches if each]
    assert len(positions) == len(PARTS)
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    "code",
    ["E001", "E010", "E020", "E021", "E022", "E030", "E040", "E050", "E060", "E070", "E072"],
)
def test_examples_equal_the_output(code: str, capsys: Capture) -> None:
    arguments, expected, exit_code = example(code)
    assert run(arguments) == exit_code
    assert capsys.readouterr().err == expected
    assert set(re.findall(r"^error\[(\w+)\]", expected, flags=re.MULTILINE)) == {code}


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_example_of_a_signal(
    number: signal.Signals, exit_code: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_batch_end(writer: RunWriter, batch: object) -> None:
        if (writer.folder.path / "metrics.csv").is_file() and getattr(batch, "index", 0) == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(RunWriter, "on_batch_end", on_batch_end)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        arguments, expected, example_code = example("E061")
        assert run(arguments) == exit_code
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == expected.replace("SIGTERM", number.name)
    assert f"Exit code: {example_code}, and 130 for Ctrl-C" in SECTIONS["E061"]
    assert example_code == 143


def test_the_example_of_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    predictions = Predictions(logits=np.zeros((2, 2), np.float32), labels=np.zeros(2, np.int64))
    _, expected, exit_code = example("E080")
    with pytest.raises(ConvsmithError) as caught:
        find_label_errors(predictions, ("cat", "dog"))
    assert f"{caught.value}\n" == expected
    assert caught.value.exit_code == exit_code


def test_the_example_of_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convsmith.system.memory.free_memory", lambda device: 2**29)
    _, expected, exit_code = example("E062")
    with pytest.raises(ConvsmithError) as caught, enough_memory("training", torch.device("cpu"), 8192):
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 3145728000 bytes."
        )
    assert f"{caught.value}\n" == expected
    assert caught.value.exit_code == exit_code


def test_the_example_of_a_lost_process() -> None:
    failure = SimpleNamespace(exitcode=-signal.SIGKILL, pid=4711, timestamp=0, error_file="", message="")
    _, expected, exit_code = example("E063")
    # The agent ends the main process by SIGTERM then.
    other = SimpleNamespace(exitcode=-signal.SIGTERM, pid=4710, timestamp=0, error_file="", message="")
    with pytest.raises(ConvsmithError) as caught:
        exit_code_of({0: other, 1: failure}, 2)
    assert f"{caught.value}\n" == expected
    assert caught.value.exit_code == exit_code


def failed(exit_code: int, error_file: Path | None = None, timestamp: int = 0) -> SimpleNamespace:
    """A `ProcessFailure` of the elastic agent."""
    file = str(error_file or "")
    return SimpleNamespace(exitcode=exit_code, pid=1, timestamp=timestamp, error_file=file, message="why")


def test_the_error_of_all_processes_is_that_of_the_main_one(tmp_path: Path) -> None:
    """The agent may end the main process while it exits, after the others have."""
    (reported := tmp_path / "error.json").write_text('{"message": "the loss is nan", "exit_code": 1}')
    assert exit_code_of({0: failed(-signal.SIGTERM, reported), 1: failed(1)}, 2) == 1
    assert exit_code_of({0: failed(1), 1: failed(-signal.SIGTERM)}, 2) == 1
    with pytest.raises(ConvsmithError, match="process 1 of 2 failed"):
        exit_code_of({0: failed(-signal.SIGTERM), 1: failed(2)}, 2)
    (lost := tmp_path / "lost.json").write_text('{"message": "another process has ended", "exit_code": 75}')
    # The last saves its state when the agent ends it, before it notices the loss.
    for main in (failed(75, lost), failed(-signal.SIGTERM, lost), failed(-signal.SIGTERM), failed(143)):
        with pytest.raises(ConvsmithError, match=r"process 1 of 2 \(pid 1\) was ended by SIGKILL"):
            exit_code_of({0: main, 1: failed(-signal.SIGKILL, timestamp=5)}, 2)


def test_the_example_of_a_differing_export() -> None:
    class Halved:
        """Returns half of the net's logits."""

        def run(self, _: object, given: dict[str, NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
            logits = (digits.logits(given["images"]) / 2).astype(np.float32)
            return [logits, digits.probabilities(logits).astype(np.float32)]

    digits = cs.load("digits")
    _, expected, exit_code = example("E071")
    images = np.full((2, 8, 8, 1), 128, np.uint8)
    with pytest.raises(ConvsmithError) as caught:
        compare(digits, Halved(), images, ["test image 0", "test image 1"])
    assert f"{caught.value}\n" == expected
    assert caught.value.exit_code == exit_code


def test_the_example_of_a_bug(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("convsmith.api.recipes.list_recipes", broken)
    arguments, expected, exit_code = example("E101")
    assert run(arguments) == exit_code
    err = capsys.readouterr().err
    trace = Path(err.rsplit(" ", 1)[-1].strip())
    assert 'raise ZeroDivisionError("oops")' in trace.read_text(encoding="utf-8")
    trace.unlink()
    assert re.sub(r"\S+$", "", err.strip()) == re.sub(r"\S+$", "", expected.strip())


def install(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Make the command fail and `importlib.metadata` report these versions."""
    original = metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions.get(name) or original(name))
    monkeypatch.setattr("convsmith.api.recipes.list_recipes", lambda: 1 / 0)


def test_the_example_of_an_unsupported_version(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, torch="2.4.0")
    arguments, expected, exit_code = example("E081")
    assert run(arguments) == exit_code
    assert capsys.readouterr().err == expected


def test_all_unsupported_versions_are_reported(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, albumentations="2.1.0", optuna="4.9", torch="3.0.0.dev1+cpu")
    assert run(["recipes"]) == 2
    err = capsys.readouterr().err
    assert "pip install 'albumentations==2.0.8' 'optuna>=5.0'" in err
    assert "torch" not in err


def test_a_package_that_cannot_be_imported(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, typer="0.9.0")
    monkeypatch.delitem(sys.modules, "convsmith.cli.app", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    assert run(["recipes"]) == 2
    assert "found 0.9.0, needed typer>=" in capsys.readouterr().err


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return a function that counts trace files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return lambda: len(list(tmp_path.glob("convsmith-trace-*")))


def test_only_a_bug_leaves_a_trace(
    traces: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for code in ("E001", "E020", "E030", "E050"):
        run(example(code)[0])
    assert traces() == 0
    monkeypatch.setattr("convsmith.api.recipes.list_recipes", lambda: 1 / 0)
    assert run(["recipes"]) == 101
    assert traces() == 1


def test_the_table_of_exit_codes_is_complete(capsys: Capture) -> None:
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)}
    assert (
        rows
        == {0, 129, 130, 143, *(each.exit_code for each in CLASSES.values())}
        == {0, 1, 2, 75, 101, 129, 130, 143}
    )
    assert run(["recipes"]) == 0
    assert run(["check", "digits", "brief.max_parameters=1"]) == 1
    assert capsys.readouterr().err == ""


def test_explain_prints_a_section(capsys: Capture) -> None:
    assert run(["explain", "e021"]) == 0
    assert capsys.readouterr().out == SECTIONS["E021"].strip() + "\n"
    assert cs.explain_error("E101") == SECTIONS["E101"].strip()
    with pytest.raises(UsageError, match="no error has the code 'E02'"):
        cs.explain_error("E02")
