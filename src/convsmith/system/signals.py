"""Signals as a request to stop at the next good place."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# The signal that tells that a time is over; some systems have none, where the number still means it.
ALARM = int(getattr(signal, "SIGALRM", 14))


@dataclass
class StopRequest:
    """Whether something long is to stop at the next good place; `signal` is the one that asked for it."""

    signal: int = 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request for the block, instead of an end at any instruction.

    A second signal changes nothing. Handlers belong to the main thread; in others the block runs without.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal = request.signal or number

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        # What the parent process wants to be ignored, as in the background of a shell, stays so.
        if handler is not signal.SIG_IGN:
            signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
