"""The descendants of a process: how many there are, what they use, and their end."""

import contextlib
import os
import signal
import time
from pathlib import Path


def descendants(process: int) -> list[int]:
    """Return the numbers of all descendants of a process; empty on systems without /proc."""
    tree, queue = [], [process]
    parents: dict[int, list[int]] | None = None
    while queue:
        current = queue.pop()
        children = _children(current)
        if children is None:
            parents = _all_children() if parents is None else parents
            children = parents.get(current, [])
        tree += children
        queue += children
    return tree


def _children(process: int) -> list[int] | None:
    """Return the children of a process; None where the kernel does not list them."""
    children: list[int] = []
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
    except OSError:
        return []
    for thread in threads:
        try:
            text = (thread / "children").read_text(encoding="ascii")
        except FileNotFoundError:
            if thread.exists():
                return None
        except OSError:
            continue
        else:
            children += map(int, text.split())
    return children


def _all_children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = (folder / "stat").read_text(encoding="latin-1")
            parent = int(text.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    return children


def memory(processes: list[int], limit: int) -> int:
    """Return the bytes of memory that processes use together; exact only where they exceed a limit."""
    total = sum(map(_private_memory, processes))
    # Pages that processes share after a fork count once.
    return total if total <= limit else sum(map(_proportional_memory, processes))


def _private_memory(process: int) -> int:
    total = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="latin-1").splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) * 1024
    return total


def _proportional_memory(process: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _private_memory(process)


def end_all(process: int, seconds: float = 10.0) -> bool:
    """Kill all descendants of a process, which must be its own parent or the reaper of orphans.

    Returns:
        Whether none is left.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = descendants(process)
        for each in alive:
            with contextlib.suppress(OSError):
                os.kill(each, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not alive:
            return True
        time.sleep(0.005)
    return False


def end_user(user: int) -> None:
    """Kill all processes of a user, which runs one submission only; this process must be the superuser."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.setuid(user)
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(child, 0)
