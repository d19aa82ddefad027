"""Run the notebook of a project once, so that its outputs come from the project's own code."""

import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convsmith.codegen import literal
from convsmith.text import escape_markdown, one_line

# For one cell, in seconds: a large test set on a slow machine.
_TIMEOUT = 3600
_MISSING = "the packages nbclient and ipykernel are missing: pip install 'convsmith[notebook]'"
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONDONTWRITEBYTECODE": "1",
    # They name folders of this machine.
    "PYTHONWARNINGS": "ignore",
}
_EXECUTED = (
    "The outputs are those of this project's code, run once when the project was made, with the weights and "
    "on the data set of the run."
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SCORE = re.compile(r"^Test set: .*Accuracy: (\d+)/(\d+) ", flags=re.MULTILINE)


def execute(notebook: Path, data: str, expected: Sequence[tuple[int, int]]) -> str:
    """Execute a notebook in its folder and write its outputs into it. It loads weights and trains nothing.

    Args:
        notebook: Its cell `parameters` names the data set; `outputs` says where its outputs come from;
            each `scores` prints the scores of a net.
        data: The location of the data set on this machine.
        expected: The correct test predictions of each run, and all.

    Returns:
        Why the notebook has no outputs, or how its score differs from the run's; empty if neither is so.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellControlSignal, DeadKernelError
    except ImportError:
        return _state(notebook, _MISSING)
    content: Any = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    parameters = tagged(content.cells, "parameters")
    source = parameters.source
    parameters.source = re.sub(
        r'^DATA = ".*"$', lambda _: f"DATA = {literal(data)}", source, flags=re.MULTILINE
    )
    place = {"metadata": {"path": str(notebook.parent)}}
    client = NotebookClient(
        content, timeout=_TIMEOUT, resources=place, record_timing=False, extra_arguments=["--log-level=ERROR"]
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client.execute(env={**os.environ, **_ENVIRONMENT})
    # An error in a cell, a kernel that dies, or one that cannot be started.
    except (CellControlSignal, DeadKernelError, OSError, RuntimeError, ValueError, KeyError) as error:
        lines = [line for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
        return _state(notebook, one_line(lines[-1] if lines else type(error).__name__))
    parameters.source = source
    difference = _difference("\n".join(map(printed, _all_tagged(content.cells, "scores"))), expected)
    tagged(content.cells, "outputs").source = " ".join(filter(None, [_EXECUTED, difference]))
    nbformat.write(content, notebook)  # type: ignore[no-untyped-call]
    return difference


def tagged(cells: Any, tag: str) -> Any:
    """Return the cell with a tag."""
    return _all_tagged(cells, tag)[0]


def _all_tagged(cells: Any, tag: str) -> list[Any]:
    return [cell for cell in cells if tag in cell["metadata"].get("tags", [])]


def printed(cell: Any) -> str:
    """Return what an executed cell prints."""
    return "".join(output.get("text", "") for output in cell["outputs"])


def _difference(text: str, expected: Sequence[tuple[int, int]]) -> str:
    scores = [(int(correct), int(total)) for correct, total in _SCORE.findall(text)]
    if scores == list(expected):
        return ""
    found = " and ".join(f"{correct} of {total}" for correct, total in scores) or "no score"
    had = " and ".join(f"{correct} of {total}" for correct, total in expected)
    runs = "the run" if len(expected) == 1 else "the runs"
    return f"The project's code found {found} of the test images correct; {runs} had {had}."


def _state(notebook: Path, reason: str) -> str:
    """Write into a notebook without outputs why it has none."""
    note = f"This notebook has no outputs: {reason}"
    content = json.loads(notebook.read_text(encoding="utf-8"))
    tagged(content["cells"], "outputs")["source"] = escape_markdown(note)
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return f"{note}; `jupyter execute --inplace {notebook.name}` in the project's folder runs it"
