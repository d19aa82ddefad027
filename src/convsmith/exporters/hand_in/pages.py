"""README and notebook of a hand-in."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from convsmith.exporters.hand_in import pictures
from convsmith.exporters.hand_in.nets import Nets
from convsmith.exporters.hand_in.steps import HandInPage, Step
from convsmith.exporters.project import descriptions
from convsmith.exporters.project.code import environment
from convsmith.exporters.project.notebook import as_notebook
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.net.tables import course_summary, receptive_field_table
from convsmith.text import escape_markdown, fenced, percent, plural

_MARKS = {"pass": "✅ pass", "fail": "❌ fail"}


def readme(
    page: HandInPage, nets: Nets, values: Sequence[dict[str, Any]], contents: Mapping[str, bytes]
) -> str:
    """Return the README in Markdown; names from the user are escaped, their notes are Markdown.

    Args:
        page: The steps and their verdicts.
        nets: The code of the nets.
        values: The template context of each step.
        contents: The pictures.
    """
    text = _template("README.md").render(_context(page, nets, values, contents))
    return re.sub(r"\n{3,}", "\n\n", text)


def notebook(
    page: HandInPage, nets: Nets, values: Sequence[dict[str, Any]], contents: Mapping[str, bytes]
) -> str:
    """Return the notebook as JSON, without outputs; the arguments are those of `readme`."""
    return as_notebook(_template("notebook.py").render(_context(page, nets, values, contents)))


def _template(name: str) -> Any:
    templates = environment()
    templates.filters.update(
        md=escape_markdown, percent=percent, fenced=fenced, plural=plural, commented=_commented
    )
    return templates.get_template(f"hand_in/{name}.j2")


def _commented(text: str) -> str:
    r"""Return a text as the lines of a Markdown cell.

    >>> _commented("a\n\nb")
    '# a\n#\n# b'
    """
    return "\n".join(f"# {line}".rstrip() for line in text.splitlines())


def _context(
    page: HandInPage, nets: Nets, values: Sequence[dict[str, Any]], contents: Mapping[str, bytes]
) -> dict[str, Any]:
    own = [step for step in page.steps if not isinstance(step.analysis, SpecAnalysis)]
    return {
        **values[0],
        "page": page,
        "steps": [_step(step, page, value) for step, value in zip(page.steps, values, strict=True)],
        "data": page.steps[0].model.data,
        "remarks": nets.remarks,
        "net_folders": sorted({path.partition("/")[0] for path in nets.files}),
        "begins_elsewhere": any(step.model.start for step in page.steps),
        "has_notation": len(own) < len(page.steps),
        "examples": pictures.EXAMPLES in contents and pictures.EXAMPLES,
        "loss": pictures.LOSS,
        "accuracy": pictures.ACCURACY,
        "copied": pictures.titles(page.steps, contents),
        "marks": _MARKS,
    }


def _start(step: Step) -> list[str]:
    record = step.model.start
    return [] if record is None else [f"{record.sentence[:1].upper()}{escape_markdown(record.sentence[1:])}."]


def _step(step: Step, page: HandInPage, values: dict[str, Any]) -> dict[str, Any]:
    analysis = step.analysis
    plan = analysis.plan if isinstance(analysis, SpecAnalysis) else None
    return {
        "of": step,
        "values": values,
        "result": step.result(page.last_epochs),
        "last": step.last_accuracies(page.last_epochs),
        "checks": page.verdicts.models.get(step.name, ()),
        "parts": descriptions.blocks(plan, analysis) if plan else descriptions.parts(analysis),
        "notation": str(plan.net) if plan else "",
        "after_a_convolution": descriptions.after_a_convolution(step.recipe),
        "layers": course_summary(analysis),
        "field_table": receptive_field_table(analysis),
        "transforms": [(each.title, each.details) for each in step.recipe.augment.transforms],
        "strategy": [*_start(step), *descriptions.strategy(step.recipe)],
        "mistakes": pictures.mistakes_path(step),
    }
