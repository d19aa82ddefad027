"""A recipe put together with its data, and everything checked that can be before the first step."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from convsmith.briefs.checks import Check, RunMetrics
from convsmith.data.dataset import ImageDataset, load, with_absolute_source
from convsmith.errors import RunError
from convsmith.models.zoo import zoo_name
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.net.tables import course_summary, receptive_field_table, totals_line
from convsmith.recipes.fit import fitted, verdicts
from convsmith.recipes.loader import load as load_recipe
from convsmith.recipes.schema import Recipe
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import DataRecord
from convsmith.system.device import choose_device, choose_precision, threads_for
from convsmith.training.schedules.plateau import Plateau

_FEW_TOLD = 5
_REPORT = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class Session:
    """A recipe with everything settled that was left to the machine, its data, and its net's numbers."""

    recipe: Recipe
    data: ImageDataset
    analysis: SpecAnalysis

    def judge(self, trained: RunMetrics) -> tuple[Check, ...]:
        """The brief's verdicts on the trained net."""
        return verdicts(self.recipe, self.analysis, trained)

    def threads(self) -> AbstractContextManager[None]:
        """The number of threads that suits the net and its batches, for the block."""
        return threads_for(self.analysis.macs * self.recipe.train.batch_size)

    def summary(self) -> str:
        """The course's summary, the receptive-field table and the totals, as text."""
        parts = (course_summary, receptive_field_table, totals_line)
        return "\n\n".join(part(self.analysis) for part in parts)

    def space(self) -> int:
        """About how many bytes the run's folder will take, a file that is being replaced included.

        The state has the weights, up to two numbers a weight of the optimiser, and what follows the weights;
        predictions have a logit a class, and features. Report and pictures are a few megabytes.
        """
        weights = 4 * self.analysis.parameters
        train = self.recipe.train
        state = weights * (3 + bool(train.ema) + bool(train.lookahead))
        return 2 * (state + weights) + len(self.data.test) * (4 * len(self.data.class_names) + 512) + _REPORT

    def opening(self, *more: str) -> list[str]:
        """What a run says before its first epoch; `more` are lines at its end."""
        data = self.data
        validation = f"{len(data.validation):,} validation, " if data.validation else ""
        return [
            f"Recipe: {self.recipe.name}, seed {self.recipe.seed}",
            f"Data: {data.identity}, fingerprint {data.fingerprint[:12]}",
            f"      {len(data.train):,} training, {validation}{len(data.test):,} test images",
            f"Net: {self.recipe.model.net}",
            f"     {totals_line(self.analysis)}",
            *(f"Note: {note}" for note in notes(self)),
            *more,
            "",
        ]


def prepare(recipe: Recipe) -> Session:
    """Load a recipe's data and check that its net and augmentation fit it.

    Raises:
        DataError: The data set cannot be found or read.
        RecipeError: The net or the augmentation does not fit the images, or the device is not there.
    """
    device = choose_device(recipe.train.device)
    data = load(recipe.data)
    analysis = fitted(recipe, data.info)
    macs_per_step = analysis.macs * recipe.train.batch_size
    precision = choose_precision(recipe.train.precision, device, macs_per_step)
    placed = with_absolute_places(recipe)
    settled = {"train": placed.train.model_copy(update={"precision": precision})}
    return Session(recipe=placed.model_copy(update=settled), data=data, analysis=analysis)


def with_absolute_places(recipe: Recipe) -> Recipe:
    """A recipe whose data set and teacher are found from any working folder; what is not there stays.

    Of a teacher that is the best of the zoo, its own name stays: another may be better one day.
    """
    teacher = recipe.train.teacher
    if teacher is not None:
        path = Path(teacher).expanduser()
        teacher = zoo_name(teacher) or (str(path.resolve()) if path.is_dir() else teacher)
    train = recipe.train.model_copy(update={"teacher": teacher})
    return recipe.model_copy(update={"data": with_absolute_source(recipe.data), "train": train})


def open_run(run: Path) -> tuple[RunFolder, Session]:
    """A run's folder, and its recipe with the very data that it was trained on.

    Raises:
        RunError: No such run, a damaged one, or its data set has changed.
        DataError: The data set cannot be found or read.
    """
    folder = RunFolder.open(run)
    prepared = prepare(load_recipe(str(run / "recipe.toml")))
    found, expected = prepared.data.fingerprint, folder.read(DataRecord).fingerprint
    if found != expected:
        raise RunError(
            f"the data set is not the one of this run: fingerprint {found[:12]}, expected {expected[:12]}",
            where=prepared.data.location,
            fix="bring the data set back to what it was, or train again",
        )
    return folder, prepared


def notes(prepared: Session) -> list[str]:
    """What a reader of the accuracy must know."""
    recipe, dropped = prepared.recipe, prepared.data.dropped
    told = []
    if dropped:
        first = "; ".join(finding.line() for finding in dropped[:_FEW_TOLD])
        told.append(
            f"damaged images left out: {len(dropped):,}, all of them in data.json: {first}"
            f"{'; ...' if len(dropped) > _FEW_TOLD else ''}"
        )
    schedule = recipe.train.schedule
    if isinstance(schedule, Plateau):
        told.append(
            "the schedule saw the test set: it lowers the learning rate by test accuracy, so the test "
            "figures are optimistic"
            if schedule.monitor == "test"
            else "the schedule goes by a validation split of the training set; it does not see the test set"
        )
    if recipe.train.stop_after:
        told.append(
            f"stops on purpose after {recipe.train.stop_after} of the {recipe.train.epochs} epochs that its "
            "schedule is planned for"
        )
    return told
