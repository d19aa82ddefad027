"""Trainings that several processes share: the same weights for any number of them."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convsmith.cli import run as run_here
from convsmith.system import reading
from helpers.clusters import free_port

TINY = (
    "digits", "name=tiny", "train.epochs=2", "train.batch_size=64", "train.microbatch_size=16",
    "model.net=C8 C12:s2 / G F10", "model.dropout=0.1", "train.ema=0.9",
)  # fmt: skip


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "convsmith", *arguments]


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run the command line in a folder, and return what it printed."""
    environment = {**os.environ, "CONVSMITH_PROGRESS": "0"}
    done = subprocess.run(
        command(*arguments), cwd=folder, check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def weights(run_folder: Path) -> str:
    return reading.sha256(run_folder / "model.safetensors")


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    alone = run(tmp_path, "train", *TINY)
    shared = run(tmp_path, "train", *TINY, "--processes", "2")
    assert weights(tmp_path / "runs/tiny-1") == weights(tmp_path / "runs/tiny-2")
    assert "Processes: 2, gloo" in shared
    # One process prints, and nothing else differs but times.
    lines = [[line for line in text.splitlines() if "00:" not in line] for text in (alone, shared)]
    shown = [line for line in lines[1] if not line.startswith("Processes:")]
    assert [re.sub(r"tiny-\d", "tiny", line) for line in shown] == [
        re.sub(r"tiny-\d", "tiny", line) for line in lines[0]
    ]


@pytest.mark.slow
def test_launchers_on_several_machines_give_the_weights_of_one_process(tmp_path: Path) -> None:
    """Both launchers are on this machine, with two processes each."""
    run(tmp_path, "train", *TINY)
    nodes = ("--nnodes", "2", "--nproc-per-node", "2")
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}")
    launcher = [sys.executable, "-m", "torch.distributed.run", *nodes, *meeting, "-m", "convsmith", "train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CONVSMITH_PROGRESS": "0"}
    launchers = [
        subprocess.Popen(
            [*launcher, *TINY],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(2)
    ]
    outputs = [each.communicate(timeout=300)[0] for each in launchers]
    assert [each.returncode for each in launchers] == [0, 0], outputs
    assert weights(tmp_path / "runs/tiny-1") == weights(tmp_path / "runs/tiny-2")


def test_parts_that_cannot_be_shared_are_refused_before_the_processes_start(tmp_path: Path) -> None:
    text = run(tmp_path, "train", *TINY, "--processes", "3", code=2)
    assert "a batch into 4 parts, which 3 processes cannot share evenly" in text
    assert "start 2 or 4 processes" in text
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_no_run_is_the_error_of_a_single_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = []
    for processes in ([], ["--processes", "2"]):
        assert run_here(["resume", str(tmp_path / "none"), *processes]) == 2
        errors.append(capsys.readouterr().err)
    assert errors[0] == errors[1]
    assert "no such run folder" in errors[0]


@pytest.mark.slow
def test_an_error_of_all_processes_is_printed_once(tmp_path: Path) -> None:
    text = run(
        tmp_path, "train", *TINY, "model.norm=none", "train.optimizer.lr=1e6", "--processes", "2", code=1
    )
    assert text.count("error[E060]") == 1
    assert "Traceback" not in text


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize(
    "overrides",
    [
        ("train.ema=0", "train.whitening=true", "model.net=C16:k3:n0 C12:s2 / G F10"),
        ("augment.mix=mixup", "train.lookahead={}"),
        ("train.teacher=TEACHER", "train.schedule=plateau", "data.validation=0.2", "train.keep=best"),
        (
            "train.class_weights=balanced",
            "train.clip_gradient_norm=0.5",
            "train.progressive={start_size=6, until=0.5}",
        ),
    ],
    ids=["whitening", "mixup", "teacher", "weights"],
)
def test_one_result_for_any_number_of_processes(
    processes: int, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    if "train.teacher=TEACHER" in overrides:
        run(tmp_path, "train", *TINY, "name=teacher")
        overrides = tuple(each.replace("TEACHER", str(tmp_path / "runs/teacher-1")) for each in overrides)
    run(tmp_path, "train", *TINY, *overrides)
    run(tmp_path, "train", *TINY, *overrides, "--processes", str(processes))
    assert weights(tmp_path / "runs/tiny-1") == weights(tmp_path / "runs/tiny-2")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.usefixtures("real_data")
def test_an_epoch_of_the_sprint_has_one_result(tmp_path: Path) -> None:
    """All that a batch of parts has to keep together, on real images: printed by `pytest -s`."""
    overrides = (
        "train.epochs=1", "train.batch_size=512", "train.microbatch_size=128", "train.ema=0.99",
        "augment.mix=mixup", "model.dropout=0.1", "name=sprint",
    )  # fmt: skip
    for processes in ((), ("--processes", "2"), ("--processes", "4")):
        run(tmp_path, "train", "cifar10-sprint", *overrides, *processes)
    hashes = [weights(tmp_path / f"runs/sprint-{number}") for number in (1, 2, 3)]
    sys.stdout.write("\n".join(hashes))
    assert len(set(hashes)) == 1


def pids_of(parent: int) -> list[int]:
    """Return the processes that a process started, in their order."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in children.read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="children of a process are read from /proc")
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_process_ends_the_training_which_resumes_on_another_number(
    seed: int, tmp_path: Path
) -> None:
    longer = (*TINY, "train.epochs=12")
    run(tmp_path, "train", *longer, "name=whole")
    started = subprocess.Popen(
        command("train", *longer, "--processes", "2"),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    log, generator = tmp_path / "runs/tiny-1/log.txt", random.Random(seed)  # noqa: S311 - a moment, no secret
    while not (log.is_file() and "Epoch 2" in log.read_text()):
        assert started.poll() is None, started.communicate()
        time.sleep(0.05)
    time.sleep(generator.random() / 2)
    rank = generator.randrange(2)
    os.kill(pids_of(started.pid)[rank], signal.SIGKILL)
    output, _ = started.communicate(timeout=120)
    assert started.returncode != 0
    assert "was ended by SIGKILL" in output, output
    run(tmp_path, "resume", "runs/tiny-1", *(("--processes", "4") if generator.random() < 0.5 else ()))
    assert weights(tmp_path / "runs/whole-1") == weights(tmp_path / "runs/tiny-1")
