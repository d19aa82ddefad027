"""The number of a process among those of a training, as `torchrun` sets it in the environment."""

import os

# The entry of a process's error file with the exit code that it is about to have.
EXIT_CODE = "exit_code"


def is_started_by_torchrun() -> bool:
    """Return whether `torchrun` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def own_rank() -> int:
    """Return the number of this process among all of its training; 0 is the main one."""
    return int(os.environ["RANK"]) if is_started_by_torchrun() else 0
