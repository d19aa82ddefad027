"""A run's results as plain tables."""

from pathlib import Path
from typing import Any

from convsmith.errors import RunError
from convsmith.runs.folder import RunFolder


def results(run: Path) -> dict[str, Any]:
    """All facts that a run's folder holds, as plain tables: those of results.json and of further analyses.

    Raises:
        RunError: No such run, or one that was not evaluated.
    """
    folder = RunFolder.open(run)
    found = folder.record("results.json")
    if found is None:
        raise RunError("the run was not evaluated", where=str(run), fix=f"convsmith evaluate {run}")
    names = ("robustness", "duplicates", "label_errors")
    return {**found, **{name: record for name in names if (record := folder.record(f"{name}.json"))}}
