"""After training: scores, saved predictions, pictures, report and manifest of a run."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tomli_w
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convsmith import files, runtime
from convsmith.arch.build import build
from convsmith.arch.tables import course_summary, receptive_field_table, totals_line
from convsmith.data.augment import Draw, augmenter
from convsmith.data.images import ImageData
from convsmith.data.transforms import HorizontalFlip, Transform
from convsmith.evaluation.facts import ClassFacts, Predictions, classes_record, mistakes, per_class
from convsmith.inspect.brief import Check
from convsmith.recipe.schema import Recipe
from convsmith.reports import pictures
from convsmith.reports.page import PageFacts, Picture, markdown
from convsmith.reports.pictures import Tile
from convsmith.training.batches import Normalizer
from convsmith.training.run import RunFolder
from convsmith.training.score import Score, logits_of, score_of
from convsmith.workflow.prepare import Prepared, notes

# How many images the galleries show, and the streams that they are drawn from.
NUM_EXAMPLES, NUM_PREDICTIONS, NUM_MISTAKES = 24, 24, 24
AUGMENTED_ROWS, AUGMENTED_VERSIONS = 5, 7
_EXAMPLES, _SAMPLE, _AUGMENTED, _PREVIEW = range(100, 104)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to. Losses are means over images; the weights are those of the last epoch."""

    folder: Path
    report: Path
    train: Score
    test: Score
    classes: tuple[ClassFacts, ...]
    checks: tuple[Check, ...]


def finish(folder: RunFolder, prepared: Prepared, log: Callable[[str], None]) -> Result:
    """Evaluate the weights of a run's folder and write all that is made from them.

    Args:
        folder: Holds recipe, log, metrics and weights.
        prepared: The run's recipe with its data.
        log: Takes the closing lines.
    """
    data = prepared.data
    train, test, predictions = _scores(folder, prepared)
    classes = per_class(predictions, data.class_names)
    checks = prepared.judge(test.accuracy)
    for line in (train.line("Train"), test.line("Test"), "", *(each.line() for each in classes)):
        log(line)
    _write_predictions(folder, predictions)
    folder.write_json(
        "results.json",
        {
            "train": {"loss": train.loss, "correct": train.correct, "total": train.total},
            "test": {"loss": test.loss, "correct": test.correct, "total": test.total},
            "classes": classes_record(classes),
        },
    )
    drawn = [
        *data_pictures(prepared.recipe, data, folder.plots),
        *_result_pictures(folder, prepared, predictions, classes, test),
    ]
    facts = _page_facts(folder, prepared, drawn, train=train, test=test, classes=classes, checks=checks)
    files.write_text(folder.report, markdown(facts))
    folder.write_manifest()
    return Result(
        folder=folder.path, report=folder.report, train=train, test=test, classes=classes, checks=checks
    )


def data_pictures(recipe: Recipe, data: ImageData, folder: Path) -> list[Picture]:
    """Random examples of the training set, and augmented ones as the net sees them."""
    chosen = _some(len(data.train), NUM_EXAMPLES, recipe.seed, _EXAMPLES)
    tiles = [
        Tile(
            image=data.train.images[index], caption=pictures.short(data.class_names[data.train.labels[index]])
        )
        for index in chosen
    ]
    height, width = data.train.images.shape[1:3]
    subtitle = (
        f"{len(data.train):,} training images of {height} x {width} pixels, {len(tiles)} drawn at random"
    )
    figure = pictures.gallery(tiles, f"{data.title}: examples", subtitle)
    drawn = [_save(figure, folder, "examples", "Random examples")]
    if recipe.augment.transforms:
        drawn.append(_save(_augmented(recipe, data), folder, "augmented", "Augmented images"))
    return drawn


def _augmented(recipe: Recipe, data: ImageData) -> Figure:
    chosen = _some(len(data.train), AUGMENTED_ROWS, recipe.seed, _AUGMENTED)
    augment = augmenter(recipe.augment, data.mean)
    originals = data.train.images[chosen]
    repeated = torch.from_numpy(originals.repeat(AUGMENTED_VERSIONS, axis=0)).permute(0, 3, 1, 2)
    draw = Draw(seed=runtime.derive_seed(recipe.seed, _PREVIEW), epoch=1, indices=torch.arange(len(repeated)))
    changed = augment(repeated, draw).permute(0, 2, 3, 1).numpy()
    versions = changed.reshape(len(originals), AUGMENTED_VERSIONS, *changed.shape[1:])
    names = [data.class_names[label] for label in data.train.labels[chosen]]
    subtitle = ", ".join(_how_often(each) for each in recipe.augment.transforms)
    return pictures.augmented(originals, versions, names, "Augmentation, as the net sees it", subtitle)


def _how_often(transform: Transform) -> str:
    alternates = isinstance(transform, HorizontalFlip) and transform.alternate
    return f"{transform.name} ({'every other epoch' if alternates else f'p = {transform.p:g}'})"


def _scores(folder: RunFolder, prepared: Prepared) -> tuple[Score, Score, Predictions]:
    """Scores on the plain training and test images, and the test predictions."""
    recipe, data = prepared.recipe, prepared.data
    device = runtime.choose_device(recipe.train.device)
    dtype = runtime.dtype_of(recipe.train.precision)
    net = build(prepared.analysis.plan)
    folder.load_weights(net)
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalize = Normalizer.of(data, device)
    train_logits, test_logits = (logits_of(net, split, normalize, dtype) for split in (data.train, data.test))
    return (
        score_of(train_logits, torch.from_numpy(data.train.labels)),
        score_of(test_logits, torch.from_numpy(data.test.labels)),
        Predictions(logits=test_logits.numpy(), labels=data.test.labels),
    )


def _write_predictions(folder: RunFolder, predictions: Predictions) -> None:
    content = io.BytesIO()
    np.savez(content, logits=predictions.logits, labels=predictions.labels)
    files.write_bytes(folder.predictions, content.getvalue())


def _result_pictures(
    folder: RunFolder,
    prepared: Prepared,
    predictions: Predictions,
    classes: tuple[ClassFacts, ...],
    test: Score,
) -> list[Picture]:
    recipe, data, plots = prepared.recipe, prepared.data, folder.plots
    metrics = folder.metrics()
    told = (
        f"{recipe.name}, {len(metrics)} epochs. Train: while the net learns, on augmented images; "
        "the others after each epoch, on plain ones"
    )
    sample = _some(len(data.test), NUM_PREDICTIONS, recipe.seed, _SAMPLE)
    wrong = mistakes(predictions)
    subtitle = f"{len(wrong):,} of {test.total:,} test images are wrong; the most confident first"
    return [
        _save(pictures.curves(metrics, told), plots, "curves", "Loss and accuracy"),
        _save(
            pictures.class_accuracy(classes, test.accuracy), plots, "class_accuracy", "Accuracy of each class"
        ),
        _save(
            pictures.gallery(
                _tiles(data, predictions, sample),
                "Sample predictions",
                f"{len(sample)} test images drawn at random, with the confidence of each prediction",
            ),
            plots,
            "predictions",
            "Sample predictions",
        ),
        _save(
            pictures.gallery(
                _tiles(data, predictions, wrong[:NUM_MISTAKES]), "Misclassified images", subtitle
            ),
            plots,
            "misclassified",
            "Misclassified images",
        ),
    ]


def _tiles(data: ImageData, predictions: Predictions, indices: NDArray[np.int64]) -> list[Tile]:
    predicted, confidence = predictions.predicted, predictions.confidence
    tiles = []
    for index in indices:
        true = pictures.short(data.class_names[predictions.labels[index]])
        guess = pictures.short(data.class_names[predicted[index]])
        right = bool(predicted[index] == predictions.labels[index])
        said = f"{guess} ({confidence[index]:.0%})"
        caption = said if right else f"{said}\ntrue: {true}"
        tiles.append(Tile(image=data.test.images[index], caption=caption, right=right))
    return tiles


def _page_facts(
    folder: RunFolder,
    prepared: Prepared,
    drawn: list[Picture],
    *,
    train: Score,
    test: Score,
    classes: tuple[ClassFacts, ...],
    checks: tuple[Check, ...],
) -> PageFacts:
    recipe, analysis = prepared.recipe, prepared.analysis
    metrics = folder.metrics()
    return PageFacts(
        name=recipe.name,
        description=recipe.description,
        net=recipe.model.net,
        recipe_toml=tomli_w.dumps(recipe.table()),
        notes=tuple(notes(recipe)),
        data=folder.data_record(),
        environment=folder.read_json("environment.json"),
        summary=course_summary(analysis),
        receptive_field_table=receptive_field_table(analysis),
        totals=totals_line(analysis),
        train=train,
        test=test,
        epochs=len(metrics),
        seconds=sum(row["train_seconds"] + row["evaluation_seconds"] for row in metrics),
        classes=classes,
        checks=checks,
        pictures=tuple(drawn),
        log=folder.read_text("log.txt"),
    )


def _some(population: int, count: int, *key: int) -> NDArray[np.int64]:
    """Indices drawn at random without repeats, all of them where there are few."""
    chosen: NDArray[np.int64] = torch.randperm(population, generator=runtime.generator(*key))[:count].numpy()
    return chosen


def _save(figure: Figure, folder: Path, name: str, title: str) -> Picture:
    path = pictures.save(figure, folder / f"{name}.png")
    return Picture(title=title, path=f"{folder.name}/{path.name}", file=path)
