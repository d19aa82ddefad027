"""Read the progress of a run."""

from pathlib import Path

from convsmith.runs import progress as progress_file
from convsmith.runs.progress import RunProgress


def progress(run: str | Path) -> RunProgress:
    """Return the progress of a run, which another process may be training.

    Raises:
        RunError: The folder is not a run folder.
    """
    return progress_file.progress(Path(run))
