"""Turn signals into requests to stop at the next safe point."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# The number that stands for "the time limit is reached", on systems without SIGALRM too.
ALARM = int(getattr(signal, "SIGALRM", 14))
# Batch systems announce the end of a job by the last three. Windows has the first two only.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOP_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
# Of the blocks of `stop_on_signals` that this process is in, in any thread.
_requests: "list[StopRequest]" = []


@dataclass
class StopRequest:
    """A request to stop a long computation at its next safe point.

    Attributes:
        signal: The number of the signal that requested it; 0 while there is no request.
    """

    signal: int = 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C and the signals of `STOP_SIGNALS` into a stop request for the block.

    The first signal counts. Signal handlers belong to the main thread: in other threads only `request_stop`
    has an effect.
    """
    request = StopRequest()
    _requests.append(request)
    try:
        with _handlers(request):
            yield request
    finally:
        # By identity: equal requests are others.
        _requests[:] = [each for each in _requests if each is not request]


def request_stop(number: int = signal.SIGTERM) -> None:
    """Request what a signal would: that all blocks of `stop_on_signals` in this process end soon."""
    for request in tuple(_requests):
        request.signal = request.signal or number


@contextmanager
def _handlers(request: StopRequest) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal = request.signal or number

    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in previous.items():
        # A signal that the parent process ignores, such as SIGINT in a shell's background job, stays ignored.
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
