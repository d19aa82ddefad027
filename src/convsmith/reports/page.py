"""The report of a run as a README.md, and the data of both report pages."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from convsmith.briefs.checks import Check
from convsmith.data.fold import TEST_SET, EvaluationSet
from convsmith.evaluation.metrics import Metrics, listed_classes
from convsmith.evaluation.receptive_field import EffectiveReceptiveField
from convsmith.evaluation.schema import Duplicates, LabelErrors, Robustness
from convsmith.net.analysis import Analysis
from convsmith.reports.style import Drawing
from convsmith.runs.schema import DataRecord, Environment, EpochRow, WeightsRecord
from convsmith.system import files
from convsmith.text import escape_markdown, fenced, in_line, percent, plural, printable_value
from convsmith.training.metrics import SplitMetrics


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of the report: its title, and the SVG files that it consists of, by their own titles."""

    title: str
    files: Mapping[str, Path]

    @property
    def paths(self) -> dict[str, str]:
        """The paths of the files, relative to the page, by their titles."""
        return {title: f"{file.parent.name}/{file.name}" for title, file in self.files.items()}


def save(title: str, drawings: Mapping[str, Drawing], folder: Path) -> Picture:
    """Write the drawings of a picture as SVG files with these names; one of several has its name as title."""
    paths = {}
    for name, drawing in drawings.items():
        of_file = title if len(drawings) == 1 else name.replace("_", " ").capitalize()
        paths[of_file] = folder / f"{name}.svg"
        files.write_text(paths[of_file], drawing.file(of_file))
    return Picture(title=title, files=paths)


@dataclass(frozen=True, kw_only=True)
class PageData:
    """All data of the report pages; rendering computes nothing.

    `weights` is the origin of weights that were trained elsewhere, else None. `history` has the rows of
    metrics.csv. `robustness`, `duplicates` and `label_errors` are records of optional analyses; `field` is
    the effective receptive field. They are None if they were not computed. `kept` says which epoch's weights
    the figures are of, and by what it was selected. `evaluated` has the names of the images that they are of.
    """

    name: str
    description: str
    net: str
    weights: WeightsRecord | None
    recipe_toml: str
    notes: tuple[str, ...]
    data: DataRecord
    environment: Environment
    summary: str
    receptive_field_table: str
    analysis: Analysis
    totals: str
    train: SplitMetrics
    test: SplitMetrics
    epochs: int
    seconds: float
    time: str
    history: Sequence[EpochRow]
    metrics: Metrics
    checks: tuple[Check, ...]
    pictures: tuple[Picture, ...]
    log: str
    robustness: Robustness | None
    duplicates: Duplicates | None
    label_errors: LabelErrors | None
    field: EffectiveReceptiveField | None
    kept: str = ""
    evaluated: EvaluationSet = TEST_SET

    @property
    def command(self) -> str:
        """What makes this report again, from the recipe."""
        if self.weights is None:
            return f"convsmith train {self.name}.toml"
        return f"convsmith evaluate {self.name}.toml --weights {shlex.quote(in_line(self.weights.file))}"

    @property
    def has_code(self) -> bool:
        """Whether the net is a module whose code is in the run folder."""
        return self.net.partition(":")[0].endswith((".py", ".ipynb"))


def markdown(page: PageData) -> str:
    """Render the report as Markdown; user text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convsmith.reports"),
        autoescape=False,  # noqa: S701 - Markdown; all user text goes through the filters below
        undefined=jinja2.StrictUndefined,
        finalize=printable_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = escape_markdown
    environment.filters["percent"] = percent
    environment.filters["plural"] = plural
    environment.filters["fenced"] = fenced
    return environment.get_template("README.md.j2").render(page=page, listed=listed_classes(page.metrics))
