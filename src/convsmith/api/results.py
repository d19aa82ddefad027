"""A run's results as plain tables."""

from pathlib import Path
from typing import Any

from convsmith.errors import RunError
from convsmith.evaluation.schema import Duplicates, LabelErrors, Results, Robustness
from convsmith.runs.folder import RunFolder


def results(run: Path) -> dict[str, Any]:
    """All facts that a run's folder holds, as plain tables: those of results.json and of further analyses.

    Raises:
        RunError: No such run, or one that was not evaluated.
    """
    folder = RunFolder.open(run)
    evaluated = folder.find(Results)
    if evaluated is None:
        raise RunError("the run was not evaluated", where=str(run), fix=f"convsmith evaluate {run}")
    analyses = {
        "robustness": folder.find(Robustness),
        "duplicates": folder.find(Duplicates),
        "label_errors": folder.find(LabelErrors),
    }
    present = {name: record.model_dump(mode="json") for name, record in analyses.items() if record}
    return {**evaluated.model_dump(mode="json"), **present}
