"""The progress of a training in a terminal, in a pipe, and from Python."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import convsmith as cs
from convsmith.cli.console import LiveCallback, progress_callback
from convsmith.recipes.schema import Recipe
from convsmith.runs.log import LogWriter
from convsmith.system import progress
from convsmith.system.progress import EVERY, Reporter
from convsmith.training.callbacks import EpochStart
from convsmith.training.metrics import BatchMetrics

START = EpochStart(epoch=3, epochs=20, num_batches=391, lr=0.1)
BATCH_LINE = re.compile(
    r"Train: Loss=\d\.\d{4} Batch_id=\d+ Accuracy=\d+\.\d\d: \d+% \d+/391 \[\d\d:\d\d<\d\d:\d\d, [\d.]+it/s\]"
)


class Clock:
    """Each reading is one second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def batches(count: int) -> list[BatchMetrics]:
    return [BatchMetrics(index=index, loss=1.5, accuracy=0.4) for index in range(count)]


def test_a_pipe_gets_a_line_every_few_seconds_within_an_epoch() -> None:
    lines: list[str] = []
    writer = LogWriter(lines.append, every=5.0, clock=Clock())
    writer.on_epoch_start(START)
    for batch in batches(100):
        writer.on_batch_end(batch)
    within = lines[2:]
    assert len(within) == 20  # 100 seconds
    assert all(BATCH_LINE.fullmatch(line) for line in within)
    assert within[1].endswith("2% 10/391 [00:10<06:21, 1.00it/s]")
    assert not any(re.search(r"[\x00-\x1f\x7f]", line) for line in lines)


def test_the_log_file_gets_one_line_an_epoch() -> None:
    lines: list[str] = []
    writer = LogWriter(lines.append, clock=Clock())
    writer.on_epoch_start(START)
    for batch in batches(100):
        writer.on_batch_end(batch)
    assert lines == ["Epoch 3", "Learning rate: 1.0000e-01"]


def test_without_a_terminal_the_callback_writes_lines() -> None:
    callback = progress_callback()
    assert isinstance(callback, LogWriter)
    assert (callback.every, callback.shows_progress) == (EVERY, True)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_progress_bar_fits_the_terminal(width: int) -> None:
    output = io.StringIO()
    live = LiveCallback()
    live.console = Console(file=output, width=width, force_terminal=True, highlight=False, soft_wrap=True)
    live.on_epoch_start(START)
    for batch in batches(300):
        live.on_batch_end(batch)
    assert live.bar is not None
    live.bar.refresh()
    live.close()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())
    bars = [line for line in re.split(r"[\r\n]", plain) if line.startswith("Train")]
    assert bars
    assert max(map(len, bars)) <= width
    if width >= 80:
        assert "300/391" in bars[-1]
        assert "Accuracy=40.00" in bars[-1]


def test_training_from_python_reports_to_standard_error(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(progress, "reporter", Reporter(lines.append, Clock()))
    cs.train(tiny, runs=tmp_path)
    training = [line for line in lines if line.startswith("Training: ")]
    assert training
    assert re.match(r"Training: \d+ of \d+ \(\d+ %\), about \d\d:\d\d left, epoch 1 of 2, Loss=", training[0])
    # A callback that shows the progress itself replaces these lines.
    lines.clear()
    cs.train(tiny, runs=tmp_path, callbacks=(LogWriter(lambda line: None, every=60.0),))
    assert not [line for line in lines if line.startswith("Training: ")]
    assert capsys.readouterr().out == ""
