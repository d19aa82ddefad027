"""The steps of a hand-in: their runs, and what README and notebook say of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convsmith.briefs.hand_in import HandInVerdicts
from convsmith.errors import RunError
from convsmith.evaluation.schema import Results
from convsmith.models.run_model import RunModel
from convsmith.net.analysis import Analysis
from convsmith.net.cells import axes_text
from convsmith.recipes.schema import Notes, Recipe
from convsmith.runs.folder import RECIPE
from convsmith.runs.schema import EpochRow
from convsmith.text import percent, plural

# The last epochs whose accuracy is shown, unless the brief names a number.
LAST_EPOCHS = 4
_NOTES = {
    "target": "what the step tries to reach, and how",
    "analysis": "what the result means, and what to try next",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a hand-in.

    Attributes:
        number: From 1.
        model: The finished run.
        epochs: The rows of its metrics.csv.
        results: Its results.json.
    """

    number: int
    model: RunModel
    epochs: tuple[EpochRow, ...]
    results: Results

    @classmethod
    def of(cls, model: RunModel, number: int) -> "Step":
        results = model.folder.read(Results)
        return cls(number=number, model=model, epochs=model.folder.metrics(), results=results)

    @property
    def name(self) -> str:
        return f"Model_{self.number}"

    @property
    def slug(self) -> str:
        """The name of its files."""
        return f"model_{self.number}"

    @property
    def recipe(self) -> Recipe:
        return self.model.recipe

    @property
    def analysis(self) -> Analysis:
        return self.model.analysis

    @property
    def notes(self) -> Notes:
        return self.recipe.notes

    @property
    def receptive_field(self) -> str:
        """That of the last map, in pixels."""
        fields = [
            row.out_field for row in self.analysis.rows if len(row.out_shape) == 3 and row.out_field.axes
        ]
        return axes_text(fields[-1].sizes) if fields else "full image"

    @property
    def accuracy(self) -> float:
        return self.results.test.correct / self.results.test.total

    @property
    def best(self) -> EpochRow:
        """The first epoch of the best test accuracy."""
        return max(self.epochs, key=lambda row: (row.test_accuracy or 0.0, -row.epoch))

    def last_accuracies(self, count: int) -> str:
        """The test accuracies of the last epochs."""
        return ", ".join(percent(row.test_accuracy or 0.0) for row in self.epochs[-count:])

    def result(self, count: int = LAST_EPOCHS) -> str:
        """Return the result in sentences: numbers of the run, then the text of the recipe."""
        analysis, best = self.analysis, self.best
        shown = min(count, len(self.epochs))
        last = (
            f" Test accuracies of the last {shown} epochs: {self.last_accuracies(shown)}."
            if shown > 1
            else ""
        )
        kept = self.model.folder.best_epoch()
        trained = self.epochs[-1 if kept is None else kept - 1].train_accuracy
        place = "the last epoch" if kept is None else f"epoch {kept}, the best by the validation split,"
        kind = "augmented training" if self.recipe.augment.transforms else "training"
        of_training = f", {percent(trained)} on the {kind} images" if trained is not None else ""
        numbers = (
            f"{analysis.parameters:,} parameters, {plural(len(self.epochs), 'epoch')}. Best test accuracy "
            f"{percent(best.test_accuracy or 0.0)} (epoch {best.epoch}), after {place} "
            f"{percent(self.accuracy)}{of_training}.{last}"
        )
        return f"{numbers} {self.notes.result.strip()}".strip()

    def missing_notes(self) -> list[str]:
        """Return a sentence for each note that is missing, with what to write."""
        path = Path(self.model.place) / RECIPE
        return [
            f'step {self.number} has no {name}: write into {path} under [notes] {name} = "..." ({meaning})'
            for name, meaning in _NOTES.items()
            if not getattr(self.notes, name).strip()
        ]


@dataclass(frozen=True, kw_only=True)
class HandInPage:
    """What README and notebook show.

    Attributes:
        title: The task.
        steps: The steps.
        verdicts: Of the brief.
        last_epochs: The number of last epochs whose accuracies are shown.
    """

    title: str
    steps: tuple[Step, ...]
    verdicts: HandInVerdicts
    last_epochs: int


def check_steps(models: Sequence[RunModel]) -> None:
    """Check that runs can be steps of one hand-in.

    Raises:
        RunError: Two are the same run, one was trained elsewhere, or their data sets or splits differ.
    """
    first, seen = models[0], dict[Path, str]()
    for model in models:
        path = Path(model.place).resolve()
        if path in seen:
            raise RunError(
                "this run is named twice",
                where=model.place,
                fix="name each run once, in the order of the steps",
            )
        seen[path] = model.place
        if model.is_trained_elsewhere:
            raise RunError(
                "its weights were trained elsewhere, and a hand-in shows the training of each step",
                where=model.place,
                fix="train its net here: `convsmith train RECIPE --module model.py:Net`",
            )
        difference = _difference(first, model)
        if difference:
            raise RunError(
                f"the steps of a hand-in are trained on the same images: {difference}",
                where=model.place,
                fix=f"train it on the data of {first.place}, or hand it in alone",
            )


def _difference(first: RunModel, other: RunModel) -> str:
    """Return how the data of two runs differ; empty if it does not."""
    one, two = first.data, other.data
    if one.class_names != two.class_names:
        return f"found {plural(len(two.class_names), 'class')} of {two.title}, expected those of {one.title}"
    if one.image_shape != two.image_shape:
        shapes = ("x".join(map(str, each.image_shape)) for each in (two, one))
        return "found images of {}, expected {}".format(*shapes)
    if (one.resize_policy, one.background) != (two.resize_policy, two.background):
        return "found another way of resizing, see data.resize_policy and data.background"
    if one.fingerprint != two.fingerprint:
        return f"found {two.title}, expected {one.title}, or the images have changed"
    for name in sorted({*one.splits, *two.splits}):
        splits = [each.splits.get(name) for each in (one, two)]
        if None in splits or splits[0].fingerprint != splits[1].fingerprint:  # type: ignore[union-attr]
            settings = "data.validation, data.splits, data.test_fraction and data.split_seed"
            return f"found another {name} split, see {settings}"
    return ""
