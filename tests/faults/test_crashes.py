"""A run that is interrupted at any write, by a signal or by a kill resumes to the same weights."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import convsmith as cs
from convsmith.errors import FileError, RunError
from convsmith.recipes.loader import load
from convsmith.system import reading
from helpers.oracle import CommandResult, Oracle, temporaries
from helpers.paths import HELPERS

OVERRIDES = ["train.epochs=2", "model.net=C4 / G F10", "name=tiny", "train.ema=0.9"]


class Crash(BaseException):
    """Simulates the end of the process: no handler catches a BaseException."""


def end_of(run: Path) -> tuple[str, list[list[str]]]:
    rows = [line.split(",")[:-2] for line in (run / "metrics.csv").read_text().splitlines()]
    return reading.sha256(run / "model.safetensors"), rows


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_a_crash_at_any_flush_or_rename_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load("digits", OVERRIDES)
    cs.train(recipe, runs=tmp_path / "uninterrupted")
    expected = end_of(tmp_path / "uninterrupted" / "tiny-1")
    calls = {"left": 0}

    def crashing(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls["left"] -= 1
            if not calls["left"]:
                raise Crash
            return real(*arguments)

        return call

    points, resumed = 0, 0
    while True:
        points += 1
        runs = tmp_path / str(points)
        calls["left"] = points
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", crashing(os.fsync))
            patch.setattr(Path, "replace", crashing(Path.replace))
            try:
                cs.train(recipe, runs=runs)
            except Crash:
                pass
            else:
                break
        run = runs / "tiny-1"
        if (run / "state.safetensors").is_file():
            if not (run / "manifest.json").is_file():
                cs.resume(run)
            assert end_of(run) == expected, points
            assert temporaries(run) == []
            resumed += 1
        else:
            with pytest.raises(RunError, match="missing"):
                cs.resume(run)
    # A file is flushed and renamed, then its folder is flushed: the holder of the lock and 4 files before the
    # first state, 7 files later, a manifest.
    assert points - 1 == 3 * (5 + 7 + 1)
    assert resumed == points - 1 - 3 * 5 - 2


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "convsmith", *arguments]


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell in the background hands down an ignored SIGINT; a terminal's own does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


def until_epoch(process: "subprocess.Popen[str]", epoch: int) -> None:
    assert process.stdout is not None
    while (line := process.stdout.readline()) and line != f"Epoch {epoch}\n":
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state_and_the_error_names_the_command(
    number: int, code: int, tmp_path: Path
) -> None:
    overrides = [*OVERRIDES, "train.epochs=400"]
    with started("train", "digits", *overrides, "--runs", str(tmp_path)) as process:
        until_epoch(process, 3)
        for _ in range(5):
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
    run = tmp_path / "tiny-1"
    message = f"interrupted by {signal.Signals(number).name} "
    Oracle(run).check(
        CommandResult(code=process.returncode, out="", err=err), exit_code=code, code="E061", names=(message,)
    )
    first, second = err.splitlines()
    assert first.endswith("; the state is saved")
    assert second == f"  fix: `convsmith resume {run}` goes on from there"
    assert {path.name for path in run.iterdir()} == {
        "recipe.toml", "environment.json", "data.json", "summary.txt", "log.txt", "metrics.csv",
        "model.safetensors", "state.safetensors",
    }  # fmt: skip
    rows = len((run / "metrics.csv").read_text().splitlines()) - 1
    cs.resume(run, epochs=rows + 2)
    uninterrupted = cs.train(
        load("digits", [*overrides, f"train.stop_after={rows + 2}"]), runs=tmp_path
    ).folder
    assert end_of(run) == end_of(uninterrupted)


@pytest.mark.slow
def test_a_second_process_is_rejected_and_a_killed_one_releases_its_lock(tmp_path: Path) -> None:
    run = tmp_path / "tiny-1"
    with started("train", "digits", *OVERRIDES, "train.epochs=400", "--runs", str(tmp_path)) as process:
        until_epoch(process, 3)
        before = json.loads((run / ".lock.json").read_text())
        assert before["pid"] == process.pid
        for use in (cs.resume, cs.evaluate):
            with pytest.raises(
                FileError, match=rf"in use by process {process.pid} on .* \(convsmith train\)"
            ):
                use(run)
        process.kill()
    assert (run / ".lock").is_file()
    (run / ".metrics.csv.0123abcd.tmp").write_text("half", encoding="utf-8")
    (run / ".mine.tmp").write_text("a user's", encoding="utf-8")
    done = len((run / "metrics.csv").read_text().splitlines()) - 1
    cs.resume(run, epochs=done + 1)
    assert {path.name for path in run.glob(".*")} == {".mine.tmp"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "net",
    ["model.net=C4 C6:s2 / G F10", f"model.module={HELPERS / 'odd_nets.py'}:PythonRandom"],
    ids=["notation", "module"],
)
def test_random_kills(net: str) -> None:
    script = HELPERS / "kills.py"
    seed = str(time.time_ns() % 1000)
    recipe = ["digits", "train.epochs=16", net, "train.ema=0.9", "train.optimizer=muon"]
    done = subprocess.run(
        [sys.executable, str(script), "8", *recipe, "--seed", seed],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    summary = (
        rf"digits, seed {seed}: 8 kills \(.*\) over \d+ trainings? of 16 epochs: weights and metrics are eq"
    )
    assert re.match(summary, done.stdout)
