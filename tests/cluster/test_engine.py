import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import convsmith
from convsmith.cluster.engine import Engine, connect
from convsmith.cluster.pool import _call
from convsmith.cluster.shared import SharedFolder
from convsmith.errors import (
    ConvsmithError,
    MissingExtraError,
    ProcessError,
    RunError,
    StoppedError,
    UsageError,
    WriteError,
)
from convsmith.system import signals
from helpers import inline_pool, tasks
from helpers.tasks import Task

LOKY = Engine.parse("loky")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("loky", "loky"),
        ("dask://10.0.0.1:8787", "dask://10.0.0.1:8787"),
        ("dask://head", "dask://head:8786"),
        ("ray://head", "ray://head:10001"),
        ("ray://[::1]:7", "ray://[::1]:7"),
    ],
)
def test_addresses(text: str, shown: str) -> None:
    assert str(Engine.parse(text)) == shown


@pytest.mark.parametrize(
    "text", ["", "dask", "spark://head", "dask://", "dask://head:0", "dask://head:70000", "loky://x"]
)
def test_what_names_no_engine(text: str) -> None:
    with pytest.raises(UsageError, match="expected loky, dask://HOST:PORT or ray://HOST:PORT"):
        Engine.parse(text)


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_an_address_where_nobody_answers(kind: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(ProcessError, match=f"nobody answers at {kind}://127.0.0.1:{port}"),
        connect(Engine.parse(f"{kind}://127.0.0.1:{port}"), tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_that_is_not_installed(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        engine = Engine.parse(f"{kind}://127.0.0.1:{server.getsockname()[1]}")
        with (
            pytest.raises(MissingExtraError, match=rf"pip install 'convsmith\[{kind}\]'"),
            connect(engine, tmp_path),
        ):
            pass


class TestSharedFolder:
    def test_another_version(self, tmp_path: Path) -> None:
        with SharedFolder.open(tmp_path) as shared:
            shared.check()
            with (
                mock.patch.object(convsmith, "__version__", "0.0.1"),
                pytest.raises(ProcessError, match=r"has convsmith 0\.0\.1, the main process"),
            ):
                shared.check()

    def test_a_folder_that_is_not_shared(self, tmp_path: Path) -> None:
        with SharedFolder.open(tmp_path) as shared:
            (tmp_path / ".shared").write_text("of another machine", encoding="utf-8")
            with pytest.raises(ProcessError, match="does not see the folder"):
                shared.check()
        with pytest.raises(ProcessError, match="does not see the folder"):
            shared.check()

    def test_nothing_is_left(self, tmp_path: Path) -> None:
        with SharedFolder.open(tmp_path) as shared:
            shared.stop()
            assert shared.is_stopping
        assert list(tmp_path.iterdir()) == []

    def test_a_main_process_that_was_killed(self, tmp_path: Path) -> None:
        """Its lock is gone with it. The main process itself is never abandoned."""
        with SharedFolder.open(tmp_path) as shared:
            worker = replace(shared, process=("another", 1))
            assert [worker.is_abandoned, shared.is_abandoned] == [False, False]
        assert [worker.is_abandoned, shared.is_abandoned] == [True, False]
        # What a killed process leaves: the file of the lock, which nobody holds.
        (tmp_path / ".main.lock").touch()
        assert worker.is_abandoned

    def test_a_stop_reaches_threads(self, tmp_path: Path) -> None:
        results: list[str] = []
        with SharedFolder.open(tmp_path) as shared, shared.stoppable():
            thread = threading.Thread(
                target=lambda: results.append(tasks.until_stopped(Task(str(tmp_path), 1)))
            )
            thread.start()
            shared.stop()
            thread.join()
        assert results == ["stopped"]


def test_errors_are_pickled_whole() -> None:
    import pickle

    for error in (StoppedError(15, "here"), RunError("what", where="where", context="text", fix="fix")):
        again: ConvsmithError = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert (type(again), str(again), again.exit_code) == (type(error), str(error), error.exit_code)


@pytest.fixture
def items(tmp_path: Path) -> list[Task]:
    return [Task(str(tmp_path), number) for number in range(4)]


def run_all(function: Callable[[Task], Any], items: list[Task], *, workers: int = 2) -> dict[Task, Any]:
    with connect(LOKY, Path(items[0].folder), workers=workers) as pool:
        return dict(pool.run_all(function, items, is_done=lambda item: item.result.exists()))


def test_a_task_that_a_signal_has_stopped_runs_again(items: list[Task], tmp_path: Path) -> None:
    with inline_pool.connect(LOKY, tmp_path) as pool:
        results = dict(pool.run_all(tasks.stopped_once, items))
    assert list(results.values()) == [0, 2, 3, 1]


def test_errors_of_workers_name_their_host(items: list[Task], tmp_path: Path) -> None:
    """For example that of a full disk. The main process needs no host."""
    with SharedFolder.open(tmp_path) as shared:
        for process, host in ((shared.process, ""), (("other", 1), f" on the host {socket.gethostname()}")):
            with pytest.raises(WriteError, match=rf"result-0{host}: cannot write: No space left"):
                _call(tasks.on_a_full_disk, items[0], replace(shared, process=process))


def test_a_stop_by_the_caller_ends_without_an_error(items: list[Task], tmp_path: Path) -> None:
    """For example at the time limit of a search, before the workers have begun."""
    with inline_pool.connect(LOKY, tmp_path) as pool:
        pool.shared.stop()
        assert list(pool.run_all(tasks.stopped_once, items)) == []


@pytest.mark.slow
class TestLoky:
    def test_results(self, items: list[Task]) -> None:
        results = run_all(tasks.process_id, items)
        assert set(results) == set(items)
        assert 1 <= len(set(results.values())) <= 2

    def test_a_killed_worker_is_replaced(self, items: list[Task]) -> None:
        results = run_all(tasks.killed_once, items)
        assert results[items[1]] == 1
        assert all(item.result.exists() for item in items)

    def test_workers_that_always_die(self, items: list[Task]) -> None:
        with pytest.raises(ProcessError, match="workers were lost 3 times"):
            run_all(tasks.killed_always, items)

    def test_an_error_of_a_task(self, items: list[Task]) -> None:
        with pytest.raises(RunError, match=r"task \d fails"):
            run_all(tasks.failing, items)

    def test_a_stop_reaches_all_workers(self, items: list[Task], tmp_path: Path) -> None:
        def stop_when_begun() -> None:
            while len(list(tmp_path.glob("begun-*"))) < 2:
                pass
            signals.request_stop()

        threading.Thread(target=stop_when_begun).start()
        with pytest.raises(StoppedError, match="tasks left"):
            run_all(tasks.until_stopped, items)
        assert sorted(each.name for each in tmp_path.glob("stopped-*")) == ["stopped-0", "stopped-1"]
