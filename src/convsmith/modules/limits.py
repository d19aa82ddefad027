"""Run a user's code within limits of time, without input, and with its output on standard error."""

import contextlib
import ctypes
import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from convsmith.errors import ModuleError

# In seconds, for reading a file with all that it imports, and for creating a module.
TIME_LIMIT = 60.0
# In seconds. The exception is raised again until nothing catches it; not so soon that it hits the clean-up.
_REPEAT = 1.0

Locate = Callable[[FrameType, int], str]


class TimeIsUpError(BaseException):
    """The time is up. `except Exception` does not catch it."""


class InputNeededError(Exception):
    """The code asks for input."""


# Against what a file does when it is read, and when its constructor runs.
_ELSEWHERE = 'move what trains, downloads or waits into a function, or under `if __name__ == "__main__":`'


@contextlib.contextmanager
def limited(
    activity: str, where: str, locate: Locate, seconds: float | None = None, *, fix: str = _ELSEWHERE
) -> Iterator[None]:
    """Run a block of the user's code within limits.

    Output goes to standard error. A longer run is stopped: in the main thread of POSIX by a timer, elsewhere
    by an exception from another thread, which takes effect when the running call into C returns.

    Args:
        activity: What is run, as the subject of a sentence: "the file", "the constructor of Net".
        where: The file.
        locate: Returns the place of a frame and line in the user's files, "model.py, line 3", or "".
        seconds: By default `TIME_LIMIT`.
        fix: What helps if the code takes too long.

    Raises:
        ModuleError: The code takes too long, exits, or asks for input.
    """
    seconds = TIME_LIMIT if seconds is None else seconds
    places: list[str] = []

    def note(frame: FrameType | None) -> None:
        if not places:
            places.append(_innermost(frame, locate))

    try:
        with _without_input(), contextlib.redirect_stdout(sys.stderr), _timer(seconds, note):
            yield
    except TimeIsUpError:
        raise ModuleError(
            f"{activity} does not end: stopped after {seconds:g} seconds",
            where=next(filter(None, places), where),
            fix=fix,
        ) from None
    except SystemExit as error:
        code = "" if error.code is None else repr(error.code)
        raise ModuleError(
            f"{activity} ends the program: exit({code})",
            where=raising_place(error, locate) or where,
            fix='move this line under `if __name__ == "__main__":`',
        ) from error
    except InputNeededError as error:
        raise ModuleError(
            f"{activity} asks for input",
            where=raising_place(error, locate) or where,
            fix='write the value instead, or move this line under `if __name__ == "__main__":`',
        ) from error


def no_input(*args: Any, **kwargs: Any) -> NoReturn:
    """Take the place of `input` in the user's files."""
    del args, kwargs
    raise InputNeededError("it asks for input")


def print_aside(*values: object, file: Any = None, **options: Any) -> None:
    """Take the place of `print` in the user's files: a forward pass must not write into JSON."""
    print(*values, file=sys.stderr if file is None else file, **options)


def _innermost(frame: FrameType | None, locate: Locate) -> str:
    while frame is not None:
        if place := locate(frame, frame.f_lineno):
            return place
        frame = frame.f_back
    return ""


def raising_place(error: BaseException, locate: Locate) -> str:
    """Return the innermost place in the user's files that an exception passed; empty if there is none."""
    place, traceback = "", error.__traceback__
    while traceback is not None:
        place = locate(traceback.tb_frame, traceback.tb_lineno) or place
        traceback = traceback.tb_next
    return place


class _NoInput(io.TextIOBase):
    def read(self, size: int | None = -1) -> NoReturn:
        del size
        raise InputNeededError

    def readline(self, size: int = -1) -> NoReturn:  # type: ignore[override]
        del size
        raise InputNeededError

    def readable(self) -> bool:
        return True


@contextlib.contextmanager
def _without_input() -> Iterator[None]:
    """Replace standard input, and the command line, which `argparse` would read."""
    stdin, argv = sys.stdin, sys.argv
    sys.stdin, sys.argv = _NoInput(), argv[:1]
    try:
        yield
    finally:
        sys.stdin, sys.argv = stdin, argv


@contextlib.contextmanager
def _timer(seconds: float, note: Callable[[FrameType | None], None]) -> Iterator[None]:
    main = threading.current_thread() is threading.main_thread()
    with _alarm(seconds, note) if main and hasattr(signal, "setitimer") else _watchdog(seconds, note):
        yield


@contextlib.contextmanager
def _alarm(seconds: float, note: Callable[[FrameType | None], None]) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        del number
        note(frame)
        raise TimeIsUpError

    handler = signal.signal(signal.SIGALRM, stop)
    rest, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT)
    try:
        yield
    finally:
        while True:
            # The timer may run out between two of these lines.
            with contextlib.suppress(TimeIsUpError):
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, handler)
                signal.setitimer(signal.ITIMER_REAL, rest, interval)
                break


@contextlib.contextmanager
def _watchdog(seconds: float, note: Callable[[FrameType | None], None]) -> Iterator[None]:
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    thread = ctypes.c_ulong(threading.get_ident())
    over, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            with lock:
                if not over.is_set():
                    note(sys._current_frames().get(int(thread.value)))  # noqa: SLF001 - the only way
                    raise_in(thread, ctypes.py_object(TimeIsUpError))
            wait = _REPEAT

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        while True:
            with contextlib.suppress(TimeIsUpError):
                with lock:
                    over.set()
                    # An exception that is set and not yet raised is withdrawn.
                    raise_in(thread, None)
                break
        watcher.join()
