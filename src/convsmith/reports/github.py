"""Judgements in GitHub Actions: annotations on the output of a step, and a table in its summary."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from convsmith.briefs.annotations import annotation_lines
from convsmith.briefs.judgement import Judgement
from convsmith.briefs.markdown import MOST_BYTES, markdown_report, shortened
from convsmith.errors import FileError
from convsmith.system import files, paths


def annotations(judgements: Sequence[Judgement], environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the workflow commands for judgements, with paths relative to `GITHUB_WORKSPACE`."""
    workspace = environment.get("GITHUB_WORKSPACE")
    return annotation_lines(judgements, Path(workspace) if workspace else None)


def append_summary(judgements: Sequence[Judgement], environment: Mapping[str, str] = os.environ) -> str:
    """Append a table to the summary of the step, `GITHUB_STEP_SUMMARY`, within its limit.

    Returns:
        Why nothing was written; empty if it was, or if the step has no summary.
    """
    if not (name := environment.get("GITHUB_STEP_SUMMARY")):
        return ""
    path = Path(name)
    try:
        status = paths.status(path)
        present = status.st_size if status else 0
        files.append_text(path, shortened(markdown_report(judgements), MOST_BYTES - present))
    except FileError as error:
        return f"the summary of the step was not written: {error.problems[0].what}"
    return ""
