"""Limits of the user's code: time, input, the end of the process, output."""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
import torch

from convsmith.errors import ModuleError
from convsmith.modules.limits import TIME_LIMIT, limited, no_input
from convsmith.modules.load import load_module

CODE = """
def forever():
    while True:
        pass

def stubborn():
    while True:
        try:
            forever()
        except Exception:
            pass

def more_stubborn():
    while True:
        try:
            pass
        except:
            pass
"""


def namespace() -> dict[str, Callable[[], None]]:
    names: dict[str, Callable[[], None]] = {}
    exec(compile(CODE, "model.py", "exec"), names)  # noqa: S102 - a user's file
    return names


def locate(frame: FrameType, line: int) -> str:
    return f"model.py, line {line}" if frame.f_code.co_filename == "model.py" else ""


def run_limited(name: str) -> ModuleError:
    with pytest.raises(ModuleError) as caught, limited("the file", "model.py", locate, seconds=0.1):
        namespace()[name]()
    return caught.value


@pytest.mark.parametrize("name", ["forever", "stubborn", "more_stubborn"])
@pytest.mark.parametrize("main_thread", [True, False])
def test_code_that_does_not_end(name: str, main_thread: bool) -> None:
    """By a timer, and by an exception from another thread."""
    errors: list[ModuleError] = []
    if main_thread:
        errors.append(run_limited(name))
    else:
        thread = threading.Thread(target=lambda: errors.append(run_limited(name)))
        thread.start()
        thread.join()
    (problem,) = errors[0].problems
    assert problem.what == "the file does not end: stopped after 0.1 seconds"
    lines = {"forever": (3, 4), "stubborn": (3, 4), "more_stubborn": (13, 14, 15, 16, 17)}
    assert problem.where in {f"model.py, line {line}" for line in lines[name]}
    assert "__main__" in problem.fix


def test_the_limit_is_a_minute() -> None:
    assert TIME_LIMIT == 60


def test_nothing_remains() -> None:
    stdin, argv, stdout = sys.stdin, sys.argv, sys.stdout
    if hasattr(signal, "setitimer"):
        handler = signal.getsignal(signal.SIGALRM)
    run_limited("forever")
    with limited("the file", "model.py", locate):
        assert sys.argv == argv[:1]
    assert (sys.stdin, sys.argv, sys.stdout) == (stdin, argv, stdout)
    if hasattr(signal, "setitimer"):
        assert signal.getsignal(signal.SIGALRM) is handler
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_a_forward_pass_prints_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
from torch import nn
class Net(nn.Linear):
    def forward(self, x):
        print('x', end='y')
        return super().forward(x)
"""
    (tmp_path / "model.py").write_text(code)
    net = load_module("model.py:Net(2, 3)", root=tmp_path).create()
    net(torch.zeros(1, 2))
    assert tuple(capsys.readouterr()) == ("", "xy")


def test_output_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with limited("the file", "model.py", locate):
        print("hello")  # noqa: T201 - as a user's file does
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def read_line() -> str:
    return sys.stdin.readline()


def read_all() -> str:
    return sys.stdin.read()


@pytest.mark.parametrize(
    ("action", "what"),
    [
        (lambda: sys.exit(3), "the file ends the program: exit(3)"),
        (sys.exit, "the file ends the program: exit()"),
        (lambda: no_input("name? "), "the file asks for input"),
        (read_line, "the file asks for input"),
        (read_all, "the file asks for input"),
    ],
)
def test_code_that_exits_or_asks(action: Callable[[], object], what: str) -> None:
    with pytest.raises(ModuleError) as caught, limited("the file", "model.py", locate):
        action()
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == (what, "model.py")
    assert "__main__" in problem.fix


def test_other_errors_pass() -> None:
    with pytest.raises(KeyboardInterrupt), limited("the file", "model.py", locate):
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), limited("the file", "model.py", locate):
        _ = 1 / 0
