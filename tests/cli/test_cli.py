"""The command line: output, exit codes, errors in two lines, no traceback."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convsmith.cli import run
from helpers.imports import loaded

TINY = ["train.epochs=2", "model.net=C4 C8:s2 / G F10", "name=tiny"]
Capture = pytest.CaptureFixture[str]


def error_lines(capsys: Capture, *arguments: str) -> list[str]:
    """Return the lines of an error: exit code 2, nothing on standard output."""
    assert run(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()


def test_recipes(capsys: Capture) -> None:
    assert run(["recipes"]) == 0
    out = capsys.readouterr().out
    for name in ("digits", "mnist-classic", "cifar10-classic", "cifar10-rmsprop"):
        assert re.search(rf"^{name} ", out, flags=re.MULTILINE)


def test_version_and_help(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    assert re.fullmatch(r"convsmith \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("recipes", "summary", "check", "preview", "train", "evaluate", "report", "compare"):
        assert command in out


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_without_a_command_the_help_is_printed(arguments: list[str], capsys: Capture) -> None:
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: {' '.join(['convsmith', *arguments])} ")
    assert err == ""


def test_the_help_imports_neither_pydantic_nor_rich() -> None:
    code = "from convsmith.cli import run; run(['--help'])"
    for module in ("pydantic", "rich", "convsmith.net", "numpy"):
        assert not loaded(code, module)
    assert loaded(code, "convsmith.cli.app")


def test_shell_completion() -> None:
    environment = {
        **os.environ,
        "_CONVSMITH_COMPLETE": "complete_bash",
        "COMP_WORDS": "convsmith su",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(command(), check=False, capture_output=True, text=True, env=environment)
    assert (done.stdout.split(), done.stderr) == (["summary"], "")


def test_summary_of_a_notation_and_of_a_recipe(capsys: Capture) -> None:
    assert run(["summary", "C16 C16:s2 / G F10", "--input", "3x32x32", "norm=none", "bias=false"]) == 0
    out = capsys.readouterr().out
    assert "Total params: 2,896" in out
    assert "MACs: 1.0 M for one image; 1 MAC (multiply-accumulate) is 2 FLOPs" in out
    assert "Receptive field: 5 pixels" in out
    assert run(["summary", "mnist-classic", "--weights-only"]) == 0
    out = capsys.readouterr().out
    assert "Linear-6" in out
    assert "Parameters: 593,200 (593,200 trainable, 0 not)" in out
    assert run(["summary", "cifar10-classic", "--input", "3x64x64"]) == 0
    assert "[-1, 16, 64, 64]" in capsys.readouterr().out


NET = ["C16 C16:s2 / G F10", "--input", "3x32x32"]


@pytest.mark.parametrize(
    ("view", "visible", "hidden"),
    [
        ("course", "BatchNorm2d-2", "r in"),
        ("compact", "| receptive field |", "Total params"),
        ("receptive-field", "| r in | n in | j in |", "Total params"),
        ("totals", "Parameters: 2,970", "Conv2d"),
    ],
)
def test_views_of_a_summary(view: str, visible: str, hidden: str, capsys: Capture) -> None:
    assert run(["summary", *NET, "--view", view]) == 0
    out = capsys.readouterr().out
    assert visible in out
    assert hidden not in out


def test_a_summary_in_markdown_and_in_json(capsys: Capture) -> None:
    assert run(["summary", *NET, "--markdown"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("## ")] == [
        "## Totals",
        "## Course",
        "## Receptive field",
    ]
    assert "- Parameters: 2,970 (2,970 trainable, 0 not)" in out
    assert run(["summary", *NET, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["totals"]["parameters"] == sum(row["parameters"] for row in values["rows"]) == 2970
    assert values["totals"]["receptive_field"] == [5, 5]
    assert [row["after"].get("receptive_field") for row in values["rows"]][-1] is None


def test_format(capsys: Capture) -> None:
    assert run(["format", "C16:s1  (C32:k3)*2/G F10"]) == 0
    assert capsys.readouterr().out == "C16 C32*2 / G F10\n"


def test_a_module_from_a_file(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self, width):\n")
    path.write_text(path.read_text() + "        super().__init__(nn.Conv2d(3, width, 3), nn.Flatten())\n")
    assert run(["summary", f"{path}:Net(4)", "--input", "3x8x8"]) == 0
    assert "Total params: 112" in capsys.readouterr().out
    assert run(["check", f"{path}:Net(4)", "--input", "3x8x8", "--brief", "course-cifar10"]) == 1
    assert "NOT APPLICABLE augmentation CoarseDropout" in capsys.readouterr().out
    for arguments, what in (
        ([f"{path}:Net", "--input", "3x8x8"], "missing a required argument: 'width'"),
        ([f"{path}:Net(4)"], "--input: the input's shape is missing"),
        ([f"{path}:Net(4)", "norm=none", "--input", "3x8x8"], "a module has no settings to override"),
        ([f"{path}:Net(4)", "--input", "1x8x8"], "the forward pass fails"),
    ):
        assert what in error_lines(capsys, "summary", *arguments)[0]


def test_check_by_a_named_brief_in_json_and_markdown(capsys: Capture) -> None:
    arguments = ["check", *NET, "--brief", "course-cifar10"]
    assert run([*arguments, "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert values["passed"] is False
    assert [each["number"] for each in values["checks"]] == list(range(1, 11))
    assert run([*arguments, "--markdown"]) == 1
    assert "| 1  | ✅ pass" in capsys.readouterr().out
    assert error_lines(capsys, "check", *NET, "--brief", "course-cifar")[0].endswith(
        "unknown brief 'course-cifar'"
    )


def test_exit_code_of_check(capsys: Capture) -> None:
    assert run(["check", "cifar10-classic"]) == 0
    out = capsys.readouterr().out
    assert "174,352 (required: at most 199,999)" in out
    assert "NOT APPLICABLE test accuracy" in out
    assert run(["check", "cifar10-classic", "model.net=C64 M2 / F10"]) == 1
    out = capsys.readouterr().out
    assert "FAIL           receptive field" in out
    assert "fix: give" not in out.split("FAIL")[0]
    assert run(["check", "mnist-classic"]) == 0
    assert "no brief" in capsys.readouterr().out


def test_train_evaluate_check(tmp_path: Path, capsys: Capture) -> None:
    assert run(["train", "digits", *TINY, "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "tiny-1"
    assert "Epoch 2\n" in out
    assert re.search(
        r"^Train: Loss=\d\.\d{4} Batch_id=18 Accuracy=\d+\.\d\d: 100% 19/19 \[", out, flags=re.MULTILINE
    )
    assert "Accuracy of 9 : " in out
    *_, accuracy, report = out.splitlines()
    assert re.fullmatch(r"Test accuracy: \d+\.\d\d%", accuracy)
    assert report == f"Report: {folder / 'report.html'}"
    # A pipe receives plain text: no colours, cursor movements or carriage returns.
    assert all(char.isprintable() or char == "\n" for char in out)
    assert run(["evaluate", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [accuracy, report]
    assert run(["check", str(folder)]) == 1
    assert "FAIL           test accuracy" in capsys.readouterr().out


def test_resume(tmp_path: Path, capsys: Capture) -> None:
    assert run(["train", "digits", *TINY, "train.stop_after=1", "--runs", str(tmp_path)]) == 0
    folder = tmp_path / "tiny-1"
    capsys.readouterr()
    assert error_lines(capsys, "resume", str(folder)) == [
        f"error[E050]: {folder}: already complete: 1 epoch of 1",
        "  fix: train on with --epochs 2",
    ]
    assert run(["resume", str(folder), "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("\nChanged: train.stop_after: was 1, is nothing\nResumed after epoch 1\nEpoch 2\n")
    assert out.splitlines()[-1] == f"Report: {folder / 'report.html'}"
    assert "no such run folder" in error_lines(capsys, "resume", str(tmp_path / "nowhere"))[0]
    what, fix = error_lines(capsys, "resume", str(tmp_path))
    assert "is not a trained run" in what
    assert fix == f"  fix: 1 run in it: name one, the newest is {folder}"
    assert list(tmp_path.iterdir()) == [folder]


def test_preview(tmp_path: Path, capsys: Capture) -> None:
    assert run(["preview", "digits", "--out", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "new" / f"{n}.svg") for n in ("examples", "augmented")
    ]
    assert (
        run(["preview", "digits", "--out", str(tmp_path), "augment.mix=cutmix", "augment.transforms=[]"]) == 0
    )
    assert (tmp_path / "augmented.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["trian"], "unknown command 'trian'", "did you mean 'train'?"),
        (["train"], "missing argument 'RECIPE'", "convsmith train --help"),
        (["train", "--foo"], "no such option: --foo", "convsmith train --help"),
        (["train", "digit"], "unknown recipe 'digit'", "did you mean 'digits'?"),
        (["train", "digits", "train.epoch=3"], "train.epoch: unknown field", "did you mean 'epochs'?"),
        (["train", "digits", "train.lr=1"], "train.lr: unknown field", "did you mean 'train.optimizer.lr'?"),
        (["train", "digits", "lr=1"], "lr: unknown field", "did you mean 'train.optimizer.lr'?"),
        (["train", "digits", "learning_rate=1"], "unknown field", "did you mean 'train.optimizer.lr'?"),
        (["train", "digits", "epochs=5"], "epochs: unknown field", "did you mean 'train.epochs'?"),
        (["train", "digits", "device=gpu"], "device: unknown field", "did you mean 'train.device'?"),
        (["train", "digits", "train.device=gpu"], "unknown value 'gpu'", "did you mean 'cuda'?"),
        (["train", "digits", "--epochs", "5"], "no such option: --epochs", "write train.epochs=VALUE"),
        (
            ["train", "digits", "--batch-size=5"],
            "no such option: --batch-size",
            "write train.batch_size=VALUE",
        ),
        (["lr-find", "digits", "--lr=1"], "no such option: --lr", "write train.optimizer.lr=VALUE"),
        (["train", "digits", "data.resize=[48,64]"], "data.resize: found [48, 64]", 'data.resize="96x128"'),
        (["summary", "nothing.py"], "nothing.py: no such file", "model.py:Net"),
        (["summary", "../nothing.py"], "nothing.py: no such file", "model.py:Net"),
        (["train", "digits", "epochs"], "epochs: expected key=value", "for example"),
        (["train", "digits", "data.source=cifr10"], "unknown data set 'cifr10'", "did you mean 'cifar10'?"),
        (["train", "digits", "train.device=cudaa"], "unknown value 'cudaa'", "did you mean 'cuda'?"),
        (["evaluate", "nowhere"], "nowhere: no such run folder", "convsmith train"),
        (["summary", "C16 / G F10"], "--input: the input's shape is missing", "--input 3x32x32"),
        (["summary", "C16 / G F10", "--input", "3x32"], "found '3x32'", "--input 3x32x32"),
        (["summary", "C16 / G F10", "--input", "0x1x1"], "found '0x1x1'", "--input 3x32x32"),
        (["check", "nowhere.toml"], "nowhere.toml: cannot read: No such file", ""),
    ],
)
def test_an_error_is_two_lines(
    arguments: list[str],
    what: str,
    fix: str,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *rest = error_lines(capsys, *arguments)
    assert re.match(r"error\[E\d{3}\]: ", first)
    assert what in first
    assert len(rest) <= 1
    assert fix in "".join(rest)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_notation_shows_the_place(capsys: Capture) -> None:
    assert error_lines(capsys, "summary", "C16 x3", "--input", "3x32x32")[:3] == [
        "error[E020]: net, character 5: unknown layer kind 'x'",
        "  C16 x3",
        "      ^",
    ]


def test_several_errors_are_reported_together(capsys: Capture) -> None:
    lines = error_lines(capsys, "train", "digits", "train.epoch=3", "seed=x", "model.net=Q")
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == ["error[E030]"] * 3


def test_names_cannot_steer_the_terminal(capsys: Capture) -> None:
    lines = error_lines(capsys, "train", "digits", "data.source=./\x1b[31mred")
    assert "\x1b" not in "".join(lines)


def test_an_internal_error_saves_its_traceback(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("convsmith.api.recipes.list_recipes", broken)
    assert run(["recipes"]) == 101
    err = capsys.readouterr().err
    assert "error[E101]: internal error: ZeroDivisionError('oops')" in err
    trace = Path(err.split("trace in ")[1].strip())
    assert "Traceback" in trace.read_text()
    trace.unlink()


def test_an_interrupt_exits_with_130(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convsmith.api.recipes.list_recipes", interrupted)
    assert run(["recipes"]) == 130
    assert "interrupted" in capsys.readouterr().err


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "convsmith", *arguments]


def test_a_closed_pipe_is_no_error() -> None:
    line = f"{sys.executable} -m convsmith summary cifar10-classic | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_plain_locale_is_enough() -> None:
    done = subprocess.run(
        command("recipes"),
        check=False,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C", "COLUMNS": "20"},
    )
    assert done.returncode == 0


def in_a_terminal(*arguments: str, interrupt_at: bytes | None = None) -> tuple[int, str]:
    """Run a command in a pseudo-terminal; return its exit code and output."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(
        command(*arguments),
        stdout=follower,
        stderr=subprocess.STDOUT,
        env=environment,
        # A background shell passes on an ignored SIGINT; an interactive one does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        os.close(follower)
        output = b""
        # On Linux, reading a terminal whose writers have closed it raises an error.
        with contextlib.suppress(OSError):
            while chunk := os.read(leader, 65536):
                output += chunk
                if interrupt_at and interrupt_at in output:
                    interrupt_at = None
                    process.send_signal(signal.SIGINT)
    os.close(leader)
    return process.returncode, output.decode()


@pytest.mark.slow
def test_in_a_terminal_a_bar_shows_the_epoch(tmp_path: Path) -> None:
    code, output = in_a_terminal("train", "digits", *TINY, "--runs", str(tmp_path))
    assert code == 0
    assert re.search(r"Train: Loss=\d\.\d{4} Batch_id=\d+ Accuracy=\d+\.\d\d", output)
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d, \d+\.\d\dit/s\]", output)
    assert "Test set: Average loss:" in output
    assert "\x1b[?25h" in output


@pytest.mark.slow
def test_an_interrupted_training_restores_the_terminal(tmp_path: Path) -> None:
    code, output = in_a_terminal(
        "train", "digits", *TINY, "train.epochs=500", "--runs", str(tmp_path), interrupt_at=b"Epoch 2"
    )
    assert code == 130
    assert "interrupted" in output
    assert "Traceback" not in output
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")
    assert (tmp_path / "tiny-1" / "model.safetensors").is_file()
    assert len((tmp_path / "tiny-1" / "metrics.csv").read_text().splitlines()) >= 2


def test_a_diverging_training_exits_with_1(tmp_path: Path, capsys: Capture) -> None:
    overrides = [
        "train.optimizer=sgd",
        "train.optimizer.lr=1e6",
        "train.schedule=constant",
        "model.norm=none",
        "model.activation=none",
        "model.net=C8 C8 C8 C8 / G F10",
    ]
    assert run(["train", "digits", *TINY, *overrides, "--runs", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "error[E060]: epoch " in err
    assert "the loss is " in err
    assert "error[E060]" in (tmp_path / "tiny-1" / "log.txt").read_text()
