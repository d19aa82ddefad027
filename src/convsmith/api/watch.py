"""The progress of a run."""

from pathlib import Path

from convsmith.runs import progress as progress_file
from convsmith.runs.progress import RunProgress


def progress(run: Path) -> RunProgress:
    """How far a run is, that may be trained by another process now.

    Raises:
        RunError: The folder holds no run.
    """
    return progress_file.progress(run)
