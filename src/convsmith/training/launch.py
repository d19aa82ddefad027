"""Start the processes of one training on this machine, with the elastic agent of `torchrun`."""

import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from convsmith.errors import ProcessError
from convsmith.system.parallel import num_cores
from convsmith.system.torchrun import EXIT_CODE

# The elastic agent gives processes that it ends this time to save their state, in seconds.
_SHUTDOWN_SECONDS = 120


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run `python -m convsmith` in several processes of this machine, and return the exit code.

    Args:
        arguments: Of the command line.
        processes: Their number. The cores of the machine are divided among them.

    Raises:
        ProcessError: A signal ended one of the processes, or it failed alone; the others are ended too.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Its log repeats what the errors of the processes say.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(num_cores() // processes, 1)))
    with tempfile.TemporaryDirectory(prefix="convsmith-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "convsmith", *arguments)
        except ChildFailedError as error:
            return exit_code_of(error.failures, processes)
        except SignalException as error:
            return 128 + int(error.sigval)
    return 0


def exit_code_of(failures: Mapping[int, Any], processes: int) -> int:
    """Return the exit code of the main process if it has printed its error; raise that of another one.

    Args:
        failures: The processes that failed, by rank, each a `ProcessFailure` of the elastic agent.
        processes: The number of all processes.

    Raises:
        ProcessError: A signal ended one of the processes, or it failed alone.
    """
    # The agent ends the others by SIGTERM.
    causes = {rank: each for rank, each in failures.items() if each.exitcode != -signal.SIGTERM}
    causes = causes or dict(failures)
    ended = {rank: each for rank, each in causes.items() if each.exitcode < 0}
    code = _exit_code(failures[0]) if 0 in failures else None
    # That of the others' end, or of the signal of the agent, is no error of its own.
    others = {ProcessError.exit_code, *([128 + signal.SIGTERM] if ended else [])}
    if code is not None and code not in others:
        return code
    own = {rank: each for rank, each in causes.items() if rank and each.exitcode != ProcessError.exit_code}
    rank, failure = min((ended or own or causes).items(), key=lambda each: each[1].timestamp)
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        raise ProcessError(
            f"process {rank} of {processes} (pid {failure.pid}) was ended by {name}",
            where="--processes",
            fix="`convsmith resume RUN` goes on from the last checkpoint, on any number of processes"
            + ("; SIGKILL often means that memory ran out" if -failure.exitcode == signal.SIGKILL else ""),
        )
    message = failure.message if Path(failure.error_file).is_file() else f"exit code {failure.exitcode}"
    raise ProcessError(f"process {rank} of {processes} failed", where="--processes", context=str(message))


def _exit_code(failure: Any) -> int | None:
    """Return the exit code of a process, also if the agent has ended it after it had reported its error."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads(Path(failure.error_file).read_text(encoding="utf-8"))[EXIT_CODE])
    return int(failure.exitcode) if failure.exitcode >= 0 else None
