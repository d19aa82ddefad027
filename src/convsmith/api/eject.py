"""Eject a run as a plain PyTorch project."""

from pathlib import Path

from convsmith.exporters.project import project


def eject(run: Path, folder: Path) -> tuple[Path, ...]:
    """Write a finished run out as a plain project: code, weights, log, plots, notebook and README.

    Nothing in it needs convsmith: it trains and tests by itself, with PyTorch and albumentations.

    Args:
        run: Its folder, which is only read.
        folder: New or empty.

    Returns:
        The paths of what was written.

    Raises:
        FileError: The folder is not empty, lies inside the run, or cannot be written to.
        RunError: The run is missing, damaged or not finished.
        DataError: Its data set is not where it was.
    """
    return project.eject(run, folder)
