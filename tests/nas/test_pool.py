"""A search with workers on loky: they share the trials, and end, are killed and are replaced."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import convsmith as cs
from convsmith.briefs.loader import load_brief
from convsmith.cli import run
from convsmith.cluster.engine import Engine
from convsmith.cluster.pool import WorkerPool
from convsmith.errors import ProcessError, RecipeError, UsageError
from convsmith.nas.candidate import Candidate
from convsmith.nas.evolution import first_candidate
from convsmith.nas.pool import Crew, Results, WorkerTask, _main_process
from convsmith.nas.search import search
from convsmith.nas.search_worker import SearchWorker, prepare
from convsmith.nas.settings import SearchSettings
from convsmith.nas.worker import Deadline
from convsmith.recipes.loader import load
from convsmith.runs.folder import RunFolder
from convsmith.system.signals import StopRequest
from helpers.searches import Objective, settings

RECIPE = """description = "short"
[data]
source = "digits"
[model]
net = "C8 C8 / C16:s2 C16 / G F10"
[train]
epochs = 12
batch_size = 32
"""


class Search:
    """A search in a process of its own, with two workers.

    Small batches make epochs long.
    """

    def __init__(self, folder: Path, *arguments: str, batch_size: int = 32) -> None:
        self.study = folder / "study"
        (folder / "small.toml").write_text("max_parameters = 9_000\n")
        (folder / "short.toml").write_text(RECIPE.replace("batch_size = 32", f"batch_size = {batch_size}"))
        command = [sys.executable, "-m", "convsmith", "search", str(folder / "small.toml")]
        command += ["--recipe", str(folder / "short.toml"), "--study", str(self.study), "--factor", "2"]
        command += ["--epochs", "6", "--on", "loky", "--workers", "2", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def holders(self) -> dict[int, int]:
        """Return the processes that train now, with the number of their trial."""
        pairs = {}
        for path in self.study.glob("trials/*/.lock.json"):
            try:
                pairs[json.loads(path.read_text())["pid"]] = int(path.parent.name)
            except (OSError, ValueError):
                continue
        return pairs

    def wait_for_epoch(self) -> tuple[int, int]:
        """Wait until a process has trained an epoch of a trial, and return both numbers."""
        for _ in range(1200):
            assert self.process.poll() is None, self.process.communicate()
            for pid, trial in self.holders().items():
                if (self.study / "trials" / f"{trial:04}" / "state.safetensors").is_file():
                    return pid, trial
            time.sleep(0.1)
        raise AssertionError("no process has trained an epoch")

    def finish(self) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=400)
        return self.process.returncode, output, errors

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def settings_of(folder: Path) -> SearchSettings:
    """Return the settings of a `Search`."""
    return SearchSettings(
        recipe=load(str(folder / "short.toml")),
        brief=load_brief(str(folder / "small.toml")),
        brief_name="small",
        epochs=6,
        factor=2,
        macs_factor=1.5,
        seed=0,
    )


def search_worker(folder: Path, trials: int) -> SearchWorker:
    """Return the main process of a search."""
    requested = settings(epochs=4)
    runner, _ = prepare(requested, folder)
    folder.mkdir(exist_ok=True)
    place = requested.place(folder)
    return SearchWorker(requested, runner, place, first_candidate(runner.space, 0), limit=trials)


def lines_of(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("#")]


def trials_of(study: Path) -> list[dict[str, Any]]:
    trials: list[dict[str, Any]] = json.loads((study / "search.json").read_text())["trials"]
    return trials


def check_complete(study: Path, output: str, count: int) -> None:
    """Check that all trials are trained to a rung, each rung once, and that nothing is left behind."""
    trials = trials_of(study)
    assert [trial["number"] for trial in trials] == list(range(count))
    assert all(trial["epochs"] for trial in trials)
    assert trials[0]["state"] == "complete"
    assert len({(trial["net"], str(trial["fields"])) for trial in trials}) == count
    keys = [tuple(line.split()[:2]) for line in lines_of(output)]
    assert len(set(keys)) == len(keys)
    assert {key[0] for key in keys} == {f"#{number}" for number in range(count)}
    for trial in trials:
        rows = RunFolder(path=study / "trials" / f"{trial['number']:04}").metrics()
        assert rows[trial["epochs"] - 1].validation_accuracy == pytest.approx(trial["accuracy"], abs=1e-6)
    assert not [*study.rglob(".*")]


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lost_worker_is_replaced(number: signal.Signals, tmp_path: Path) -> None:
    """Its trial resumes from its checkpoint, to the weights of an uninterrupted training."""
    with closing(Search(tmp_path, "--trials", "5")) as current:
        pid, trial = current.wait_for_epoch()
        os.kill(pid, number)
        code, output, errors = current.finish()
    assert code == 0, errors
    assert "2 workers on loky" in output
    check_complete(current.study, output, 5)
    row = trials_of(current.study)[trial]
    requested = settings_of(tmp_path)
    runner, _ = prepare(requested, tmp_path / "plain")
    candidate = Candidate(net=row["net"], fields=row["fields"])
    runner.train(trial, candidate, row["epochs"])
    one, other = (
        load_file(each / f"{trial:04}" / "model.safetensors")
        for each in (current.study / "trials", tmp_path / "plain" / "trials")
    )
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("everyone", [True, False], ids=["terminal", "main process"])
def test_all_workers_stop_with_checkpoints(everyone: bool, tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches all processes, SIGTERM of a batch system the main one.

    Epochs are longer than a request takes to reach the workers, so that no trial gets to its first rung.
    """
    with closing(Search(tmp_path, "--trials", "5", batch_size=2)) as current:
        workers = {current.wait_for_epoch()[0], *current.holders()}
        if everyone:
            os.killpg(current.process.pid, signal.SIGINT)
        else:
            current.process.send_signal(signal.SIGTERM)
        code, output, errors = current.finish()
        assert code == (130 if everyone else 143), errors
        assert "the same command resumes" in errors
        assert not any(map(is_running, workers))
    first = trials_of(current.study)
    assert (current.study / "search.html").is_file()
    assert any(not trial["epochs"] for trial in first)
    with closing(Search(tmp_path, "--trials", "5", batch_size=2)) as current:
        code, more, errors = current.finish()
    assert code == 0, errors
    check_complete(current.study, output + more, 5)


@pytest.mark.slow
def test_workers_end_after_their_main_process(tmp_path: Path) -> None:
    with closing(
        Search(tmp_path, "--trials", "50", "--storage", f"sqlite:///{tmp_path / 'a.db'}")
    ) as current:
        pid, _ = current.wait_for_epoch()
        workers = {pid, *current.holders()}
        current.process.kill()
        for _ in range(300):
            if not any(map(is_running, workers)):
                break
            time.sleep(0.1)
        assert not any(map(is_running, workers))
    with closing(
        Search(tmp_path, "--minutes", "0.05", "--storage", f"sqlite:///{tmp_path / 'a.db'}")
    ) as current:
        code, _, errors = current.finish()
        # The time limit is no error.
        assert code == 0, errors
    assert not list(current.study.glob(".workers/*"))
    assert any(trial["state"] == "waits" for trial in trials_of(current.study))


def test_results_are_logged_once_as_they_come(objective: Objective, tmp_path: Path) -> None:
    lines: list[str] = []
    search(settings(epochs=4), tmp_path / "study", trials=3, log=lines.append)
    worker = search_worker(tmp_path / "study", trials=6)
    old = len(worker.store.trials())
    more: list[str] = []
    results = Results(worker.store, 4, more.append)
    results.update()
    assert more == []
    own: list[str] = []
    worker.log = own.append
    worker.run(StopRequest(), Deadline(StopRequest(), None))
    results.update()
    results.update()
    assert own
    assert sorted(more) == sorted(own)
    assert old == 3


def test_the_folder_of_a_killed_main_process_is_removed(tmp_path: Path) -> None:
    with _main_process(tmp_path) as folder:
        assert folder.is_dir()
        (old := tmp_path / ".workers" / "old").mkdir()
        (old / ".stop").touch()
    with _main_process(tmp_path) as folder, _main_process(tmp_path):
        assert folder.is_dir()
        assert not old.exists()
    assert not (tmp_path / ".workers").exists()


@pytest.mark.parametrize("useful", [4, 0])
def test_losses_are_survived_while_trials_are_trained(
    useful: int, objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = search_worker(tmp_path / "study", trials=4)
    calls = []

    def lose(pool: WorkerPool, function: object, tasks: list[WorkerTask]) -> Iterator[tuple[WorkerTask, str]]:
        del pool, function
        calls.append(len(tasks))
        if len(calls) <= useful:
            assert worker.start(StopRequest(), Deadline(StopRequest(), None))
            raise ProcessError("workers were lost 3 times")
        if not useful:
            raise ProcessError("workers were lost 3 times")
        yield tasks[0], "none left"

    monkeypatch.setattr(WorkerPool, "run_all", lose)
    lines: list[str] = []
    worker.log = lines.append
    crew = Crew(engine=Engine.parse("loky"), count=2)
    if useful:
        crew.run(worker, StopRequest(), None)
        assert lines[-1] == "No further candidates: none left"
    else:
        with pytest.raises(ProcessError, match="lost 3 times"):
            crew.run(worker, StopRequest(), None)
    assert calls == [2] * (useful + 1)
    assert lines[0] == "2 workers on loky\n"


def test_one_worker_is_the_main_process(objective: Objective, tmp_path: Path) -> None:
    crew = Crew(engine=Engine.parse("loky"), count=1)
    lines: list[str] = []
    result = search(settings(), tmp_path / "study", trials=2, crew=crew, log=lines.append)
    assert [row.state for row in result.data.trials] == ["complete", "complete"]
    assert [line.split()[0] for line in lines if line.startswith("#")] == ["#0", "#1"]
    assert "1 worker on loky\n" in lines


def test_an_error_of_the_storage_ends_all(
    objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = search_worker(tmp_path / "study", trials=1)

    def wait(pool: WorkerPool, function: object, tasks: object) -> Iterator[tuple[WorkerTask, str]]:
        del function, tasks
        while not pool.shared.is_stopping:
            time.sleep(0.05)
        yield from ()

    def fail(results: Results) -> None:
        raise ProcessError("the storage failed")

    monkeypatch.setattr(WorkerPool, "run_all", wait)
    monkeypatch.setattr(Results, "update", fail)
    with pytest.raises(ProcessError, match="the storage failed"):
        Crew(engine=Engine.parse("loky"), count=2).run(worker, StopRequest(), None)


def test_what_workers_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = load("digits")
    images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2
    with pytest.raises(UsageError, match="data in memory, which the workers do not see"):
        cs.search("course-mnist", digits, on="loky", data=(images, labels), study=tmp_path / "study")
    with pytest.raises(UsageError, match="expected loky, dask://HOST:PORT"):
        cs.search("course-mnist", digits, on="spark://head", study=tmp_path / "study")
    with pytest.raises(UsageError, match="add --on loky"):
        cs.search("course-mnist", digits, workers=2, study=tmp_path / "study")
    with pytest.raises(RecipeError, match="--workers: found 0"):
        cs.search("course-mnist", digits, workers=0, study=tmp_path / "study")
    (tmp_path / "small.toml").write_text("max_parameters = 20_000\n")
    command = [
        "search",
        str(tmp_path / "small.toml"),
        "--recipe",
        "digits",
        "--study",
        str(tmp_path / "study"),
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert run([*command, "--on", f"dask://127.0.0.1:{port}"]) == 75
    assert f"nobody answers at dask://127.0.0.1:{port}" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
