"""Eject a run as a plain PyTorch project."""

from pathlib import Path

from convsmith.errors import FileError
from convsmith.exporters.project.project import project_files
from convsmith.models.run_model import RunModel
from convsmith.system import files, folders, paths


def eject(run: str | Path, folder: str | Path) -> tuple[Path, ...]:
    """Write a finished run as a plain project: code, weights, log, plots, notebook and README.

    The project does not need convsmith; it trains and tests with PyTorch and albumentations.

    Args:
        run: The run folder, which is not modified.
        folder: New or empty.

    Returns:
        The paths of the files.

    Raises:
        FileError: The folder is not empty, lies inside the run, or is not writable.
        RunError: The run is missing, damaged or not finished.
        DataError: The data set is unavailable.
    """
    run, folder = Path(run), Path(folder)
    _check_folder(run, folder)
    contents = project_files(RunModel(run))
    with folders.atomic_folder(folder, replace=True) as new:
        files.write_files({new / name: content for name, content in contents.items()})
    return tuple(folder / name for name in contents)


def _check_folder(run: Path, folder: Path) -> None:
    if paths.exists(folder) and not paths.is_folder(folder):
        raise FileError("this is a file, expected a folder", where=str(folder), fix="name a new folder")
    if paths.is_folder(folder) and paths.children(folder):
        raise FileError("the folder is not empty", where=str(folder), fix="name a new or an empty folder")
    if run.resolve() in [folder.resolve(), *folder.resolve().parents]:
        raise FileError("the folder lies inside the run", where=str(folder), fix="name one outside of it")
