"""Where tasks run: on processes of this machine, a Dask cluster or a Ray cluster."""

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from convsmith.cluster.pool import WorkerPool
from convsmith.cluster.shared import SharedFolder
from convsmith.errors import MissingExtraError, ProcessError, UsageError
from convsmith.system.parallel import num_cores

Kind = Literal["loky", "dask", "ray"]
# Seconds to wait for a cluster to answer.
_TIMEOUT = 10.0
_PORTS = {"dask": 8786, "ray": 10001}
# The package of an engine, and its name for users.
_PACKAGES = {"dask": ("distributed", "Dask"), "ray": ("ray", "Ray")}
_ADDRESS = re.compile(r"(dask|ray)://(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine, and where it is.

    Attributes:
        kind: `"loky"` for processes of this machine, `"dask"` or `"ray"` for a cluster.
        host: Of the cluster's scheduler; empty for this machine.
        port: Of the scheduler.
    """

    kind: Kind = "loky"
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "Engine":
        """Return the engine that `--on` names.

        Raises:
            UsageError: It names none.

        Example:
            >>> Engine.parse("dask://10.0.0.1")
            Engine(kind='dask', host='10.0.0.1', port=8786)
        """
        if text == "loky":
            return cls()
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match[3] or 1) not in range(1, 65_536):
            raise UsageError(
                f"found {text!r}, expected loky, dask://HOST:PORT or ray://HOST:PORT",
                where="--on",
                fix="loky runs on the cores of this machine; schedulers print their address",
            )
        kind, host, port = match.groups()
        return cls(kind=kind, host=host.strip("[]"), port=int(port or _PORTS[kind]))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.kind}://{self.address}" if self.host else self.kind

    @property
    def address(self) -> str:
        """Host and port of the scheduler."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def check(self) -> None:
        """Check that an engine is installed and can be reached: it would itself wait for minutes.

        Raises:
            MissingExtraError: It is not installed.
            ProcessError: Nobody answers at its address.
        """
        if not self.host:
            return
        package, title = _PACKAGES[self.kind]
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"{title} is not installed", where="--on", fix=f"pip install 'convsmith[{self.kind}]'"
            ) from error
        try:
            socket.create_connection((self.host, self.port), timeout=_TIMEOUT).close()
        except OSError as error:
            raise ProcessError(
                f"nobody answers at {self}: {error.strerror or error}",
                where="--on",
                fix="start a scheduler, `dask scheduler`, and name the address that it prints"
                if self.kind == "dask"
                else "start a cluster, `ray start --head`, and name its client port, 10001 by default",
            ) from error


def chosen_engine(on: str | None, workers: int | None) -> Engine | None:
    """Return the engine of a command whose `on` is optional; None to work in this process.

    Raises:
        UsageError: It names no engine, or there are workers without one.
        MissingExtraError: The engine is not installed.
        ProcessError: Nobody answers at its address.

    Example:
        >>> chosen_engine("loky", 2)
        Engine(kind='loky', host='', port=0)
    """
    if on is None and workers is not None:
        raise UsageError("workers belong to an engine", where="--workers", fix="add --on loky")
    if on is None:
        return None
    engine = Engine.parse(on)
    engine.check()
    return engine


@contextmanager
def connect(engine: Engine, folder: Path, workers: int | None = None) -> Iterator[WorkerPool]:
    """Connect to an engine for the block.

    Args:
        engine: The engine.
        folder: An existing folder that all workers see.
        workers: How many tasks run at once; by default one for each core of this machine, or of the cluster.
            On this machine the workers divide the cores among them.

    Raises:
        MissingExtraError: The engine is not installed.
        ProcessError: The cluster does not answer, or has no workers.
        FileError: The folder is not writable.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     with connect(Engine.parse("loky"), Path(name), workers=2) as pool:
        ...         sorted(pool.run_all(abs, [-1, 2]))  # doctest: +SKIP
        [(-1, 1), (2, 2)]
    """
    import joblib

    engine.check()
    with SharedFolder.open(folder) as shared:
        if engine.kind == "loky":
            count = workers or num_cores()
            share = max(num_cores() // count, 1)
            with joblib.parallel_config(backend="loky", n_jobs=count, inner_max_num_threads=share):
                yield WorkerPool(count=count, shared=shared)
        elif engine.kind == "dask":
            with _dask(engine) as available:
                count = min(workers or available, available)
                with joblib.parallel_config(backend="dask", n_jobs=count):
                    yield WorkerPool(count=count, shared=shared)
        else:
            with _ray(engine) as available:
                count = min(workers or available, available)
                with joblib.parallel_config(backend="ray", n_jobs=count):
                    yield WorkerPool(count=count, shared=shared, streams=False)


@contextmanager
def _dask(engine: Engine) -> Iterator[int]:
    """Connect to a Dask cluster, and yield the number of its workers."""
    from distributed import Client

    try:
        client = Client(f"tcp://{engine.address}", timeout=_TIMEOUT)
    except Exception as error:
        raise ProcessError(
            f"the Dask scheduler at {engine} does not answer as expected: {_first_line(error)}",
            where="--on",
            fix="name the port of the scheduler, and install one version of Dask on all machines",
        ) from error
    with client:
        # Of each worker, by its address.
        threads = client.nthreads()
        if not threads:
            raise ProcessError(
                f"the Dask scheduler at {engine} has no workers",
                where="--on",
                fix=f"start some: `dask worker tcp://{engine.address} --nthreads 1`",
            )
        if several := [name for name, count in threads.items() if count > 1]:
            raise ProcessError(
                f"the Dask worker {several[0]} has {threads[several[0]]} threads, expected 1",
                where="--on",
                fix="start workers with --nthreads 1: a training needs a process of its own",
            )
        yield len(threads)


@contextmanager
def _ray(engine: Engine) -> Iterator[int]:
    """Connect to a Ray cluster, and yield the number of its cores."""
    import ray
    from ray.util.joblib import register_ray

    try:
        ray.init(address=f"ray://{engine.address}", log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise ProcessError(
            f"the Ray cluster at {engine} does not answer as expected: {_first_line(error)}",
            where="--on",
            fix="name the client port of the head, 10001 by default, and install one version of Ray and "
            "Python on all machines",
        ) from error
    try:
        register_ray()
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
