"""Train a session into its run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from convsmith.errors import DivergedError, OutOfMemoryError, StoppedError
from convsmith.recipes.session import Session
from convsmith.runs.code import resume_command
from convsmith.runs.evaluation import Evaluation, evaluate_run
from convsmith.runs.folder import RunFolder
from convsmith.runs.log import BatchProgress, LogFile, LogWriter
from convsmith.runs.writer import RunWriter
from convsmith.system.signals import stop_on_signals
from convsmith.training.callbacks import Callback, CallbackList
from convsmith.training.distillation import Teacher
from convsmith.training.process_group import ALONE, ProcessGroup
from convsmith.training.profiler import Profile
from convsmith.training.state import TrainerState


def train_session(
    folder: RunFolder,
    session: Session,
    *,
    conditions: Mapping[str, str],
    opening: Sequence[str],
    callbacks: Sequence[Callback] = (),
    teacher: Teacher | None = None,
    profile: Profile | None = None,
    state: TrainerState | None = None,
    group: ProcessGroup = ALONE,
) -> Evaluation:
    """Train a session into its run folder, and evaluate the weights.

    Args:
        folder: The run folder, with its recipe and its records.
        session: The recipe and its data, within its `threads()`.
        conditions: From `conditions_of`; the checkpoints carry them.
        opening: The first lines of the log.
        callbacks: Called after those that write the run folder and the log.
        teacher: The teacher that the recipe names.
        profile: Collects the time of each phase.
        state: The checkpoint to resume from.
        group: The processes that share the training; the others call `join_training`.
    """
    log = LogFile(folder)
    shown = any(each.shows_progress for each in callbacks)
    writer = RunWriter(folder, conditions, keeps_best=session.recipe.train.keeps_best)
    callback = CallbackList((writer, LogWriter(log), *callbacks, *(() if shown else (BatchProgress(),))))
    callback.on_run_start(folder.path, opening)
    try:
        with stop_on_signals() as stop:
            history = session.fit(
                session.build_net(),
                teacher=teacher,
                callbacks=[callback],
                profile=profile,
                state=state,
                stop=stop,
                group=group,
            )
    except (DivergedError, OutOfMemoryError) as error:
        log(str(error))
        raise
    except StoppedError as error:
        command = f"{resume_command(folder.path, session.recipe)} goes on from there"
        error.problems = tuple(replace(problem, fix=command) for problem in error.problems)
        log(str(error))
        raise
    callback.on_train_end(sum(metrics.seconds for metrics in history))
    if profile is not None:
        folder.write_profile(profile.table())
    evaluation = evaluate_run(folder, session)
    for line in evaluation.lines():
        log(line)
    return evaluation


def join_training(
    session: Session,
    group: ProcessGroup,
    *,
    teacher: Teacher | None = None,
    state: TrainerState | None = None,
) -> RunFolder:
    """Compute this process's share of a training, and return the run folder that the main process wrote.

    Args:
        session: The recipe and its data, within its `threads()`.
        group: The processes that share the training.
        teacher: The teacher that the recipe names.
        state: The checkpoint to resume from.

    Raises:
        ProcessError: Another process has ended.
        RunError: The run folder is not on a disk that this process can read.
    """
    with stop_on_signals() as stop:
        session.fit(session.build_net(), teacher=teacher, state=state, stop=stop, group=group)
    # After the evaluation and the report.
    return RunFolder.open(Path(group.text_of_main("")))
