"""Clusters of Dask and Ray on the loopback address, and the processes of their workers."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from helpers.paths import ROOT

_TIMEOUT = 60.0


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
    """Start a head and other nodes, each with one core; yield the address for clients."""
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
        yield f"ray://127.0.0.1:{client}"
    finally:
        _ray(ray, "stop", "--force")


def _ray(*command: str | Path) -> None:
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


def trained_now(grid: Path) -> list[int]:
    """Return the processes that train a run of a grid which has a checkpoint."""
    processes = []
    for path in grid.glob("run-*/.lock.json"):
        if (path.parent / "state.safetensors").is_file() and not (path.parent / "manifest.json").is_file():
            with suppress(OSError, ValueError, KeyError):
                processes.append(int(json.loads(path.read_text())["pid"]))
    return processes
