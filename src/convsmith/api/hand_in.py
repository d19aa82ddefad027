"""Write runs as the repository that an assignment asks for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from convsmith.briefs.hand_in import HandInVerdicts, judge_all
from convsmith.briefs.loader import load_brief
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.errors import RunError
from convsmith.exporters.hand_in.files import code_files, other_files, trained_nets
from convsmith.exporters.hand_in.nets import Nets, nets_of
from convsmith.exporters.hand_in.steps import LAST_EPOCHS, HandInPage, Step, check_steps
from convsmith.exporters.project.destination import check_folder, tidy_notebook_name
from convsmith.exporters.project.execution import execute as execute_notebook
from convsmith.exporters.project.image_arrays import data_place
from convsmith.exporters.project.verification import check_nets
from convsmith.models.run_model import RunModel
from convsmith.modules.access import CodeAccess
from convsmith.modules.architecture import architecture_of
from convsmith.modules.config import ModuleConfig
from convsmith.net.analysis import Analysis
from convsmith.recipes.fit import subject_of
from convsmith.runs.session import run_data
from convsmith.system import files, folders
from convsmith.system.progress import waiting

NOTEBOOK = "notebook.ipynb"


@dataclass(frozen=True, kw_only=True)
class HandIn:
    """A repository that was written.

    Attributes:
        files: The paths of its files.
        verdicts: The checks of the brief, on the nets as they stand in the repository.
    """

    files: tuple[Path, ...]
    verdicts: HandInVerdicts


def hand_in(
    runs: Sequence[str | Path],
    folder: str | Path,
    *,
    brief: str | Brief | None = None,
    notebook: str = NOTEBOOK,
    execute: bool = True,
    data: object = None,
    trust_code: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> HandIn:
    """Write finished runs as the repository that an assignment asks for, a model for each step.

    It has `Model_1` to `Model_n` in one `model.py`, `utils.py`, `main.py`, a notebook with all steps, a
    README with target, result and analysis of each, receptive fields, joint graphs, misclassified images with
    class-activation maps, logs and weights. Target and analysis are those in `[notes]` of the recipes; the
    result is that of the run. It does not need convsmith. The nets that were written are judged by the brief,
    and compared with those of the runs in a process without convsmith.

    Args:
        runs: The run folders in the order of the steps; they are not modified.
        folder: New or empty.
        brief: A brief, or its name or file; by default that of the last run's recipe.
        notebook: The file name of the notebook, such as S7.ipynb.
        execute: Whether to run the notebook, which needs the packages of `convsmith[notebook]`.
        data: For runs that were trained on data in memory: the same data again.
        trust_code: Whether to run the code of runs whose nets are modules.
        log: Takes a sentence for each note that is missing, and if the notebook has no outputs or scores
            that differ from those of the runs.

    Raises:
        FileError: The folder is not empty, lies inside a run, or is not writable; or the name of the notebook
            is messy.
        RecipeError: The brief is unknown or invalid.
        UntrustedCodeError: A net is a module, and its code may not be run.
        RunError: A run is missing, damaged, not finished or named twice; the runs are of different data; or
            the code of a net does not run in the repository.
        DataError: The data set is unavailable.

    Example:
        >>> import convsmith as cs
        >>> cs.hand_in(["runs/step-1", "runs/step-2"], "S7", brief="course-a4-mnist-8k")
        Traceback (most recent call last):
        convsmith.errors.RunError: error[E050]: runs/step-1: no such run folder
          fix: `convsmith train` makes one in runs/
    """
    paths, folder = [Path(run) for run in runs], Path(folder)
    if not paths:
        raise RunError("no run to hand in", fix="name the runs in the order of the steps")
    name = tidy_notebook_name(notebook)
    check_folder(folder, paths)
    models = [RunModel(path, access=CodeAccess(trust=trust_code)) for path in paths]
    check_steps(models)
    rules = load_brief(brief) if isinstance(brief, str) else brief or models[-1].recipe.brief
    nets = nets_of(models)
    steps = tuple(Step.of(model, number) for number, model in enumerate(models, start=1))
    for missing in (sentence for step in steps for sentence in step.missing_notes()):
        log(missing)
    with folders.atomic_folder(folder, replace=True) as new:
        contents = code_files(steps, nets)
        files.write_files({new / path: content for path, content in contents.items()})
        # First: code that does not run cannot be analyzed either.
        with waiting("Checking the code of the nets"):
            check_nets(trained_nets(steps, nets), new)
        page = _page(steps, rules, _analyses(new, steps, nets))
        with run_data(paths[0], data):
            others = other_files(page, nets, name)
        files.write_files({new / path: content for path, content in others.items()})
        if execute:
            _execute(new / name, steps, log)
    return HandIn(files=tuple(folder / path for path in [*contents, *others]), verdicts=page.verdicts)


def _analyses(folder: Path, steps: Sequence[Step], nets: Nets) -> list[Analysis]:
    """Analyze the nets as they stand in model.py."""
    configs = [
        ModuleConfig(module=f"model.py:{step.name}", outputs=code.outputs)
        for step, code in zip(steps, nets.codes, strict=True)
    ]
    return [
        architecture_of(config, root=folder).analyze(step.model.data.image_shape)
        for config, step in zip(configs, steps, strict=True)
    ]


def _page(steps: tuple[Step, ...], brief: Brief, analyses: Sequence[Analysis]) -> HandInPage:
    last = brief.each_of_last or LAST_EPOCHS
    subjects: dict[str, Subject] = {}
    for step, analysis in zip(steps, analyses, strict=True):
        subject = subject_of(step.recipe, analysis, step.model.test_metrics)
        notes = {**step.notes.model_dump(), "result": step.result(last)}
        subjects[step.name] = replace(subject, notes=notes)
    recipe = steps[-1].recipe
    title = brief.description or recipe.description or recipe.name
    return HandInPage(title=title, steps=steps, verdicts=judge_all(brief, subjects), last_epochs=last)


def _execute(notebook: Path, steps: Sequence[Step], log: Callable[[str], None]) -> None:
    tests = [step.results.test for step in steps]
    data = data_place(steps[0].recipe.data)
    with waiting("Running the notebook"):
        note = execute_notebook(notebook, data, [(test.correct, test.total) for test in tests])
    if note:
        log(note)
