"""Kill a process right before one of the calls that change files."""

import os
import signal
import sys
from collections.abc import Callable

from helpers.kills import fork, wait

# The names of Python's audit events: https://docs.python.org/3/library/audit_events.html.
_CALLS = {
    "open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "shutil.rmtree", "ctypes.dlsym",
}  # fmt: skip


def killed_before(number: int, action: Callable[[], object]) -> bool:
    """Call a function in a forked process, which SIGKILL ends before its call of this number, from 1.

    Returns:
        Whether it was killed: false if the function makes fewer calls.
    """

    def watched() -> None:
        left = number

        def count(event: str, _: tuple[object, ...]) -> None:
            nonlocal left
            left -= event in _CALLS
            # `os.kill` is an event too.
            if event in _CALLS and not left:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        action()

    return wait(fork(watched)) == signal.SIGKILL
