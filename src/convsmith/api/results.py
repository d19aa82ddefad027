"""Read the results of a run."""

from pathlib import Path
from typing import Any

from convsmith.errors import RunError
from convsmith.evaluation.schema import Duplicates, LabelErrors, Results, Robustness
from convsmith.runs.folder import ANALYSES, RunFolder
from convsmith.runs.schema import FILES


def results(run: str | Path) -> dict[str, Any]:
    """Return the results of a run as plain values: results.json and the optional analyses.

    Raises:
        RunError: The run is missing or was not evaluated.
    """
    folder = RunFolder.open(Path(run))
    folder.verify(FILES[Results], *ANALYSES)
    evaluation = folder.find(Results)
    if evaluation is None:
        raise RunError("the run was not evaluated", where=str(run), fix=f"convsmith evaluate {run}")
    analyses = {
        "robustness": folder.find(Robustness),
        "duplicates": folder.find(Duplicates),
        "label_errors": folder.find(LabelErrors),
    }
    present = {name: record.model_dump(mode="json") for name, record in analyses.items() if record}
    return {**evaluation.model_dump(mode="json"), **present}
