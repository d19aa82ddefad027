"""Clusters of Dask and Ray on the loopback address, and the processes of their workers."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from convsmith.system.locks import lock_file
from helpers.paths import ROOT

# Seconds; a cluster takes long to start beside other work.
_TIMEOUT = 180.0


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def wait_for(condition: Callable[[], bool], what: str, seconds: float = _TIMEOUT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def environment() -> dict[str, str]:
    """What workers need to import the tests' tasks, and to stay on this machine."""
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


@contextmanager
def _process(*command: str, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment(), start_new_session=True
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[str]:
    """Start a scheduler and some workers, each a process with a nanny that replaces it; yield the address."""
    port, address = free_port(), ""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    with ExitStack() as stack:
        stack.enter_context(
            _process(
                *command, "--port", str(port), "--no-dashboard", "--no-show", log=folder / "scheduler.log"
            )
        )
        wait_for(lambda: answers(port), "the scheduler")
        address = f"tcp://127.0.0.1:{port}"
        for number in range(workers):
            stack.enter_context(
                _process(
                    *(sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"),
                    *("--no-dashboard", "--local-directory", str(folder / f"worker-{number}")),
                    log=folder / f"worker-{number}.log",
                )
            )
        _wait_for_workers(address, workers)
        yield f"dask://127.0.0.1:{port}"


def _wait_for_workers(address: str, workers: int) -> None:
    from distributed import Client

    with Client(address, timeout=_TIMEOUT) as client:
        client.wait_for_workers(workers, timeout=_TIMEOUT)


@contextmanager
def ray_cluster(nodes: int) -> Iterator[str]:
    """Start a head and other nodes, each with one core; yield the address for clients.

    There is one cluster on a machine at a time: `ray stop` ends all of them.
    """
    with lock_file(Path(tempfile.gettempdir(), "convsmith-tests-ray.lock"), wait=True):
        yield from _ray_nodes(nodes)


def _ray_nodes(nodes: int) -> Iterator[str]:
    port, client = free_port(), free_port()
    ray = Path(sys.executable).with_name("ray")
    common = ["--num-cpus", "1", "--disable-usage-stats"]
    # Ports of workers that the cluster chooses could be those of the head.
    ports = ["--min-worker-port", "0", "--max-worker-port", "0"]
    _ray(
        ray, "start", "--head", "--port", str(port), "--ray-client-server-port", str(client), *ports, *common
    )
    try:
        for _ in range(nodes - 1):
            _ray(ray, "start", "--address", f"127.0.0.1:{port}", *ports, *common)
        wait_for(lambda: answers(client), "Ray")
        _wait_for_ray(f"ray://127.0.0.1:{client}")
        yield f"ray://127.0.0.1:{client}"
    finally:
        _ray(ray, "stop", "--force")


@contextmanager
def cluster(kind: str, folder: Path, workers: int) -> Iterator[str]:
    """Start an engine with some workers of one core; yield its address. Skip the test if it is missing."""
    if kind == "loky":
        yield kind
        return
    pytest.importorskip("distributed" if kind == "dask" else kind)
    with dask_cluster(folder, workers) if kind == "dask" else ray_cluster(workers) as address:
        yield address


def worker_processes(address: str) -> list[int]:
    """Return the processes of an engine that work, or wait for work."""
    if address.startswith("dask"):
        from distributed import Client

        with Client(address.replace("dask", "tcp"), timeout=_TIMEOUT) as client:
            return list(client.run(os.getpid).values())
    if address.startswith("ray"):
        return [
            number for number, (_, command) in _processes().items() if command.startswith(b"ray::PoolActor")
        ]
    own = os.getpid()
    return [
        number
        for number, (parent, command) in _processes().items()
        if parent == own and b"popen_loky_posix" in command
    ]


def _processes() -> dict[int, tuple[int, bytes]]:
    """Return the parent and the command line of all processes, on Linux."""
    processes = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                processes[int(path.name)] = parent, (path / "cmdline").read_bytes()
    return processes


def _wait_for_ray(address: str, tries: int = 5) -> None:
    """Connect once: the process that serves clients may start too slowly beside other work."""
    import ray

    for left in reversed(range(tries)):
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError:
            if not left:
                raise
        else:
            break
        finally:
            ray.shutdown()


def _ray(*command: str | Path) -> None:
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


@contextmanager
def killed(processes: Callable[[], list[int]]) -> Iterator[None]:
    """Kill one of the processes during the block, as soon as there are some."""

    def kill() -> None:
        wait_for(lambda: bool(processes()), "processes")
        _kill_one(processes)

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(kill)
        yield
        future.result()


@contextmanager
def killed_amid_parts(address: str, done: Callable[[], int], total: int) -> Iterator[None]:
    """Kill a worker of an engine during the block, when some parts are done and others are not."""

    def kill() -> int:
        wait_for(lambda: bool(worker_processes(address)), "workers")
        wait_for(lambda: done() > 0, "work to be interrupted")
        _kill_one(lambda: worker_processes(address))
        return done()

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(kill)
        yield
        assert future.result() < total


def _kill_one(processes: Callable[[], list[int]]) -> None:
    for victim in processes():
        # It may have ended by itself.
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            return
    raise ProcessLookupError("every process has ended")


def trained_now(parent: Path) -> list[int]:
    """Return the processes that train a run in a folder of runs which has a checkpoint."""
    processes = []
    for path in parent.glob("*/.lock.json"):
        if (path.parent / "state.safetensors").is_file() and not (path.parent / "manifest.json").is_file():
            with suppress(OSError, ValueError, KeyError):
                processes.append(int(json.loads(path.read_text())["pid"]))
    return processes
