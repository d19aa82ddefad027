"""Draw a network."""

from pathlib import Path

from convsmith.net.analysis import Analysis
from convsmith.reports.diagram import diagram, save
from convsmith.system import files


def draw(analysis: Analysis, folder: Path, *, heading: str = "") -> tuple[Path, Path]:
    """Draw a net as a block diagram with the receptive field growing under it: `net.svg` and `net.png`.

    Args:
        analysis: From `summary`, from `resolve(...).analysis`, or from tracing a module.
        folder: Is made where it is missing.
        heading: Over the picture; the net itself if left out.
    """
    return save(diagram(analysis, heading), files.make_folder(folder))
