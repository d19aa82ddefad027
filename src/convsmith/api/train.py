"""Train a recipe."""

from collections.abc import Sequence
from pathlib import Path

from convsmith.api.training import train_new
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import prepare
from convsmith.reports.report import Result
from convsmith.runs.tensorboard import curves
from convsmith.system import folders
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
    # Before data is read, which can take minutes.
    folders.check_destination(runs)
    with curves(enabled=tensorboard) as writers:
        return train_new(prepare(recipe), runs, (*writers, *callbacks), profile)
