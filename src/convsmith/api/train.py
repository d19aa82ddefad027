"""Train a recipe."""

from collections.abc import Sequence
from pathlib import Path

from convsmith.models.teacher import KnownTeacher, teacher_of
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session, prepare
from convsmith.reports.report import Result, write_report
from convsmith.runs.conditions import conditions_of
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import DataRecord, Environment
from convsmith.runs.tensorboard import curves
from convsmith.runs.training import train_session
from convsmith.system import folders, locks
from convsmith.training.callbacks import Callback
from convsmith.training.profiler import Profile


def train(
    recipe: Recipe,
    *,
    runs: Path = Path("runs"),
    callbacks: Sequence[Callback] = (),
    profile: Profile | None = None,
    tensorboard: bool = False,
) -> Result:
    """Train a recipe, evaluate it, and leave a run folder with report, pictures, weights and log.

    Args:
        recipe: From `load_recipe`.
        runs: The folder that the run's folder is made in, as `<recipe>-<number>`.
        callbacks: Told of every batch and epoch, beside the run folder's own.
        profile: Collects where the time goes, which profile.txt in the folder then says.
        tensorboard: Also write curves for TensorBoard, into `tensorboard/` of the folder.

    Raises:
        MissingExtraError: TensorBoard is not installed, and its curves are asked for.
        RecipeError: The net does not fit the data.
        DataError: The data set cannot be found or read.
        FileError: The folder cannot be written to, or its disk has not enough space.
        DivergedError: A loss is not finite.
        OutOfMemoryError: A batch does not fit; the error names a size to try.
        StoppedError: Ctrl-C or SIGTERM; the state is saved, and `resume` goes on from it.
    """
    # Before the data is read, which can take minutes.
    folders.check_destination(runs)
    with curves(enabled=tensorboard) as writers:
        session = prepare(recipe)
        teacher = teacher_of(session.recipe, session.data)
        folders.check_destination(runs, session.space())
        with session.threads():
            folder = RunFolder.create(runs, recipe.name)
            with locks.lock_folder(folder.path):
                _write_records(folder, session, teacher)
                evaluation = train_session(
                    folder,
                    session,
                    conditions=conditions_of(session, teacher.sha256 if teacher else None),
                    opening=session.opening(*(teacher.lines() if teacher else ())),
                    callbacks=(*writers, *callbacks),
                    teacher=teacher.teacher if teacher else None,
                    profile=profile,
                )
                return write_report(folder, session, evaluation)


def _write_records(folder: RunFolder, session: Session, teacher: KnownTeacher | None) -> None:
    folder.write_start(
        recipe=session.recipe.table(),
        environment=Environment.current(),
        data=DataRecord.of(session.data, session.recipe.data),
        summary=session.summary(),
    )
    if teacher is not None:
        folder.write(teacher.record())
