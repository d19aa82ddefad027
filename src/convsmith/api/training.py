"""Training a prepared recipe into a run's folder, from its beginning or from where it stopped."""

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convsmith.api.evaluation import finish
from convsmith.errors import DivergedError, OutOfMemoryError, RecipeError, RunError, StoppedError
from convsmith.models.teacher import KnownTeacher, teacher_of
from convsmith.net.module import build
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session, prepare
from convsmith.reports.report import Result
from convsmith.runs.folder import RunFolder
from convsmith.runs.log import LogFile, LogWriter, RunWriter
from convsmith.runs.schema import Change, DataRecord, Environment, Resumption, TeacherRecord
from convsmith.system import files, folders, locks
from convsmith.system.rng import new_generator
from convsmith.system.signals import stop_on_signals
from convsmith.training.callbacks import Callback, CallbackList
from convsmith.training.profiler import Profile
from convsmith.training.state import TrainerState
from convsmith.training.trainer import fit

# How long a training is, which may change between two parts of it: the rest must be as it was.
_LENGTH = ("train.epochs", "train.stop_after")
_MOST_EPOCHS = 100_000


def train_new(
    prepared: Session, runs: Path, callbacks: Sequence[Callback] = (), profile: Profile | None = None
) -> Result:
    """Train a recipe from its beginning, into a new folder in `runs`."""
    recipe, teacher = prepared.recipe, teacher_of(prepared.recipe, prepared.data)
    folders.check_destination(runs, prepared.space())
    with prepared.threads():
        folder = RunFolder.create(runs, recipe.name)
        with locks.lock_folder(folder.path):
            folder.write_start(
                recipe=recipe.table(),
                environment=Environment.current(),
                data=DataRecord.of(prepared.data, recipe.data),
                summary=prepared.summary(),
            )
            opening = prepared.opening(*(teacher.lines() if teacher else ()))
            return _train(
                folder, prepared, teacher=teacher, callbacks=callbacks, profile=profile, opening=opening
            )


def resume(
    run: Path, *, epochs: int | None, accept_changes: bool, callbacks: Sequence[Callback] = ()
) -> Result:
    """Go on with a run from the state in its folder; the verb of the same name tells the rest."""
    with RunFolder.held(run):
        folder = RunFolder.open_to_resume(run)
        checkpoint = folder.load_checkpoint()
        edited = load(str(run / "recipe.toml"))
        recipe = lengthened(edited, epochs)
        _check_length(folder, checkpoint.state, recipe)
        prepared = prepare(recipe)
        folders.check_destination(run, prepared.space())
        teacher = teacher_of(prepared.recipe, prepared.data)
        with prepared.threads():
            changes = changes_of(checkpoint.conditions, conditions_of(prepared, teacher))
            unexpected = [each for each in changes if each.field not in _LENGTH]
            if unexpected and not accept_changes:
                raise RunError(
                    "not all is as it was when the state was saved, so the weights may come out differently",
                    where=str(run),
                    context="\n".join(each.line() for each in unexpected),
                    fix="set it back, or go on all the same with --accept-changes, which is recorded",
                )
            folder.reopen(_resumption(checkpoint.state, changes))
            if recipe != edited:
                files.write_toml(folder.path / "recipe.toml", prepared.recipe.table())
            if any(each.field.startswith("data.") for each in unexpected):
                folder.write(DataRecord.of(prepared.data, prepared.recipe.data))
            opening = ["", *(f"Changed: {each.line()}" for each in changes)]
            return _train(
                folder,
                prepared,
                teacher=teacher,
                callbacks=callbacks,
                state=checkpoint.state,
                opening=opening,
            )


def lengthened(recipe: Recipe, epochs: int | None) -> Recipe:
    """A recipe that trains for so many epochs in all.

    Up to the number that its schedule is planned for, the schedule stays; above it, it is planned anew.

    Raises:
        RecipeError: The number is out of range.

    Example:
        >>> recipe = lengthened(load("digits", ["train.stop_after=10"]), 20)
        >>> recipe.train.epochs, recipe.train.stop_after
        (30, 20)
        >>> recipe = lengthened(recipe, 40)
        >>> recipe.train.epochs, recipe.train.stop_after
        (40, None)
    """
    if epochs is None:
        return recipe
    if not 1 <= epochs <= _MOST_EPOCHS:
        raise RecipeError(f"found {epochs}, expected 1 to {_MOST_EPOCHS:,}", where="--epochs")
    planned = max(epochs, recipe.train.epochs)
    length = {"epochs": planned, "stop_after": epochs if epochs < planned else None}
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=length)})


def conditions_of(prepared: Session, teacher: KnownTeacher | None = None) -> dict[str, str]:
    """What a training depends on beside its state, by field: recipe, data, teacher, machine, versions.

    Args:
        prepared: Within its `threads()`, whose number counts.
        teacher: The one that the recipe names.
    """
    table = prepared.recipe.table()
    # Where images and teacher come from does not matter, nor where they are kept: what they are does.
    unimportant = {"source", "keep_in", "skip_damaged"}
    asked = {key: value for key, value in table["data"].items() if key not in unimportant}
    images = prepared.data.split_fingerprints()
    machine = Environment.current()
    fields = {
        **{key: table[key] for key in ("seed", "model", "augment")},
        "train": {key: value for key, value in table["train"].items() if key != "teacher"},
        **({"teacher": {"sha256": teacher.sha256}} if teacher else {}),
        "data": {**asked, "fingerprint": {"all": prepared.data.fingerprint, **images}},
        "machine": machine.model_dump(include={"python", "processor", "torch_threads", "device", "packages"}),
    }
    return dict(_flat("", fields))


def changes_of(before: dict[str, str], now: dict[str, str]) -> list[Change]:
    """The fields that differ, in their order.

    >>> [change.line() for change in changes_of({"seed": "1", "a": "2"}, {"seed": "3", "a": "2", "b": "4"})]
    ['seed: was 1, is 3', 'b: was nothing, is 4']
    """
    return [
        Change(field=field, before=before.get(field, "nothing"), now=now.get(field, "nothing"))
        for field in dict.fromkeys([*before, *now])
        if before.get(field) != now.get(field)
    ]


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), each)
    else:
        yield prefix, json.dumps(value, ensure_ascii=False)


def _check_length(folder: RunFolder, state: TrainerState, recipe: Recipe) -> None:
    done, wanted = len(state.history), recipe.train.epochs_run
    begun = done + bool(state.progress.step)
    if wanted < begun:
        raise RunError(
            f"{begun} epochs are done or begun, asked for {wanted}",
            where=str(folder.path),
            fix=f"ask for more with --epochs {2 * begun}",
        )
    if wanted == done and folder.is_finished:
        raise RunError(
            f"already complete: {done} of {done} epochs are done",
            where=str(folder.path),
            fix=f"train on with --epochs {2 * done}",
        )


def _resumption(state: TrainerState, changes: list[Change]) -> Resumption:
    return Resumption(
        time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        epochs_done=len(state.history),
        batches_done=state.progress.step,
        changes=tuple(changes),
    )


def _train(
    folder: RunFolder,
    prepared: Session,
    *,
    callbacks: Sequence[Callback],
    opening: Sequence[str],
    teacher: KnownTeacher | None = None,
    profile: Profile | None = None,
    state: TrainerState | None = None,
) -> Result:
    recipe = prepared.recipe
    net = build(prepared.analysis.plan, generator=new_generator(recipe.seed))
    log = LogFile(folder)
    folder.remove(TeacherRecord)
    if teacher is not None:
        folder.write(teacher.record())
    watching = CallbackList((RunWriter(folder, conditions_of(prepared, teacher)), LogWriter(log), *callbacks))
    watching.on_run_start(folder.path, opening)
    began = time.perf_counter() - (state.seconds if state else 0.0)
    try:
        with stop_on_signals() as stop:
            fit(
                net,
                prepared.data,
                recipe.train,
                recipe.augment,
                seed=recipe.seed,
                teacher=teacher.teacher if teacher else None,
                callbacks=[watching],
                profile=profile,
                state=state,
                stop=stop,
            )
    except (DivergedError, OutOfMemoryError) as error:
        log(str(error))
        raise
    except StoppedError as error:
        command = f"`convsmith resume {shlex.quote(str(folder.path))}` goes on from there"
        error.problems = tuple(replace(problem, fix=command) for problem in error.problems)
        log(str(error))
        raise
    watching.on_train_end(time.perf_counter() - began)
    if profile is not None:
        folder.write_profile(profile.table())
    return finish(folder, prepared, log)
