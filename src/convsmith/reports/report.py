"""Write the report of a run from its folder, saved predictions and images, without inference."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tomli_w
from numpy.typing import NDArray

from convsmith.briefs.checks import Check
from convsmith.data.dataset import ImageDataset
from convsmith.errors import RunError
from convsmith.evaluation import predictions as saved_predictions
from convsmith.evaluation import receptive_field
from convsmith.evaluation.metrics import Metrics, compute_metrics, mistakes
from convsmith.evaluation.predictions import EVALUATE_AGAIN, Predictions
from convsmith.evaluation.receptive_field import EffectiveReceptiveField
from convsmith.evaluation.results import results_of
from convsmith.evaluation.schema import (
    ClassMetrics,
    Duplicates,
    LabelErrors,
    PredictionCheck,
    Results,
    Robustness,
)
from convsmith.models.external import evaluation_notes
from convsmith.models.run_model import start_notes, teacher_notes
from convsmith.net.tables import course_summary, receptive_field_table
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.reports import drawings, galleries
from convsmith.reports.galleries import Tile
from convsmith.reports.html import html
from convsmith.reports.page import PageData, Picture, markdown, save
from convsmith.reports.page_images import Explanations, explanation_picture, explanations, page_pictures
from convsmith.reports.samples import balanced_indices, preview_images, sample_pictures
from convsmith.reports.style import isolated, short
from convsmith.runs.evaluation import Evaluation, read_confidence
from convsmith.runs.folder import ANALYSES, EVALUATION, RunFolder
from convsmith.runs.kept import kept_weights
from convsmith.runs.schema import DataRecord, Environment, Resumptions, WeightsRecord, unrecorded_changes
from convsmith.system import files, paths, progress
from convsmith.text import format_duration, percent, plural
from convsmith.training.class_weights import class_counts
from convsmith.training.metrics import SplitMetrics

# Number of images in the galleries, and the stream of the random sample.
NUM_PREDICTIONS, NUM_MISTAKES = 24, 24
_SAMPLE = 101


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """The result of a run. Losses are means over images; the weights are those that the run kept.

    `robustness`, `duplicates` and `label_errors` are None unless the evaluation was run with them.
    `prediction_check` compares `predict` with the evaluation; None if it was not done. `notes` say what is
    assumed about weights that were trained elsewhere.
    """

    folder: Path
    report: Path
    page: Path
    train: SplitMetrics
    test: SplitMetrics
    classes: tuple[ClassMetrics, ...]
    checks: tuple[Check, ...]
    metrics: Metrics
    robustness: Robustness | None = None
    duplicates: Duplicates | None = None
    label_errors: LabelErrors | None = None
    prediction_check: PredictionCheck | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        balanced = self.metrics.balanced_accuracy
        kind, title = self.metrics.evaluated.kind, self.metrics.evaluated.title
        first = f"Balanced {kind} accuracy: {percent(balanced)}\n" if self.metrics.is_imbalanced else ""
        return (
            f"{first}{title} accuracy: {self.test.accuracy:.2%}, "
            f"95% interval {self.metrics.interval.text()}\n"
            f"Run folder: {self.folder}\n"
            f"Report: {self.page}"
        )


def read_evaluation(folder: RunFolder, session: Session) -> Evaluation:
    """Read the evaluation in a run folder.

    Raises:
        RunError: They are missing or damaged, or belong to another test set.
    """
    folder.verify(*EVALUATION, *ANALYSES)
    predictions = saved_predictions.read(folder.predictions)
    if predictions.num_classes != len(session.data.class_names) or not np.array_equal(
        predictions.labels, session.data.test.labels
    ):
        raise RunError(
            f"the predictions are not of the {session.data.evaluation_set.name} of this run",
            where=str(folder.predictions),
            fix=EVALUATE_AGAIN,
        )
    results = folder.read(Results)
    return Evaluation(
        train=results.train,
        predictions=predictions,
        metrics=compute_metrics(
            predictions,
            session.data.class_names,
            read_confidence(folder),
            config=session.recipe.train,
            train_counts=class_counts(session.data.train.labels, session.data.class_names),
            evaluated=session.data.evaluation_set,
        ),
        prediction_check=results.prediction_check,
    )


@progress.waiting("Drawing the report")
def write_report(folder: RunFolder, session: Session, evaluation: Evaluation) -> Result:
    """Write results.json, all plots, both pages and the manifest."""
    train, test = evaluation.train, evaluation.test
    predictions, metrics = evaluation.predictions, evaluation.metrics
    checks = session.judge(folder.run_metrics(test.accuracy, metrics.calibration.ece))
    names = session.data.class_names
    results = results_of(
        metrics,
        predictions,
        names,
        train=train,
        test_loss=test.loss,
        prediction_check=evaluation.prediction_check,
    )
    folder.write(results)
    augmented = preview_images(session.recipe, session.data)
    explained = explanations(folder, session, predictions)
    charts = drawings.draw_charts(
        metrics,
        folder.metrics(),
        session.analysis,
        folder.find(Robustness),
        _field(folder, session),
        selected=folder.best_epoch(),
    )
    drawings.remove_old_plots(folder.plots)
    drawn = [
        *sample_pictures(session.recipe, session.data, augmented, folder.plots),
        *drawings.write_pictures(charts, folder.plots),
        *_gallery_pictures(folder, session, predictions, explained),
    ]
    page = _page_data(folder, session, drawn, train=train, test=test, metrics=metrics, checks=checks)
    files.write_text(folder.report, markdown(page))
    small = page_pictures(folder, session, predictions, explained, augmented)
    files.write_text(folder.page, html(page, small, charts))
    folder.write_manifest()
    return _result(folder, evaluation, checks)


def read_result(folder: RunFolder, session: Session) -> Result:
    """Return the result of a run whose report is written.

    Raises:
        RunError: The evaluation is missing or damaged, or belongs to another test set.
    """
    evaluation = read_evaluation(folder, session)
    accuracy, calibration = evaluation.test.accuracy, evaluation.metrics.calibration
    return _result(folder, evaluation, session.judge(folder.run_metrics(accuracy, calibration.ece)))


def _result(folder: RunFolder, evaluation: Evaluation, checks: tuple[Check, ...]) -> Result:
    return Result(
        folder=folder.path,
        report=folder.report,
        page=folder.page,
        train=evaluation.train,
        test=evaluation.test,
        classes=evaluation.metrics.classes,
        checks=checks,
        metrics=evaluation.metrics,
        prediction_check=evaluation.prediction_check,
        notes=_external_notes(folder, evaluation.metrics),
    )


def _external_notes(folder: RunFolder, metrics: Metrics) -> tuple[str, ...]:
    record = folder.find(WeightsRecord)
    return () if record is None else evaluation_notes(record, metrics.accuracy, len(metrics.classes))


def _field(folder: RunFolder, session: Session) -> EffectiveReceptiveField | None:
    """Read the effective receptive field; None if it was not measured."""
    path = folder.receptive_field
    return receptive_field.read(path, session.analysis) if paths.is_file(path) else None


def _gallery_pictures(
    folder: RunFolder, session: Session, predictions: Predictions, explained: Explanations | None
) -> list[Picture]:
    """Draw the galleries of predicted images, which the page has with filters."""
    data = session.data
    sample = balanced_indices(data.test.labels, NUM_PREDICTIONS, session.recipe.seed, _SAMPLE)
    wrong, image = mistakes(predictions), f"{data.evaluation_set.kind} image"
    sampled = f"{plural(len(sample), f'random {image}')} by class, with the confidence of each prediction"
    counted = f"{len(wrong):,} of {plural(len(predictions), image)} misclassified, most confident first"
    drawn = [
        ("predictions", "Sample predictions", sample, sampled),
        ("misclassified", "Misclassified images", wrong[:NUM_MISTAKES], counted),
    ]
    pictures = [
        save(title, {name: galleries.gallery(_tiles(data, predictions, indices), title, note)}, folder.plots)
        for name, title, indices, note in drawn
    ]
    if explained:
        drawing = explanation_picture(session, predictions, explained)
        pictures.append(save(explained.title, {"explanation": drawing}, folder.plots))
    return pictures


def _tiles(data: ImageDataset, predictions: Predictions, indices: NDArray[np.int64]) -> list[Tile]:
    predicted, confidence = predictions.predicted, predictions.confidence
    tiles = []
    for index in indices:
        true = short(data.class_names[predictions.labels[index]])
        predicted_name = short(data.class_names[predicted[index]])
        correct = bool(predicted[index] == predictions.labels[index])
        label = f"{isolated(predicted_name)} ({confidence[index]:.0%})"
        caption = label if correct else f"{label}\ntrue: {true}"
        tiles.append(Tile(image=data.test.images[index], caption=caption, correct=correct))
    return tiles


def _recorded(recipe: Recipe, session: Session) -> Recipe:
    """Return a recipe whose module is named as in the run folder, wherever that is."""
    return recipe.model_copy(update={"model": session.architecture.recorded_config})


def _page_data(
    folder: RunFolder,
    session: Session,
    drawn: Sequence[Picture],
    *,
    train: SplitMetrics,
    test: SplitMetrics,
    metrics: Metrics,
    checks: tuple[Check, ...],
) -> PageData:
    recipe, analysis = session.recipe, session.analysis
    history = folder.metrics()
    seconds = sum(row.seconds for row in history)
    return PageData(
        name=recipe.name,
        description=recipe.description,
        net=session.architecture.text,
        weights=folder.find(WeightsRecord),
        recipe_toml=tomli_w.dumps(_recorded(folder.recipe(), session).table()),
        notes=(
            *session.notes(),
            *_external_notes(folder, metrics),
            *unrecorded_changes(folder.find(Resumptions)),
            *start_notes(folder),
            *teacher_notes(folder),
        ),
        data=folder.read(DataRecord),
        environment=folder.read(Environment),
        summary=course_summary(analysis),
        receptive_field_table=receptive_field_table(analysis),
        analysis=analysis,
        totals=analysis.totals_line(),
        train=train,
        test=test,
        epochs=len(history),
        seconds=seconds,
        time=format_duration(seconds),
        history=history,
        metrics=metrics,
        checks=checks,
        pictures=tuple(drawn),
        log=folder.read_log(),
        robustness=folder.find(Robustness),
        duplicates=folder.find(Duplicates),
        label_errors=folder.find(LabelErrors),
        field=_field(folder, session),
        kept=kept_weights(folder),
        evaluated=session.data.evaluation_set,
    )
