"""The time that each phase of a training takes."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

PHASES = ("augment", "teacher", "forward", "backward", "optimizer", "evaluation")


@dataclass
class Profile:
    """Seconds per phase, summed over all threads.

    Profiling synchronizes the GPU after each phase, which slows the training down.

    Example:
        >>> profile = Profile(enabled=True)
        >>> with profile.phase("augment"):
        ...     pass
        >>> list(profile.seconds)
        ['augment']
    """

    enabled: bool = False
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the block as part of a phase."""
        if not self.enabled:
            yield
            return
        started = _now()
        try:
            yield
        finally:
            elapsed = _now() - started
            with self.lock:
                self.seconds[name] += elapsed

    def table(self) -> str:
        """Return a table with one row per phase, and the total.

        >>> print(Profile(seconds=defaultdict(float, forward=1.0, backward=3.0)).table())
        Phase          Seconds    Share
        augment           0.00    0.0 %
        forward           1.00   25.0 %
        backward          3.00   75.0 %
        optimizer         0.00    0.0 %
        evaluation        0.00    0.0 %
        all               4.00  100.0 %
        """
        total = sum(self.seconds.values())
        # The teacher's phase is listed only if there is one.
        phases = [phase for phase in PHASES if phase != "teacher" or phase in self.seconds]
        rows = [(phase, self.seconds[phase]) for phase in phases]
        lines = [f"{'Phase':<12}  {'Seconds':>8}  {'Share':>7}"]
        lines += [
            f"{phase:<12}  {seconds:>8.2f}  {100 * seconds / (total or 1):>5.1f} %"
            for phase, seconds in (*rows, ("all", total))
        ]
        return "\n".join(lines)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
