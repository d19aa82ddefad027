"""A run's pictures and pages, made from its folder, its saved predictions and its images; no net is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convsmith.briefs.checks import Check, Trained
from convsmith.data.dataset import ImageData
from convsmith.errors import RunError
from convsmith.evaluation import predictions, receptive_field
from convsmith.evaluation.metrics import ClassMetrics, Metrics, facts_of, mistakes
from convsmith.evaluation.predictions import REMEDY, Predictions
from convsmith.evaluation.receptive_field import EffectiveReceptiveField
from convsmith.evaluation.results import classes_record, facts_record
from convsmith.models.trained import teacher_notes
from convsmith.net.tables import course_summary, receptive_field_table, totals_line
from convsmith.recipes.session import Session, notes
from convsmith.reports import charts, galleries
from convsmith.reports.diagram import diagram
from convsmith.reports.galleries import Tile
from convsmith.reports.html import html
from convsmith.reports.page import PageData, Picture, markdown
from convsmith.reports.page_images import Explanations, explanation_picture, explanations, page_pictures
from convsmith.reports.receptive_field import field_picture
from convsmith.reports.samples import augmented_samples, data_pictures, draw_some, save
from convsmith.reports.style import short
from convsmith.runs.folder import RunFolder, epoch_seconds
from convsmith.system import files
from convsmith.text import format_duration
from convsmith.training.metrics import SplitMetrics, score_of

# How many images the galleries show, and the stream that they are drawn from.
NUM_PREDICTIONS, NUM_MISTAKES = 24, 24
_SAMPLE = 101
_Drawn = list[Picture]
_DATA_FIELDS = (
    "title", "identity", "fingerprint", "image_shape", "mean", "std", "splits", "test_split",
)  # fmt: skip
_ENVIRONMENT_FIELDS = ("processor", "cores", "device", "torch_threads", "packages")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to. Losses are means over images; the weights are those of the last epoch."""

    folder: Path
    report: Path
    page: Path
    train: SplitMetrics
    test: SplitMetrics
    classes: tuple[ClassMetrics, ...]
    checks: tuple[Check, ...]
    facts: Metrics


def metrics_for(prepared: Session, found: Predictions) -> Metrics:
    """All facts of a run's test predictions."""
    return facts_of(found, prepared.data.class_names)


def saved(folder: RunFolder, prepared: Session) -> tuple[SplitMetrics, Predictions]:
    """The training score and the test predictions that a run's folder holds.

    Raises:
        RunError: There are none, or they are not of this run's test set.
    """
    found = predictions.read(folder.predictions)
    if found.num_classes != len(prepared.data.class_names) or not np.array_equal(
        found.labels, prepared.data.test.labels
    ):
        raise RunError(
            "these are not predictions for the run's test set", where=str(folder.predictions), fix=REMEDY
        )
    try:
        train = folder.read_json("results.json")["train"]
        score = SplitMetrics(
            loss=float(train["loss"]), correct=int(train["correct"]), total=int(train["total"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"damaged: no training score ({error})", where=str(folder.path / "results.json"), fix=REMEDY
        ) from error
    return score, found


def report(
    folder: RunFolder, prepared: Session, *, train: SplitMetrics, found: Predictions, facts: Metrics
) -> Result:
    """Write results.json, all pictures, both pages and the manifest.

    Args:
        folder: Of the run.
        prepared: Its recipe with its data.
        train: On the plain training images.
        found: Predictions for the test images.
        facts: What follows from them, from `facts_for`.
    """
    test = score_of(torch.from_numpy(found.logits), torch.from_numpy(found.labels))
    checks = prepared.judge(Trained(accuracy=test.accuracy, calibration_error=facts.calibration.ece))
    names = prepared.data.class_names
    record = {
        "train": {"loss": train.loss, "correct": train.correct, "total": train.total},
        "test": {**facts_record(facts, found, names), "loss": test.loss},
        "classes": classes_record(facts.classes),
    }
    folder.write_json("results.json", record)
    augmented = augmented_samples(prepared.recipe, prepared.data)
    explained = explanations(folder, prepared, found)
    drawn = [
        *data_pictures(prepared.recipe, prepared.data, augmented, folder.plots),
        *_result_pictures(folder, prepared, found, facts, explained),
    ]
    page = _page_facts(folder, prepared, drawn, train=train, test=test, facts=facts, checks=checks)
    files.write_text(folder.report, markdown(page))
    small = page_pictures(folder, prepared, found, explained, augmented)
    files.write_text(folder.page, html(page, small))
    folder.write_manifest()
    return Result(
        folder=folder.path,
        report=folder.report,
        page=folder.page,
        train=train,
        test=test,
        classes=facts.classes,
        checks=checks,
        facts=facts,
    )


def _result_pictures(
    folder: RunFolder,
    prepared: Session,
    found: Predictions,
    facts: Metrics,
    explained: Explanations | None,
) -> _Drawn:
    drawn = [*_charts(folder, prepared, facts), *_galleries(prepared, found)]
    if explained:
        figure = explanation_picture(prepared, found, explained)
        drawn.append(("explanation", "What the net looks at", figure))
    if field := _field(folder, prepared):
        told = f"{prepared.recipe.name}, {field.num_images:,} test images, layer {field.layer}"
        title = "Effective receptive field"
        drawn.append(("receptive_field", title, field_picture(field, title, told)))
    return [save(figure, folder.plots, name, title) for name, title, figure in drawn]


def _field(folder: RunFolder, prepared: Session) -> EffectiveReceptiveField | None:
    """What was measured of where the net looks; None where nothing was."""
    return receptive_field.read(folder.field, prepared.analysis) if folder.field.is_file() else None


def _charts(folder: RunFolder, prepared: Session, facts: Metrics) -> list[tuple[str, str, Figure]]:
    metrics = folder.metrics()
    told = (
        f"{prepared.recipe.name}, {len(metrics)} epochs. Train: while the net learns, on augmented images; "
        "the others after each epoch, on plain ones"
    )
    height = charts.class_accuracy_height(facts.classes) + 0.4
    by_class = charts.class_accuracy(facts.classes, facts.accuracy)
    confidence = [charts.reliability(facts.calibration), charts.risk(facts.risk_coverage)]
    drawn = [
        (
            "class_accuracy",
            "Accuracy of each class",
            charts.side_by_side([by_class], "Accuracy of each class", height=height, width=7.5),
        ),
        (
            "confusion",
            "Confusion matrix",
            charts.side_by_side([charts.confusion(facts)], "Confusion matrix", height=7, width=7.5),
        ),
        (
            "architecture",
            "The net",
            diagram(prepared.analysis, prepared.recipe.name),
        ),
        ("confidence", "Confidence", charts.side_by_side(confidence, "Confidence")),
    ]
    if metrics:
        panels = [charts.curve(metrics, kind) for kind in ("loss", "accuracy")]
        drawn.insert(0, ("curves", "Loss and accuracy", charts.side_by_side(panels, "Training", told)))
    if spoiled := folder.record("robustness.json"):
        figure = charts.side_by_side([charts.robustness(spoiled)], "Robustness", width=7.5)
        drawn.append(("robustness", "Robustness", figure))
    return drawn


def _galleries(prepared: Session, found: Predictions) -> list[tuple[str, str, Figure]]:
    data = prepared.data
    sample = draw_some(len(data.test), NUM_PREDICTIONS, prepared.recipe.seed, _SAMPLE)
    wrong = mistakes(found)
    said = f"{len(sample)} test images drawn at random, with the confidence of each prediction"
    counted = f"{len(wrong):,} of {len(found):,} test images are wrong; the most confident first"
    return [
        (
            "predictions",
            "Sample predictions",
            galleries.gallery(_tiles(data, found, sample), "Sample predictions", said),
        ),
        (
            "misclassified",
            "Misclassified images",
            galleries.gallery(_tiles(data, found, wrong[:NUM_MISTAKES]), "Misclassified images", counted),
        ),
    ]


def _tiles(data: ImageData, found: Predictions, indices: NDArray[np.int64]) -> list[Tile]:
    predicted, confidence = found.predicted, found.confidence
    tiles = []
    for index in indices:
        true = short(data.class_names[found.labels[index]])
        guess = short(data.class_names[predicted[index]])
        right = bool(predicted[index] == found.labels[index])
        said = f"{guess} ({confidence[index]:.0%})"
        caption = said if right else f"{said}\ntrue: {true}"
        tiles.append(Tile(image=data.test.images[index], caption=caption, right=right))
    return tiles


def _page_facts(
    folder: RunFolder,
    prepared: Session,
    drawn: Sequence[Picture],
    *,
    train: SplitMetrics,
    test: SplitMetrics,
    facts: Metrics,
    checks: tuple[Check, ...],
) -> PageData:
    recipe, analysis = prepared.recipe, prepared.analysis
    metrics = folder.metrics()
    seconds = sum(map(epoch_seconds, metrics))
    return PageData(
        name=recipe.name,
        description=recipe.description,
        net=recipe.model.net,
        recipe_toml=tomli_w.dumps(recipe.table()),
        notes=(*notes(prepared), *teacher_notes(folder)),
        data=_complete(folder, "data.json", _DATA_FIELDS),
        environment=_complete(folder, "environment.json", _ENVIRONMENT_FIELDS),
        summary=course_summary(analysis),
        receptive_field_table=receptive_field_table(analysis),
        analysis=analysis,
        totals=totals_line(analysis),
        train=train,
        test=test,
        epochs=len(metrics),
        seconds=seconds,
        time=format_duration(seconds),
        metrics=metrics,
        facts=facts,
        checks=checks,
        pictures=tuple(drawn),
        log=folder.read_text("log.txt"),
        robustness=folder.record("robustness.json"),
        duplicates=folder.record("duplicates.json"),
        label_errors=folder.record("label_errors.json"),
        field=_field(folder, prepared),
    )


def _complete(folder: RunFolder, name: str, fields: Sequence[str]) -> dict[str, Any]:
    """A record that the pages show, with all that they show of it."""
    record = folder.record(name) or {}
    if missing := [field for field in fields if field not in record]:
        raise RunError(
            f"damaged: {', '.join(missing)} missing",
            where=str(folder.path / name),
            fix="restore the file as it was written, or train again",
        )
    return record
