"""Where the time of an epoch goes."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

PHASES = ("augment", "forward", "backward", "optimizer", "evaluation")


@dataclass
class Profile:
    """Seconds by phase, summed over all threads that work at once.

    Measuring makes a GPU finish each phase before the next begins, which an ordinary run does not.

    Example:
        >>> profile = Profile(enabled=True)
        >>> with profile.phase("augment"):
        ...     pass
        >>> list(profile.seconds)
        ['augment']
    """

    enabled: bool = False
    seconds: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if not self.enabled:
            yield
            return
        began = _now()
        try:
            yield
        finally:
            spent = _now() - began
            with self.lock:
                self.seconds[name] += spent


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
