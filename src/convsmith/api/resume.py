"""Resume a run."""

from collections.abc import Sequence
from pathlib import Path

from convsmith.api import training
from convsmith.reports.report import Result
from convsmith.runs.tensorboard import FOLDER, curves
from convsmith.training.callbacks import Callback


def resume(
    run: Path,
    *,
    epochs: int | None = None,
    accept_changes: bool = False,
    callbacks: Sequence[Callback] = (),
    tensorboard: bool = False,
) -> Result:
    """Go on with a run that was interrupted, or train a finished one for longer.

    On the same machine with the same number of threads the weights come out as if it had never stopped.

    Args:
        run: The run's folder.
        epochs: How many in all. Above the number that the schedule was planned for, it is planned anew for
            all of them, and goes on from where it then is.
        accept_changes: Go on although recipe, data, machine or versions differ; the run records what does.
        callbacks: Told of every batch and epoch, beside the run folder's own.
        tensorboard: Write curves for TensorBoard; a run that has them goes on with them in any case.

    Raises:
        MissingExtraError: TensorBoard is not installed, and its curves are to be written.
        RunError: No such run, a damaged one, one that is complete, or something differs.
        FileError: Another process works in the folder.
        DivergedError: A loss is not finite.
        StoppedError: Ctrl-C or SIGTERM; the state is saved.
    """
    with curves(enabled=tensorboard or (run / FOLDER).is_dir()) as writers:
        return training.resume(
            run, epochs=epochs, accept_changes=accept_changes, callbacks=(*writers, *callbacks)
        )
