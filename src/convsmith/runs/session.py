"""The session of a run."""

from pathlib import Path

from convsmith.errors import RunError
from convsmith.recipes.session import Session
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import DataRecord


def open_run(run: Path, *, refresh: bool = False) -> tuple[RunFolder, Session]:
    """Open a run, and load its recipe with the data that it was trained on.

    Args:
        run: The run folder.
        refresh: Decode the images again, even if the cache has them.

    Raises:
        RunError: The run does not exist or is damaged, or its data set has changed.
        DataError: The data set does not exist or cannot be read.
    """
    folder = RunFolder.open(run)
    session = Session.load(folder.recipe(), refresh=refresh)
    found, expected = session.data.fingerprint, folder.read(DataRecord).fingerprint
    if found != expected:
        raise RunError(
            f"the data set is not the one of this run: fingerprint {found[:12]}, expected {expected[:12]}",
            where=session.data.location,
            fix="bring the data set back to what it was, or train again",
        )
    return folder, session
