"""The small images of a report page: mistakes, explanations, first filters, augmentation."""

from dataclasses import dataclass

import numpy as np

from convsmith.data.dataset import ImageDataset
from convsmith.evaluation import explanation
from convsmith.evaluation.explanation import Explanation
from convsmith.evaluation.metrics import mistakes_of_each_class
from convsmith.evaluation.predictions import Predictions
from convsmith.net.analysis import Analysis
from convsmith.net.rows import IMAGE, Row
from convsmith.recipes.session import Session
from convsmith.reports import galleries
from convsmith.reports.galleries import Tile
from convsmith.reports.html import ExplainedImage, Mistake, PagePictures
from convsmith.reports.samples import PreviewImages, example_indices
from convsmith.reports.sheets import (
    LARGEST_SIDE,
    Pixels,
    Sheet,
    enlarged,
    filter_tiles,
    map_tile,
    overlaid,
    sheet,
)
from convsmith.reports.style import Drawing, short
from convsmith.runs.folder import RunFolder
from convsmith.system import paths

# Maximum and minimum number of mistakes on the page, and the budget of their pixels in bytes.
MOST_MISTAKES, FEWEST_MISTAKES, MISTAKE_BYTES = 300, 60, 4_000_000
MOST_FILTERS = 64
BLOCK_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """The explanation maps of a run, and the images drawn from them."""

    maps: Explanation
    rows: "list[_Row]"

    @property
    def title(self) -> str:
        """The kinds of maps that there are."""
        return "Occlusion maps" if self.maps.for_predicted is None else "Class-activation and occlusion maps"


def explanations(folder: RunFolder, session: Session, predictions: Predictions) -> Explanations | None:
    """Read and draw the explanations; None for runs of older versions.

    Raises:
        RunError: The file is damaged.
    """
    if not paths.is_file(folder.explanation):
        return None
    maps = explanation.read(folder.explanation, len(predictions))
    return Explanations(maps=maps, rows=_explained_rows(session.data, predictions, maps))


def page_pictures(
    folder: RunFolder,
    session: Session,
    predictions: Predictions,
    explained: Explanations | None,
    augmented: PreviewImages | None,
) -> PagePictures:
    """Return all small images of the page, from the data and the run folder."""
    data = session.data
    gallery = _gallery(data, predictions)
    explanation, rows = (explained.maps, explained.rows) if explained else (None, [])
    filters, filters_note = _filters(folder, session)
    blocks, block_notes = _blocks(data, explanation)
    examples, example_notes = _examples(session)
    return PagePictures(
        mistakes=tuple(mistake for mistake, _ in gallery),
        num_mistakes=int(predictions.wrong.sum()),
        mistakes_sheet=_sheet([image for _, image in gallery]),
        explained=_numbered(rows),
        explained_sheet=_sheet([image for _, tiles in rows for image, _ in tiles], lossless=False),
        explained_title=explained.title if explained else "",
        explained_note=_explained_note(explanation) if explanation else "",
        blocks=blocks,
        block_notes=block_notes,
        filters=filters,
        filters_note=filters_note,
        augmented=_augmented(augmented) if augmented else None,
        augmented_names=augmented.names if augmented else (),
        augmented_columns=1 + augmented.versions.shape[1] if augmented else 0,
        augmented_note=augmented.note if augmented else "",
        examples=examples,
        example_notes=example_notes,
    )


def explanation_picture(session: Session, predictions: Predictions, explained: Explanations) -> Drawing:
    """Draw the explanations for the README."""
    explanation, rows = explained.maps, explained.rows
    columns = max(len(images) for _, images in rows)
    tiles: list[Tile | None] = []
    for number, (_, images) in enumerate(rows):
        index = explanation.indices[number]
        correct = not predictions.wrong[index]
        predicted_name = short(session.data.class_names[predictions.predicted[index]])
        tiles += [
            Tile(image=image, caption=label if place else predicted_name, correct=None if place else correct)
            for place, (image, label) in enumerate(images)
        ]
        tiles += [None] * (columns - len(images))
    return galleries.gallery(tiles, explained.title, columns=columns * 2)


def _sheet(images: list[Pixels], *, lossless: bool = True) -> Sheet | None:
    return sheet(images, lossless=lossless) if images else None


def _gallery(data: ImageDataset, predictions: Predictions) -> list[tuple[Mistake, Pixels]]:
    height, width, channels = data.test.images.shape[1:]
    each = min(height, LARGEST_SIDE) * min(width, LARGEST_SIDE) * channels
    count = int(np.clip(MISTAKE_BYTES // each, FEWEST_MISTAKES, MOST_MISTAKES))
    predicted, confidence, losses = predictions.predicted, predictions.confidence, predictions.losses
    return [
        (
            Mistake(
                index=int(index),
                true=data.class_names[predictions.labels[index]],
                predicted=data.class_names[predicted[index]],
                confidence=float(confidence[index]),
                loss=float(losses[index]),
            ),
            data.test.images[index],
        )
        for index in mistakes_of_each_class(predictions, count)
    ]


_Row = tuple[ExplainedImage, list[tuple[Pixels, str]]]


def _explained_rows(data: ImageDataset, predictions: Predictions, explanation: Explanation) -> list[_Row]:
    """Return each explained image with its maps, as images of one size with captions."""
    rows = []
    for number, index in enumerate(explanation.indices):
        image = data.test.images[index]
        predicted_name, true = (
            data.class_names[label] for label in (predictions.predicted[index], predictions.labels[index])
        )
        correct = not predictions.wrong[index]
        tiles = [(_rgb(enlarged(image)), "image")]
        if explanation.for_predicted is not None and explanation.for_label is not None:
            ours, truth = explanation.for_predicted[number], explanation.for_label[number]
            low, high = float(min(ours.min(), truth.min())), float(max(ours.max(), truth.max()))
            tiles.append((overlaid(image, ours, low, high), f"for {short(predicted_name)}"))
            if not correct:
                tiles.append((overlaid(image, truth, low, high), f"for {short(true)}"))
        fall = explanation.occlusion[number]
        tiles.append((overlaid(image, fall, 0.0, max(float(fall.max()), 1e-6)), "occlusion"))
        caption = f"{predicted_name}, {predictions.confidence[index]:.0%}" + (
            "" if correct else f"; true: {true}"
        )
        rows.append((ExplainedImage(caption=caption, correct=correct, pictures=()), tiles))
    return rows


def _numbered(rows: list[_Row]) -> tuple[ExplainedImage, ...]:
    """Return the rows with the indices of their images on the sheet."""
    numbered, first = [], 0
    for row, tiles in rows:
        indices = tuple((first + offset, label) for offset, (_, label) in enumerate(tiles))
        numbered.append(ExplainedImage(caption=row.caption, correct=row.correct, pictures=indices))
        first += len(tiles)
    return tuple(numbered)


def _explained_note(explanation: Explanation) -> str:
    occlusion = (
        f"Occlusion: bright where covering a patch of {explanation.patch} x {explanation.patch} pixels with "
        "the mean colour reduces the logit of the predicted class most."
    )
    if explanation.for_predicted is None:
        return (
            "The network does not end in global average pooling followed by linear functions alone, so there "
            f"are no class-activation maps. {occlusion}"
        )
    height, width = explanation.for_predicted.shape[1:]
    return (
        f"Class-activation maps of {height} x {width} cells, bright where the last feature map supports a "
        f"class. Their mean is the logit of the class. {occlusion}"
    )


_Notes = tuple[tuple[str, tuple[int, ...]], ...]


def _blocks(data: ImageDataset, explanation: Explanation | None) -> tuple[Sheet | None, _Notes]:
    """Return the feature maps of each block on one sheet, and a caption for each block."""
    if explanation is None or not explanation.blocks:
        return None, ()
    height, width = data.test.images.shape[1:3]
    size = (BLOCK_SIDE * height // max(height, width), BLOCK_SIDE * width // max(height, width))
    tiles: list[Pixels] = []
    notes = []
    names = explanation.names or tuple(f"Block {place + 1}" for place in range(len(explanation.blocks)))
    for name, maps, channels in zip(names, explanation.blocks, explanation.channels, strict=True):
        indices = tuple(range(len(tiles), len(tiles) + len(maps)))
        tiles += [map_tile(each, max(size[0], 1), max(size[1], 1)) for each in maps]
        shape = " x ".join(map(str, maps.shape[1:]))
        note = f"{shape} cells, {len(maps)} of {channels} channels"
        notes.append((f"{name}: {note}" if name else note, indices))
    return sheet(tiles), tuple(notes)


def _examples(session: Session) -> tuple[Sheet, _Notes]:
    """Return training images by class on one sheet, and the indices of the images of each class."""
    train, names = session.data.train, session.data.class_names
    indices = example_indices(session.recipe, session.data)
    labels = train.labels[indices]
    notes = tuple(
        (names[label], tuple(np.flatnonzero(labels == label).tolist()))
        for label in np.unique(labels).tolist()
    )
    return sheet([np.asarray(train.images[index]) for index in indices]), notes


def _rgb(image: Pixels) -> Pixels:
    return image.repeat(3, axis=2) if image.shape[2] == 1 else image


def _filters(folder: RunFolder, session: Session) -> tuple[Sheet | None, str]:
    """Return the filters of the first layer if it is a convolution larger than 1x1."""
    first = first_convolution(session.analysis)
    weights = None if first is None else folder.find_weight(f"{first.name}.weight")
    if first is None or weights is None or weights.ndim != 4:
        return None, ""
    tiles = filter_tiles(weights[:MOST_FILTERS])
    return sheet([enlarged(tile) for tile in tiles]), _filters_note(first, len(tiles))


def first_convolution(analysis: Analysis) -> Row | None:
    """Return the layer that sees the image first if it is a convolution larger than 1x1.

    Only what keeps every pixel may come before it: normalization, padding, and moving pixels to channels.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> first_convolution(analyze_notation("C8:k5 / G F10", (3, 32, 32))).kernel
        (5, 5)
    """
    before = {IMAGE}
    for number, row in enumerate(analysis.rows):
        if not before.intersection(row.sources):
            continue
        if row.operation == "Conv2d":
            return row if max(row.kernel) > 1 else None
        if not _keeps_pixels(row):
            return None
        before.add(number)
    return None


def _keeps_pixels(row: Row) -> bool:
    name = row.operation.lower().replace(" ", "")
    return row.elementwise or "pad" in name or "unshuffle" in name or "norm" in name


def _filters_note(first: Row, shown: int) -> str:
    channels = first.in_shape[0] // first.groups
    colours = {1: "grey", 3: "colour"}.get(channels, f"the mean over {channels} inputs")
    count = f"{shown} of {first.out_shape[0]}" if shown < first.out_shape[0] else f"{shown}"
    size = f"{first.kernel[0]} x {first.kernel[1]} pixels"
    return f"{count} filters of {size}, {colours}; middle grey is 0, each is scaled by its largest weight."


def _augmented(samples: PreviewImages) -> Sheet:
    pairs = zip(samples.originals, samples.versions, strict=True)
    return sheet([tile for one, others in pairs for tile in (one, *others)])
