"""Draw a network."""

from pathlib import Path

from convsmith.net.analysis import Analysis
from convsmith.reports.diagram import diagram, save
from convsmith.system import files


def draw(analysis: Analysis, folder: str | Path, *, heading: str = "") -> tuple[Path, Path]:
    """Draw a network as a block diagram with its receptive fields: `net.svg` and `net.png`.

    Args:
        analysis: From `summary`, or `resolve(...).analysis`.
        folder: Created if necessary.
        heading: The heading; by default the title of the analysis.
    """
    return save(diagram(analysis, heading), files.make_folder(Path(folder)))
