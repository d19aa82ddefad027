"""Resume a run."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from convsmith.errors import ConvsmithError, RecipeError, RunError
from convsmith.models.prediction_check import with_prediction_check
from convsmith.models.teacher import TeacherModel, load_teacher, with_absolute_paths
from convsmith.modules.access import CodeAccess
from convsmith.modules.architecture import Architecture
from convsmith.recipes.origin import with_origin
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.reports.report import Result, read_result, write_report
from convsmith.runs.checkpoint import Checkpoint
from convsmith.runs.code import architecture_of_run
from convsmith.runs.conditions import changes_of, conditions_of
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import Change, DataRecord, Resumption, StartRecord, TeacherRecord
from convsmith.runs.session import changed_classes, run_data
from convsmith.runs.tensorboard import FOLDER, curves
from convsmith.runs.training import join_training, train_session
from convsmith.system import folders, paths
from convsmith.system.device import choose_device
from convsmith.text import plural
from convsmith.training.callbacks import Callback
from convsmith.training.config import Phase
from convsmith.training.process_group import ALONE, ProcessGroup, process_group
from convsmith.training.selection import stops_early
from convsmith.training.shares import check_processes
from convsmith.training.state import TrainerState

if TYPE_CHECKING:
    from torch import nn

# The fields that may differ from the checkpoint.
_LENGTH = {"train.epochs", "train.stop_after"}
_MAX_EPOCHS = 100_000


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    accept_changes: bool = False,
    callbacks: Sequence[Callback] = (),
    tensorboard: bool = False,
    trust_code: bool = False,
    module: "nn.Module | None" = None,
    data: object = None,
) -> Result:
    """Resume an interrupted run, or train a finished run for more epochs.

    On the same machine with the same number of threads, the weights equal those of an uninterrupted run; with
    several microbatches also on another number of threads and processes.

    Args:
        run: The run folder.
        epochs: Total number of epochs. The schedule is planned anew if this exceeds its length; the recipe of
            the run records where, in `train.phases`, so that training it again gives the same weights.
        accept_changes: Resume although recipe, data, machine or versions differ; the run records the changes.
        callbacks: Called after the callbacks that write the run folder.
        tensorboard: Write curves for TensorBoard, as runs that have such curves do in any case.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.
        data: The same data again, for a run that was trained on data in memory; without them the images are
            those that the cache keeps.

    Raises:
        MissingExtraError: The curves need TensorBoard, which is not installed.
        RunError: The run is missing, damaged or complete, or the conditions have changed.
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        FileError: Another process uses the folder.
        DivergedError: A loss is not finite.
        StoppedError: Ctrl-C, SIGTERM or a batch system's signal; a checkpoint is saved.
        ProcessError: Another process of the training has ended, or has other data or versions.
    """
    run, access = Path(run), CodeAccess(trust=trust_code, module=module)
    with process_group(_device_of(run)) as group, run_data(run, data):
        return resume_run(
            run,
            lambda folder, recipe: architecture_of_run(folder, recipe, access),
            access,
            epochs=epochs,
            accept_changes=accept_changes,
            callbacks=callbacks,
            tensorboard=tensorboard,
            group=group,
        )


def _device_of(run: Path) -> torch.device:
    """Return the device of a run, before it is verified; the CPU for a folder that is no run."""
    try:
        return choose_device(RunFolder(path=run).recipe().train.device)
    except ConvsmithError:
        return torch.device("cpu")


def resume_run(
    run: Path,
    find_architecture: Callable[[RunFolder, Recipe], Architecture],
    access: CodeAccess,
    *,
    epochs: int | None = None,
    accept_changes: bool = False,
    callbacks: Sequence[Callback] = (),
    tensorboard: bool = False,
    group: ProcessGroup = ALONE,
) -> Result:
    """Resume a run whose data is at hand.

    Args:
        run: The run folder.
        find_architecture: Returns the net of the run, of its folder and recipe.
        access: Whether code of a teacher may be run.
        epochs: As for `resume`, as are the others.
        accept_changes: Resume although recipe, data, machine or versions differ.
        callbacks: Called after the callbacks that write the run folder.
        tensorboard: Write curves for TensorBoard.
        group: The processes that share the training; the main one writes the run folder.
    """
    with (
        curves(enabled=group.is_main and (tensorboard or paths.is_folder(run / FOLDER))) as writers,
        RunFolder.lock(run) if group.is_main else nullcontext(),
    ):
        folder = RunFolder.open_to_resume(run)
        checkpoint = folder.load_checkpoint()
        edited = folder.recipe()
        recipe = _continued(folder, checkpoint, edited, epochs)
        check_processes(recipe.train, group.size)
        with group.one_first():
            session = Session.load(recipe, architecture=find_architecture(folder, recipe))
        folders.check_destination(run, session.space())
        teacher = load_teacher(session.recipe, session.data, access)
        learned = teacher.teacher if teacher else None
        with session.threads():
            # Its weights are in the checkpoint: the start itself is not needed again.
            start = folder.find(StartRecord) if recipe.train.start_from else None
            conditions = _conditions(session, teacher, start)
            changes = _changes(folder, session, checkpoint, conditions, start)
            unexpected = _unexpected(run, changes, recipe, accept_changes=accept_changes)
            group.check_equal(conditions)
            if not group.is_main:
                shared = join_training(session, group, teacher=learned, state=checkpoint.state)
                return read_result(shared, session)
            folder.reopen(_resumption(checkpoint.state, changes))
            _write_records(folder, session, teacher, unexpected, edited=recipe != edited)
            evaluation = train_session(
                folder,
                session,
                conditions=conditions,
                opening=[*_opening(changes, start), *group.lines()],
                callbacks=(*writers, *callbacks),
                teacher=learned,
                state=checkpoint.state,
                group=group,
            )
            result = write_report(folder, session, with_prediction_check(folder, session, evaluation))
            group.text_of_main(str(folder.path.absolute()))
            return result


def _continued(folder: RunFolder, checkpoint: Checkpoint, edited: Recipe, epochs: int | None) -> Recipe:
    """Return the recipe that a run goes on with; raise RunError if there is nothing to go on with."""
    recipe = with_phase(lengthened(edited, epochs), checkpoint, is_extended=epochs is not None)
    _check_length(folder, checkpoint.state, recipe)
    return recipe


def _conditions(session: Session, teacher: TeacherModel | None, start: StartRecord | None) -> dict[str, str]:
    return conditions_of(session, teacher.sha256 if teacher else None, start.sha256 if start else None)


def _changes(
    folder: RunFolder,
    session: Session,
    checkpoint: Checkpoint,
    conditions: Mapping[str, str],
    start: StartRecord | None,
) -> list[Change]:
    """Return what has changed since the checkpoint."""
    return [
        *changes_of(checkpoint.conditions, dict(conditions)),
        *_class_changes(folder, session),
        *_start_changes(start, session.recipe),
    ]


def _unexpected(
    run: Path, changes: Sequence[Change], recipe: Recipe, *, accept_changes: bool
) -> list[Change]:
    """Return the changes that are no extension; raise RunError for them unless they are accepted."""
    unexpected = [each for each in changes if not _is_extension(each, recipe)]
    if unexpected and not accept_changes:
        raise _changed(run, unexpected)
    return unexpected


def _write_records(
    folder: RunFolder,
    session: Session,
    teacher: TeacherModel | None,
    changes: Sequence[Change],
    *,
    edited: bool,
) -> None:
    """Write the records of what may differ from the run as it was."""
    if edited:
        folder.write_recipe(with_absolute_paths(session.resolved_recipe))
    if any(each.field.startswith("data.") for each in changes):
        folder.write(DataRecord.of(session.data, session.recipe.data))
    folder.remove(TeacherRecord)
    if teacher is not None:
        folder.write(teacher.record())


def lengthened(recipe: Recipe, epochs: int | None) -> Recipe:
    """Return the recipe with another total number of epochs.

    Up to the length of the schedule, the training stops early; above it, the schedule is extended.

    Raises:
        RecipeError: The number is out of range.

    Example:
        >>> from convsmith.recipes.loader import load
        >>> recipe = lengthened(load("digits", ["train.stop_after=10"]), 20)
        >>> recipe.train.epochs, recipe.train.stop_after
        (30, 20)
        >>> recipe = lengthened(recipe, 40)
        >>> recipe.train.epochs, recipe.train.stop_after
        (40, None)
    """
    if epochs is None:
        return recipe
    if not 1 <= epochs <= _MAX_EPOCHS:
        raise RecipeError(
            f"found {epochs:,}, expected 1 to {_MAX_EPOCHS:,}", where="--epochs", fix="name fewer epochs"
        )
    planned = max(epochs, recipe.train.epochs)
    length = {"epochs": planned, "stop_after": epochs if epochs < planned else None}
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update=length)})
    return with_origin(longer, recipe)


def with_phase(recipe: Recipe, checkpoint: Checkpoint, *, is_extended: bool = False) -> Recipe:
    """Return the recipe of a resumed run with the phase that ends now, if its schedule is planned anew.

    The recipe then reproduces the run: its schedule changes where that of the run does. A training that was
    stopped early and is extended has a phase too, with which its patience begins anew.
    """
    state, planned = checkpoint.state, int(checkpoint.conditions.get("train.epochs", recipe.train.epochs))
    done = {"epochs": len(state.history), "batches": state.progress.step}
    goes_on = is_extended and not state.progress.step and stops_early(state.history, recipe.train)
    if (planned == recipe.train.epochs and not goes_on) or not any(done.values()):
        return recipe
    phase, phases = Phase(planned=planned, **done), recipe.train.phases or ()
    # A resumption that stopped before its first checkpoint has written the phase already.
    phases = phases if phases[-1:] == (phase,) else (*phases, phase)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"phases": phases})})


def _is_extension(change: Change, recipe: Recipe) -> bool:
    """Whether a change is one of the length, or the phase that records it."""
    last = len(recipe.train.phases or ()) - 1
    is_phase = change.field.startswith(f"train.phases.{last}.") and change.before == "nothing"
    return change.field in _LENGTH or is_phase


def _check_length(folder: RunFolder, state: TrainerState, recipe: Recipe) -> None:
    done, requested = len(state.history), recipe.train.epochs_run
    started = done + bool(state.progress.step)
    if requested < started:
        raise RunError(
            f"{plural(started, 'epoch')} done or begun, asked for {requested}",
            where=str(folder.path),
            fix=f"ask for more with --epochs {2 * started}",
        )
    is_stopped = not state.progress.step and stops_early(state.history, recipe.train)
    if folder.is_finished and (requested == done or is_stopped):
        early = "stopped early after " if requested > done else ""
        raise RunError(
            f"already complete: {early}{plural(done, 'epoch')} of {requested}",
            where=str(folder.path),
            fix=f"train on with --epochs {max(2 * done, requested)}",
        )


def _class_changes(folder: RunFolder, session: Session) -> list[Change]:
    """Return the class names that differ from those of the run's record."""
    before, now = folder.read(DataRecord).class_names, session.data.class_names
    if not changed_classes(before, now):
        return []
    return [Change(field="data.class_names", before=json.dumps(before), now=json.dumps(now))]


def _start_changes(start: StartRecord | None, recipe: Recipe) -> list[Change]:
    """Return the change of the place of the start, whose weights have been in the run since its beginning."""
    before, now = start.place if start else None, recipe.train.start_from
    if before == now:
        return []
    fields = {"before": json.dumps(before) if before else "nothing", "now": json.dumps(now)}
    return [Change(field="train.start_from", **fields)]


def _opening(changes: Sequence[Change], start: StartRecord | None) -> list[str]:
    came_from = [f"Start: {start.sentence}; its weights are in the checkpoint"] if start else []
    return ["", *came_from, *(f"Changed: {each.line()}" for each in changes)]


def _changed(run: Path, changes: Sequence[Change]) -> RunError:
    return RunError(
        "the recipe or the environment has changed since the checkpoint, so the weights may differ",
        where=str(run),
        context="\n".join(each.line() for each in changes),
        fix="restore it, or resume anyway with --accept-changes, which is recorded",
    )


def _resumption(state: TrainerState, changes: Sequence[Change]) -> Resumption:
    return Resumption(
        time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        epochs_done=len(state.history),
        batches_done=state.progress.step,
        changes=tuple(changes),
    )
