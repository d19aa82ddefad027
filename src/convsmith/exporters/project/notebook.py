"""The notebook of a project: its functions, called in order."""

import json
import re
from typing import Any

from convsmith.exporters.project.code import environment
from convsmith.exporters.project.readme import TITLES, RunSummary
from convsmith.text import escape_markdown, plural

_MARK = re.compile(r"^# %%( \[markdown\])?(?: tags=(\w+))?\n", flags=re.MULTILINE)


def notebook(values: dict[str, Any], summary: RunSummary) -> str:
    """Return the notebook as JSON, without outputs.

    Args:
        values: The template context, from `code.template_context`.
        summary: The results of the run.
    """
    templates = environment()
    templates.filters.update(md=escape_markdown, plural=plural)
    has_plots = bool({"explanation", "confusion"} & set(summary.plots))
    text = templates.get_template("notebook.py.j2").render(
        **values, run=summary, has_plots=has_plots, titles=TITLES
    )
    return as_notebook(text)


def as_notebook(script: str) -> str:
    r"""Convert a script with cells marked by `# %%` to a notebook.

    >>> json.loads(as_notebook("# %% [markdown]\n# Title\n# %%\nx = 1\n"))["cells"][1]["source"]
    'x = 1'
    """
    _, *parts = _MARK.split(script)
    cells = []
    for number, (is_text, tag, body) in enumerate(zip(*[iter(parts)] * 3, strict=True)):
        source = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if is_text else body
        cell: dict[str, Any] = {
            "cell_type": "markdown" if is_text else "code",
            "id": f"cell-{number:02}",
            "metadata": {"tags": [tag]} if tag else {},
            "source": source.strip(),
        }
        cells.append(cell if is_text else {**cell, "execution_count": None, "outputs": []})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return (
        json.dumps(
            {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5},
            indent=1,
            ensure_ascii=False,
        )
        + "\n"
    )
