"""Memory, disk and output that end: what was needed, what there is, what to do; nothing is harmed."""

import errno
import io
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import pytest
import torch
from PIL import Image

import convsmith as cs
from convsmith.cli import run
from convsmith.errors import OutOfMemoryError
from convsmith.runs.log import LogWriter
from convsmith.system.folders import cache_folder
from convsmith.system.memory import enough_memory
from convsmith.training.gradients import GradientWorkers
from helpers.oracle import CommandResult, Oracle, in_process, in_subprocess, temporaries

TINY = ("train.epochs=2", "model.net=C4 / G F10", "name=tiny")
CPU = torch.device("cpu")
ALLOCATOR = "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to "


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has ..."),
            "1,536 MiB",
        ),
        (RuntimeError(f"{ALLOCATOR}allocate 3145728000 bytes. Error code 12"), "3,000 MiB"),
        (RuntimeError("could not create a memory object"), "out of memory"),
        (MemoryError(), "out of memory"),
    ],
)
def test_the_error_names_the_memory_needed_and_a_batch_size(error: Exception, message: str) -> None:
    with pytest.raises(OutOfMemoryError) as caught, enough_memory("training", CPU, 100):
        raise error
    text = str(caught.value)
    assert text.startswith("error[E062]: training: out of memory")
    assert message in text
    assert "MiB of cpu memory are free" in text
    assert "try train.batch_size=32; it was 100" in text
    with pytest.raises(OutOfMemoryError, match=r"out of memory") as caught, enough_memory("evaluation", CPU):
        raise error
    assert "batch_size" not in str(caught.value)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), enough_memory("training", CPU, 100):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.usefixtures("without_report")
def test_out_of_memory_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, steps = GradientWorkers.compute, [0]

    def full(self: GradientWorkers, *arguments: Any, **options: Any) -> Any:
        steps[0] += 1
        if steps[0] > 25:
            raise RuntimeError(f"{ALLOCATOR}allocate 3145728000 bytes.")
        return compute(self, *arguments, **options)

    monkeypatch.setattr(GradientWorkers, "compute", full)
    result = in_process("train", "digits", *TINY, "--runs", str(tmp_path))
    folder = tmp_path / "tiny-1"
    Oracle(folder).check(result, exit_code=2, code="E062", names=("3,000 MiB", "train.batch_size=32"))
    assert "error[E062]" in (folder / "log.txt").read_text()
    monkeypatch.setattr(GradientWorkers, "compute", compute)
    cs.resume(folder)
    assert len((folder / "metrics.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_an_address_space_limit_is_reported(tmp_path: Path) -> None:
    script = """
import resource, sys
# Libraries are loaded before the limit: it is for the training.
import cv2
import convsmith.api.lr_find
from convsmith.cli import run
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 500 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(run(sys.argv[1:]))
"""
    result = in_subprocess(
        script,
        "lr-find",
        "digits",
        "model.net=C2048 / G F10",
        "train.batch_size=1024",
        "--out",
        str(tmp_path / "none"),
    )
    Oracle().check(result, exit_code=2, code="E062", names=("MiB more were needed", "train.batch_size=512"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of files for the block, which resembles a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("size", [0, 500, 2500])
def test_a_write_that_fails_after_some_bytes(size: int, tmp_path: Path) -> None:
    assert in_process("train", "digits", *TINY, "--runs", str(tmp_path)).code == 0
    folder = tmp_path / "tiny-1"
    before = (folder / "state.safetensors").read_bytes()
    with largest_file(size):
        result = in_process("resume", str(folder), "--epochs", "3")
    Oracle(folder).check(
        result, exit_code=2, code="E010", names=("cannot write: File too large", str(folder))
    )
    assert (folder / "state.safetensors").read_bytes() == before
    cs.resume(folder, epochs=3)
    assert temporaries(tmp_path) == []


def test_no_room_for_the_decoded_images(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = image_folder({"train": 6, "test": 3}, size=64)
    oracle = Oracle(root)
    with largest_file(20_000):
        oracle.expect_error(
            "preview", "digits", f"data.source={root}", "model.net=G F3", "--out", str(tmp_path),
            code="E010", names=("cannot write", str(cache_folder())),
        )  # fmt: skip
    assert cs.verify_data(str(root)).clean


def closed_pipe() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def full_disk() -> TextIO:
    return os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")


def unheard(output: TextIO, *arguments: str) -> CommandResult:
    err = io.StringIO()
    with redirect_stderr(err), redirect_stdout(output):
        code = run(list(arguments))
    # What Python does at its end must be quiet too.
    output.close()
    return CommandResult(code=code, out="", err=err.getvalue())


COMMANDS = (("recipes",), ("--help",), ("summary", "cifar10-classic"), ("data", "verify", "digits", "--json"))


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_output_to_a_closed_pipe(arguments: tuple[str, ...]) -> None:
    Oracle().check(unheard(closed_pipe(), *arguments), exit_code=0)
    full = unheard(full_disk(), *arguments)
    Oracle().check(full, exit_code=2, code="E010", names=("standard output", os.strerror(errno.ENOSPC)))


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("full", [False, True])
def test_training_continues_without_a_reader(full: bool, tmp_path: Path) -> None:
    output = full_disk() if full else closed_pipe()
    result = unheard(output, "train", "digits", *TINY, "--runs", str(tmp_path))
    Oracle(tmp_path).check(result, exit_code=0)
    assert (tmp_path / "tiny-1" / "manifest.json").is_file()
    assert "Epoch 2" in (tmp_path / "tiny-1" / "log.txt").read_text()


@pytest.mark.usefixtures("without_report", "usual_signals")
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGHUP, 129),
        (signal.SIGTERM, 143),
        (signal.SIGUSR1, 138),
        (signal.SIGUSR2, 140),
        (signal.SIGXCPU, 152),
    ],
)
def test_a_lost_terminal_and_sigterm_save_the_state(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = LogWriter.on_batch_end

    def end(self: LogWriter, batch: Any) -> None:
        done(self, batch)
        os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(LogWriter, "on_batch_end", end)
        result = in_process("train", "digits", *TINY, "--runs", str(tmp_path))
    run_folder = tmp_path / "tiny-1"
    names = (signal.Signals(number).name, f"convsmith resume {run_folder}")
    Oracle(tmp_path).check(result, exit_code=code, code="E061", names=names)
    cs.resume(run_folder)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGHUP, 129),
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
        (signal.SIGUSR1, 138),
        (signal.SIGXCPU, 152),
    ],
)
def test_a_signal_while_decoding_leaves_no_files(
    number: int, code: int, image_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"train": 4, "test": 2})
    monkeypatch.setattr("convsmith.data.cache.spool.shrink", lambda *_: os.kill(os.getpid(), number))
    result = in_process(
        "train",
        "digits",
        f"data.source={root}",
        "data.resize=16",
        "model.net=C4 / G F3",
        "--runs",
        str(tmp_path / "r"),
    )
    oracle = Oracle(root)
    assert result.code == code
    assert result.err.startswith("interrupted")
    assert len(result.err.splitlines()) == 1
    oracle.check_files()
    assert not (tmp_path / "r").exists()


@pytest.mark.usefixtures("usual_signals")
def test_a_signal_while_reporting_sets_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "convsmith.runs.training.evaluate_run", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    result = in_process("train", "digits", *TINY, "--runs", str(tmp_path))
    assert (result.code, result.err.count("\n")) == (143, 1)
    assert "convsmith resume" in result.err
    assert not (tmp_path / "tiny-1" / ".lock").exists()
    assert (tmp_path / "tiny-1" / "state.safetensors").is_file()


# A process without HOME whose user has no name, as containers start it: nothing knows a home folder.
HOMELESS = """
import os, pwd, sys
os.environ.pop("CONVSMITH_CACHE", None); os.environ.pop("XDG_CACHE_HOME", None); os.environ.pop("HOME", None)
def nameless(*_):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = pwd.getpwnam = nameless
os.environ["TMPDIR"] = os.environ["MPLCONFIGDIR"] = sys.argv.pop(1)
os.chdir(os.environ["TMPDIR"])
from convsmith.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "command",
    [
        ("preview", "digits", "--out", "drawn"),
        pytest.param(("train", "digits", *TINY, "--runs", "runs"), marks=pytest.mark.slow),
        ("data", "verify", "digits"),
        ("check", "digits"),
        pytest.param(("lr-find", "digits", *TINY, "--steps", "20"), marks=pytest.mark.slow),
        ("predict", "digits", "image.png"),
    ],
    ids=lambda command: command[0],
)
def test_commands_need_no_home(command: tuple[str, ...], tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    result = in_subprocess(HOMELESS, str(tmp_path), *command)
    assert result.code == 0, result.err
    assert "error" not in result.err


def test_a_source_below_an_unknown_home_is_a_missing_folder(tmp_path: Path) -> None:
    result = in_subprocess(HOMELESS, str(tmp_path), "preview", "digits", "data.source=~/pictures")
    Oracle().check(result, exit_code=2, code="E040", names=("~/pictures",))
