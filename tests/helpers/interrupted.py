"""Runs that are interrupted, and their comparison with uninterrupted ones."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import convsmith as cs
from convsmith.errors import StoppedError
from convsmith.recipes.loader import load
from convsmith.system import reading
from convsmith.training.callbacks import Callback
from convsmith.training.metrics import BatchMetrics

if TYPE_CHECKING:
    pass


LONGER = ["train.epochs=4", "model.net=C4 C6:s2 / G F10", "name=tiny", "train.ema=0.9"]


class Interrupt(Callback):
    """Ends a run in the given epoch, by signals or as if it were killed."""

    def __init__(self, epoch: int, *, kill: bool = False) -> None:
        self.epoch, self.kill = epoch, kill
        self.number = 0

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.number += batch.index == 0
        if self.number == self.epoch and batch.index == 3:
            if self.kill:
                raise SystemExit(9)
            os.kill(os.getpid(), 15)
            os.kill(os.getpid(), 2)


def rows_without_seconds(run: Path) -> list[list[str]]:
    """Return the rows of metrics.csv without the durations."""
    return [line.split(",")[:-2] for line in (run / "metrics.csv").read_text().splitlines()]


def same_weights_and_metrics(run: Path, other: Path) -> bool:
    hashes = {reading.sha256(each / "model.safetensors") for each in (run, other)}
    return len(hashes) == 1 and rows_without_seconds(run) == rows_without_seconds(other)


def interrupted_run(tmp_path: Path, interrupt: Interrupt, *overrides: str) -> Path:
    with pytest.raises((StoppedError, SystemExit)) as caught:
        cs.train(load("digits", [*LONGER, *overrides]), runs=tmp_path, callbacks=[interrupt])
    run = tmp_path / "tiny-1"
    assert not (run / "manifest.json").exists()
    assert not (run / ".lock").exists()
    if isinstance(caught.value, StoppedError):
        assert caught.value.exit_code == 143
        assert f"fix: `convsmith resume {run}` goes on from there" in str(caught.value)
        assert "error[E061]: interrupted by SIGTERM in epoch" in (run / "log.txt").read_text()
    return run
