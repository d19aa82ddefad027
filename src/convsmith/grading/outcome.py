"""What a submission may use, and in words how its process ended."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from convsmith.text import size_text

Kind = Literal["ok", "crash", "time", "memory", "files", "processes", "output", "no record", "not started"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one submission may use.

    Attributes:
        time: Seconds from its start to its end.
        memory: Bytes, of all its processes together.
        disk: Bytes of its copy and of all that it writes.
        file_size: Bytes of one file that it writes.
        files: Files and folders of its copy, and those that it creates.
        processes: At a time.
        open_files: Of one process.
        output: Bytes that it prints.
        record: Bytes of its record.
    """

    time: float = 120.0
    memory: int = 4 * 2**30
    disk: int = 2**30
    file_size: int = 2**28
    files: int = 20_000
    processes: int = 64
    open_files: int = 1024
    output: int = 2**24
    record: int = 2**24


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes:
        kind: "ok" with a record; "crash" by itself; a limit; "no record"; or "not started", which is the
            fault of the system.
        detail: One sentence, for a table; empty for "ok".
        seconds: Of the command.
        output: The begin and the end of what it printed, at most 64 KiB.
        peak_memory: Bytes of all its processes, as far as they were seen; 0 where that is unknown.
        peak_processes: As far as they were seen.
    """

    kind: Kind
    detail: str = ""
    seconds: float = 0
    output: str = ""
    peak_memory: int = 0
    peak_processes: int = 0


def outcome_of(result: Mapping[str, Any], limits: Limits) -> Outcome:
    """Put the result of a keeper into words."""
    kind, detail = _kind(result, limits)
    if result.get("left"):
        kind = "processes" if kind == "ok" else kind
        detail = "; ".join(filter(None, (detail, "a process that it started could not be ended")))
    return Outcome(
        kind=kind,
        detail=detail,
        seconds=round(result.get("seconds", 0), 2),
        output=result.get("output", ""),
        peak_memory=result.get("peak_memory", 0),
        peak_processes=result.get("peak_processes", 0),
    )


def _kind(result: Mapping[str, Any], limits: Limits) -> tuple[Kind, str]:
    match result.get("limit", ""):
        case "time":
            return "time", f"stopped after {limits.time:g} seconds"
        case "memory":
            return "memory", f"stopped at {size_text(result['peak_memory'])} of memory; " + _allowed(
                size_text(limits.memory)
            )
        case "processes":
            count = result["peak_processes"]
            return "processes", f"stopped at {count} processes; {_allowed(str(limits.processes))}"
        case "output":
            return "output", f"stopped after printing {size_text(result['printed'])}; " + _allowed(
                size_text(limits.output)
            )
        case "files":
            return "files", f"stopped: it wrote more than {size_text(limits.disk)} or {limits.files:,} files"
    if result.get("problem"):
        return "not started", f"it could not be run: {result['problem']}"
    return _end(result, limits)


def _allowed(limit: str) -> str:
    return f"{limit} are allowed"


def _end(result: Mapping[str, Any], limits: Limits) -> tuple[Kind, str]:
    """Describe a command that no limit of the keeper ended."""
    code = result.get("exit_code")
    if code is None:
        return "crash", "it ended the process that watched it"
    last = _last_line(result.get("output", ""))
    if code == -getattr(signal, "SIGXCPU", 24):
        return "time", f"stopped after {limits.time:g} seconds of all cores"
    if code == -getattr(signal, "SIGXFSZ", 25):
        return "files", f"stopped: a file of more than {size_text(limits.file_size)}"
    if code == 0 and result.get("record"):
        return "ok", ""
    if result.get("disk_full"):
        return "files", f"it wrote more than {size_text(limits.disk)} or {limits.files:,} files"
    if last.startswith("MemoryError") or "can't allocate memory" in last:
        return "memory", f"it needs more than {size_text(limits.memory)} of memory"
    if code < 0:
        return "crash", f"ended by {_signal_name(-code)}" + (f": {last}" if last else "")
    if code > 0:
        return "crash", f"exit code {code}" + (f": {last}" if last else "")
    if result.get("record_problem") not in {None, "", os.strerror(2)}:
        return "no record", f"it ended with a record that cannot be read: {result['record_problem']}"
    return "no record", "it ended before it was judged, with exit code 0"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
