"""Run a command with limits on time and output only, where the system offers no more: Windows."""

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from convsmith.grading.specification import RECORD_FOLDER, SUBMISSION_FOLDER

_KEPT = 2**15


def run(specification: dict[str, Any]) -> dict[str, Any]:
    """Run a command and return the result of a keeper; see `specification`.

    Memory, processes and files have no limit here, and the command is the user.
    """
    start = time.monotonic()
    submission = Path(specification["folder"], SUBMISSION_FOLDER)
    process = subprocess.Popen(  # noqa: S603 - named by convsmith
        specification["command"],
        cwd=submission if submission.is_dir() else specification["folder"],
        env=specification["environment"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    printed = bytearray()
    total = [0]

    def read() -> None:
        stream = process.stdout
        while stream is not None and (content := os.read(stream.fileno(), 2**16)):
            total[0] += len(content)
            printed.extend(content)
            del printed[_KEPT : max(_KEPT, len(printed) - _KEPT)]

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    limit = ""
    while process.poll() is None and not limit:
        if time.monotonic() - start > specification["time"]:
            limit = "time"
        elif total[0] > specification["output"]:
            limit = "output"
        else:
            time.sleep(0.05)
    end_tree(process)
    # A process that is left keeps the pipe open; its thread ends with this process.
    reader.join(5)
    if process.stdout is not None and not reader.is_alive():
        process.stdout.close()
    saved, problem = _save(specification)
    return {
        "limit": limit,
        "exit_code": None if limit else process.returncode,
        "seconds": time.monotonic() - start,
        "output": bytes(printed).decode("utf-8", "replace"),
        "printed": total[0],
        "record": saved,
        "record_problem": problem,
    }


def end_tree(process: "subprocess.Popen[bytes]") -> None:
    """End a process, and its descendants where the system can list them."""
    if os.name == "nt":
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    process.kill()
    process.wait()


def _save(specification: dict[str, Any]) -> tuple[bool, str]:
    """Copy the record, if it is a regular file of a permitted size."""
    path = Path(specification["folder"]) / RECORD_FOLDER / specification["record"]
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return False, "not a regular file"
    try:
        if (size := path.stat().st_size) > specification["record_size"]:
            return False, f"{size:,} bytes, expected at most {specification['record_size']:,}"
        Path(specification["save"]).write_bytes(path.read_bytes())
    except OSError as error:
        return False, error.strerror or str(error)
    return True, ""
