"""Train a recipe."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.models.prediction_check import with_prediction_check
from convsmith.models.start import FineTuning, with_start
from convsmith.models.teacher import TeacherModel, load_teacher, with_absolute_paths
from convsmith.modules.access import CodeAccess
from convsmith.modules.architecture import architecture_of
from convsmith.recipes.in_memory import with_data
from convsmith.recipes.instance import with_instance
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.reports.report import Result, read_result, write_report
from convsmith.runs.code import write_code
from convsmith.runs.conditions import conditions_of
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import DataRecord, Environment
from convsmith.runs.tensorboard import curves
from convsmith.runs.training import join_training, train_session
from convsmith.system import folders, locks
from convsmith.system.device import choose_device
from convsmith.training.callbacks import Callback
from convsmith.training.process_group import ALONE, ProcessGroup, process_group
from convsmith.training.profiler import Profile
from convsmith.training.shares import check_processes

if TYPE_CHECKING:
    from torch import nn


def train(
    recipe: Recipe,
    *,
    module: "nn.Module | None" = None,
    data: object = None,
    runs: str | Path = "runs",
    callbacks: Sequence[Callback] = (),
    profile: Profile | None = None,
    tensorboard: bool = False,
    refresh: bool = False,
    trust_code: bool = False,
) -> Result:
    """Train and evaluate a recipe, and write a run folder with weights, log, metrics, plots and report.

    Processes that `torchrun` started share the training: each calls this function with the same arguments.
    The one with rank 0 writes the run folder and calls the callbacks; all return the result.

    Args:
        recipe: From `load_recipe`. `train.start_from` names weights to begin with: a run, a bundle, a model
            of the zoo or a file.
        module: An instance to train instead of the recipe's net: a copy, from its weights as they are.
        data: Data in memory instead of the recipe's source: `(images, labels)` as arrays, tensors or lists,
            images `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)`; two such pairs for training and test set; a
            dict of pairs by "train", "validation" and "test"; a Hugging Face `Dataset` or `DatasetDict`; a
            torch `Dataset` of images and integers. A text is a `data.source`.
        runs: The parent folder; the run folder is `<recipe>-<number>` in it.
        callbacks: Called after the callbacks that write the run folder.
        profile: Collects the time of each phase; the run folder then has a profile.txt.
        tensorboard: Write curves for TensorBoard into `tensorboard/` of the run folder.
        refresh: Decode the images again, even if the cache has them.
        trust_code: Whether to run the code of a teacher whose net is a module.

    Raises:
        MissingExtraError: `tensorboard` is set, but TensorBoard is not installed.
        RecipeError: The network does not fit the data.
        ModuleError: The module cannot be loaded, or trained as a classifier of the images; or the weights to
            start from are those of another net.
        DataError: The data set does not exist or is unreadable.
        FileError: The folder is not writable, or its disk has too little space.
        DivergedError: A loss is not finite.
        OutOfMemoryError: A batch does not fit into memory; the error suggests a batch size.
        StoppedError: Ctrl-C, SIGTERM or a batch system's signal; `resume` continues from the checkpoint.
        ProcessError: Another process of the training has ended, or has other data or versions.

    Example:
        >>> import convsmith as cs
        >>> recipe = cs.load_recipe("digits", "train.epochs=2")
        >>> result = cs.train(recipe)  # doctest: +SKIP
        >>> result.test.accuracy  # doctest: +SKIP
        0.86
    """
    # Before the data is read, which can take minutes.
    recipe.check_trainable()
    runs = Path(runs)
    folders.check_destination(runs)
    device = choose_device(recipe.train.device)
    if module is not None:
        recipe = with_instance(recipe, module)
    with (
        process_group(device) as group,
        curves(enabled=tensorboard and group.is_main) as writers,
        with_data(recipe, data) as complete,
    ):
        check_processes(complete.train, group.size)
        architecture = architecture_of(complete.model, module)
        with group.one_first():
            session = Session.load(complete, architecture=architecture, refresh=refresh)
        return train_run(
            session,
            runs,
            lambda: RunFolder.create(runs, recipe.name),
            is_instance=module is not None,
            callbacks=(*writers, *callbacks),
            profile=profile,
            trust_code=trust_code,
            group=group,
        )


def train_run(
    session: Session,
    parent: Path,
    create: Callable[[], RunFolder],
    *,
    is_instance: bool = False,
    callbacks: Sequence[Callback] = (),
    profile: Profile | None = None,
    trust_code: bool = False,
    group: ProcessGroup = ALONE,
) -> Result:
    """Train and evaluate a session, and write its run folder.

    Args:
        session: The recipe with its data, without the weights that it starts from.
        parent: Of the run folder, which must have room for it.
        create: Makes the run folder.
        is_instance: Whether the net is an instance that the user passed.
        callbacks: As for `train`, as are the others.
        profile: Collects the time of each phase.
        trust_code: Whether to run the code of a teacher whose net is a module.
        group: The processes that share the training; the main one writes the run folder.
    """
    tuning = with_start(session)
    session = tuning.session if tuning else session
    teacher = load_teacher(session.recipe, session.data, CodeAccess(trust=trust_code))
    learned = teacher.teacher if teacher else None
    with session.threads():
        conditions = conditions_of(
            session, teacher.sha256 if teacher else None, tuning.record.sha256 if tuning else None
        )
        group.check_equal(conditions)
        if not group.is_main:
            return read_result(join_training(session, group, teacher=learned), session)
        folders.check_destination(parent, session.space())
        folder = create()
        with locks.lock_folder(folder.path):
            _write_records(folder, session, teacher, tuning)
            write_code(folder, session.architecture, is_instance=is_instance)
            evaluation = train_session(
                folder,
                session,
                conditions=conditions,
                opening=session.describe(
                    *group.lines(),
                    *(tuning.lines() if tuning else ()),
                    *(teacher.lines() if teacher else ()),
                ),
                callbacks=callbacks,
                teacher=learned,
                profile=profile,
                group=group,
            )
            result = write_report(folder, session, with_prediction_check(folder, session, evaluation))
        group.text_of_main(str(folder.path.absolute()))
        return result


def _write_records(
    folder: RunFolder, session: Session, teacher: TeacherModel | None, tuning: FineTuning[Session] | None
) -> None:
    folder.write_start(
        recipe=with_absolute_paths(session.resolved_recipe),
        environment=Environment.current(),
        data=DataRecord.of(session.data, session.recipe.data),
        summary=session.summary(),
    )
    if teacher is not None:
        folder.write(teacher.record())
    if tuning is not None:
        folder.write(tuning.record)
        folder.write_first_weights(session.build_net())
