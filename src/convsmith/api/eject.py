"""Eject a run as a plain PyTorch project."""

from collections.abc import Callable
from pathlib import Path

from convsmith.evaluation.schema import Results
from convsmith.exporters.project.code import WEIGHTS
from convsmith.exporters.project.destination import check_folder, notebook_name
from convsmith.exporters.project.execution import execute as execute_notebook
from convsmith.exporters.project.image_arrays import data_place
from convsmith.exporters.project.project import net_code, project_files
from convsmith.exporters.project.verification import TrainedNet, check_nets
from convsmith.models.run_model import RunModel
from convsmith.modules.access import CodeAccess
from convsmith.runs.session import run_data
from convsmith.system import files, folders
from convsmith.system.progress import waiting


def eject(
    run: str | Path,
    folder: str | Path,
    *,
    notebook: str | None = None,
    execute: bool = True,
    data: object = None,
    trust_code: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[Path, ...]:
    """Write a finished run as a plain project: code, weights, log, plots, notebook and README.

    The project does not need convsmith; it trains and tests with PyTorch and albumentations. Its notebook is
    run once, with the run's weights and data, without a training.

    Args:
        run: The run folder, which is not modified.
        folder: New or empty.
        notebook: The file name of the notebook; by default the name of the run.
        execute: Whether to run the notebook, which needs the packages of `convsmith[notebook]`.
        data: For a run that was trained on data in memory: the same data again.
        trust_code: Whether to run the code of a run whose net is a module.
        log: Takes a sentence if the notebook has no outputs, or if its score is not that of the run.

    Returns:
        The paths of the files.

    Raises:
        FileError: The folder is not empty, lies inside the run, or is not writable; or the name of the
            notebook is no file name.
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        RunError: The run is missing, damaged or not finished, its data set has changed, or the code of its
            net does not run in the project.
        DataError: The data set is unavailable.
    """
    run, folder = Path(run), Path(folder)
    check_folder(folder, [run])
    model = RunModel(run, access=CodeAccess(trust=trust_code))
    name = notebook_name(f"{model.recipe.name}.ipynb" if notebook is None else notebook)
    net = net_code(model)
    with run_data(run, data):
        contents = project_files(model, net, name)
    with folders.atomic_folder(folder, replace=True) as new:
        files.write_files({new / name: content for name, content in contents.items()})
        if net.plan is None:
            with waiting("Checking the code of the net"):
                check_nets([TrainedNet(net, model.net(), WEIGHTS, str(run))], new)
        if execute:
            test = model.folder.read(Results).test
            place = data_place(model.recipe.data)
            with waiting("Running the notebook of the project"):
                note = execute_notebook(new / name, place, [(test.correct, test.total)])
            if note:
                log(note)
    return tuple(folder / name for name in contents)
