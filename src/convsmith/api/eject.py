"""Eject a run as a plain PyTorch project."""

from collections.abc import Callable
from pathlib import Path, PurePath

from convsmith.data.sources import find_source
from convsmith.errors import FileError, RecipeError, suggest
from convsmith.evaluation.schema import Results
from convsmith.exporters.project.execution import execute as execute_notebook
from convsmith.exporters.project.net_code import LAYOUTS, Layout
from convsmith.exporters.project.project import net_code, project_files
from convsmith.exporters.project.verification import check_net
from convsmith.models.run_model import RunModel
from convsmith.modules.access import CodeAccess
from convsmith.system import files, folders, paths
from convsmith.system.progress import waiting

# File systems allow 255 bytes; a character takes up to four.
_MAX_NAME = 63


def eject(
    run: str | Path,
    folder: str | Path,
    *,
    layout: Layout = "package",
    notebook: str | None = None,
    execute: bool = True,
    trust_code: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[Path, ...]:
    """Write a finished run as a plain project: code, weights, log, plots, notebook and README.

    The project does not need convsmith; it trains and tests with PyTorch and albumentations. Its notebook is
    run once, with the run's weights and data, without a training.

    Args:
        run: The run folder, which is not modified.
        folder: New or empty.
        layout: "package" has the folders `model/` and `utils/`, "flat" the files `model.py` and `utils.py`.
        notebook: The file name of the notebook; by default the name of the run.
        execute: Whether to run the notebook, which needs the packages of `convsmith[notebook]`.
        trust_code: Whether to run the code of a run whose net is a module.
        log: Takes a sentence if the notebook has no outputs, or if its score is not that of the run.

    Returns:
        The paths of the files.

    Raises:
        FileError: The folder is not empty, lies inside the run, or is not writable; or the name of the
            notebook is no file name.
        RecipeError: The layout is unknown.
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        RunError: The run is missing, damaged or not finished, its data set has changed, or the code of its
            net does not run in the project.
        DataError: The data set is unavailable.
    """
    run, folder = Path(run), Path(folder)
    if layout not in LAYOUTS:
        raise RecipeError(f"unknown layout {layout!r}", where="layout", fix=suggest(layout, LAYOUTS))
    _check_folder(run, folder)
    model = RunModel(run, access=CodeAccess(trust=trust_code))
    name = _notebook_name(f"{model.recipe.name}.ipynb" if notebook is None else notebook)
    net = net_code(model, layout)
    contents = project_files(model, net, layout, name)
    with folders.atomic_folder(folder, replace=True) as new:
        files.write_files({new / name: content for name, content in contents.items()})
        if net.plan is None:
            with waiting("Checking the code of the net"):
                check_net(net, model.net(), new, layout, where=str(run))
        if execute:
            test = model.folder.read(Results).test
            data = find_source(model.recipe.data).location
            with waiting("Running the notebook of the project"):
                note = execute_notebook(new / name, data, (test.correct, test.total))
            if note:
                log(note)
    return tuple(folder / name for name in contents)


def _notebook_name(name: str) -> str:
    name = name if name.endswith(".ipynb") else f"{name}.ipynb"
    if PurePath(name).name != name or not name.isprintable() or name == ".ipynb" or len(name) > _MAX_NAME:
        fix = "name a file without a folder, for example S5.ipynb"
        raise FileError("not the name of a notebook", where=name, fix=fix)
    return name


def _check_folder(run: Path, folder: Path) -> None:
    if paths.exists(folder) and not paths.is_folder(folder):
        raise FileError("this is a file, expected a folder", where=str(folder), fix="name a new folder")
    if paths.is_folder(folder) and paths.children(folder):
        raise FileError("the folder is not empty", where=str(folder), fix="name a new or an empty folder")
    if run.resolve() in [folder.resolve(), *folder.resolve().parents]:
        raise FileError("the folder lies inside the run", where=str(folder), fix="name one outside of it")
