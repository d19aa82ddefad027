"""The small images of a run's page: mistakes, explanations, first filters, augmentation."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from convsmith.data.dataset import ImageData
from convsmith.evaluation import explanation
from convsmith.evaluation.explanation import Explanation
from convsmith.evaluation.metrics import mistakes_of_each_class
from convsmith.evaluation.predictions import Predictions
from convsmith.net.plan import Op
from convsmith.recipes.session import Session
from convsmith.reports import galleries
from convsmith.reports.galleries import Tile
from convsmith.reports.html import ExplainedImage, Mistake, PagePictures
from convsmith.reports.samples import Augmented
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
from convsmith.reports.style import short
from convsmith.runs.folder import RunFolder

# Mistakes on the page, and the bytes of pixels that they may take before there are fewer of them.
MOST_MISTAKES, FEWEST_MISTAKES, MISTAKE_BYTES = 300, 60, 4_000_000
MOST_FILTERS = 64
BLOCK_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """What a run's folder holds of explanations, and each explained image with its maps as pictures."""

    maps: Explanation
    rows: "list[_Row]"


def explanations(folder: RunFolder, prepared: Session, found: Predictions) -> Explanations | None:
    """Read and draw them; None in runs of older versions.

    Raises:
        RunError: The file is damaged.
    """
    if not folder.explanation.is_file():
        return None
    maps = explanation.read(folder.explanation, len(found))
    return Explanations(maps=maps, rows=_explained_rows(prepared.data, found, maps))


def page_pictures(
    folder: RunFolder,
    prepared: Session,
    found: Predictions,
    explained: Explanations | None,
    augmented: Augmented | None,
) -> PagePictures:
    """All small images of the page, from the data and what the folder holds."""
    data = prepared.data
    gallery = _gallery(data, found)
    explanation, rows = (explained.maps, explained.rows) if explained else (None, [])
    filters, filters_note = _filters(folder, prepared)
    blocks, block_notes = _blocks(data, explanation)
    return PagePictures(
        mistakes=tuple(mistake for mistake, _ in gallery),
        num_mistakes=int(found.wrong.sum()),
        mistakes_sheet=_sheet([image for _, image in gallery]),
        explained=_numbered(rows),
        explained_sheet=_sheet([image for _, tiles in rows for image, _ in tiles], lossless=False),
        explained_note=_explained_note(explanation) if explanation else "",
        blocks=blocks,
        block_notes=block_notes,
        filters=filters,
        filters_note=filters_note,
        augmented=_augmented(augmented) if augmented else None,
        augmented_names=augmented.names if augmented else (),
        augmented_columns=1 + augmented.versions.shape[1] if augmented else 0,
        augmented_note=augmented.note if augmented else "",
    )


def explanation_picture(prepared: Session, found: Predictions, explained: Explanations) -> Figure:
    """The explanation as one picture for the README."""
    explanation, rows = explained.maps, explained.rows
    columns = max(len(images) for _, images in rows)
    tiles: list[Tile | None] = []
    for number, (_, images) in enumerate(rows):
        index = explanation.indices[number]
        right = not found.wrong[index]
        guess = short(prepared.data.class_names[found.predicted[index]])
        tiles += [
            Tile(image=image, caption=label if place else guess, right=None if place else right)
            for place, (image, label) in enumerate(images)
        ]
        tiles += [None] * (columns - len(images))
    return galleries.gallery(tiles, "What the net looks at", columns=columns * 2)


def _sheet(images: list[Pixels], *, lossless: bool = True) -> Sheet | None:
    return sheet(images, lossless=lossless) if images else None


def _gallery(data: ImageData, found: Predictions) -> list[tuple[Mistake, Pixels]]:
    height, width, channels = data.test.images.shape[1:]
    each = min(height, LARGEST_SIDE) * min(width, LARGEST_SIDE) * channels
    count = int(np.clip(MISTAKE_BYTES // each, FEWEST_MISTAKES, MOST_MISTAKES))
    predicted, confidence, losses = found.predicted, found.confidence, found.losses
    return [
        (
            Mistake(
                index=int(index),
                true=data.class_names[found.labels[index]],
                predicted=data.class_names[predicted[index]],
                confidence=float(confidence[index]),
                loss=float(losses[index]),
            ),
            data.test.images[index],
        )
        for index in mistakes_of_each_class(found, count)
    ]


_Row = tuple[ExplainedImage, list[tuple[Pixels, str]]]


def _explained_rows(data: ImageData, found: Predictions, explanation: Explanation) -> list[_Row]:
    """Each explained image with its maps, as pictures of one size with what they are called."""
    rows = []
    for number, index in enumerate(explanation.indices):
        image = data.test.images[index]
        guess, true = (data.class_names[label] for label in (found.predicted[index], found.labels[index]))
        right = not found.wrong[index]
        tiles = [(_in_colour(enlarged(image)), "image")]
        if explanation.for_predicted is not None and explanation.for_label is not None:
            ours, truth = explanation.for_predicted[number], explanation.for_label[number]
            low, high = float(min(ours.min(), truth.min())), float(max(ours.max(), truth.max()))
            tiles.append((overlaid(image, ours, low, high), f"for {short(guess)}"))
            if not right:
                tiles.append((overlaid(image, truth, low, high), f"for {short(true)}"))
        fall = explanation.occlusion[number]
        tiles.append((overlaid(image, fall, 0.0, max(float(fall.max()), 1e-6)), "covered"))
        caption = f"{guess}, {found.confidence[index]:.0%}" + ("" if right else f"; is {true}")
        rows.append((ExplainedImage(caption=caption, right=right, pictures=()), tiles))
    return rows


def _numbered(rows: list[_Row]) -> tuple[ExplainedImage, ...]:
    """The rows with the numbers that their pictures have on the sheet."""
    numbered, first = [], 0
    for row, tiles in rows:
        places = tuple((first + offset, label) for offset, (_, label) in enumerate(tiles))
        numbered.append(ExplainedImage(caption=row.caption, right=row.right, pictures=places))
        first += len(tiles)
    return tuple(numbered)


def _explained_note(explanation: Explanation) -> str:
    covered = (
        f"Covered: bright where the predicted class's logit falls most when a patch of {explanation.patch} x "
        f"{explanation.patch} pixels there gets the mean colour."
    )
    if explanation.for_predicted is None:
        return (
            f"The net does not end in global average pooling, so it has no class-activation maps. {covered}"
        )
    height, width = explanation.for_predicted.shape[1:]
    return (
        f"Class-activation maps of {height} x {width} cells: bright where the last map speaks for a class; "
        f"their mean is the class's logit. {covered}"
    )


_Notes = tuple[tuple[str, tuple[int, ...]], ...]


def _blocks(data: ImageData, explanation: Explanation | None) -> tuple[Sheet | None, _Notes]:
    """The maps of each block on one sheet, and what is said of each block."""
    if explanation is None or not explanation.blocks:
        return None, ()
    height, width = data.test.images.shape[1:3]
    size = (BLOCK_SIDE * height // max(height, width), BLOCK_SIDE * width // max(height, width))
    tiles: list[Pixels] = []
    notes = []
    for number, (maps, channels) in enumerate(
        zip(explanation.blocks, explanation.channels, strict=True), start=1
    ):
        places = tuple(range(len(tiles), len(tiles) + len(maps)))
        tiles += [map_tile(each, max(size[0], 1), max(size[1], 1)) for each in maps]
        shape = " x ".join(map(str, maps.shape[1:]))
        notes.append((f"Block {number}: {shape} cells, {len(maps)} of {channels} channels", places))
    return sheet(tiles), tuple(notes)


def _in_colour(image: Pixels) -> Pixels:
    return image.repeat(3, axis=2) if image.shape[2] == 1 else image


def _filters(folder: RunFolder, prepared: Session) -> tuple[Sheet | None, str]:
    """The filters of a first layer that is a convolution; there is nothing to see in 1x1 pixels."""
    first = next(prepared.analysis.plan.operations())
    if first.operation == "PixelUnshuffle":
        operations = prepared.analysis.plan.operations()
        first = next(op for op in operations if op.operation != "PixelUnshuffle")
    if first.operation != "Conv2d" or first.kernel < 2:
        return None, ""
    weights = folder.weight(f"{first.name}.weight")
    tiles = filter_tiles(weights[:MOST_FILTERS])
    return sheet([enlarged(tile) for tile in tiles]), _filters_note(first, len(tiles))


def _filters_note(first: Op, shown: int) -> str:
    channels = first.in_shape[0] // first.groups
    seen = {1: "grey", 3: "colour"}.get(channels, f"the mean over {channels} inputs")
    told = f"{shown} of {first.out_shape[0]}" if shown < first.out_shape[0] else f"{shown}"
    size = f"{first.kernel} x {first.kernel} pixels"
    return f"{told} filters of {size}, {seen}; middle grey is 0, each is scaled by its largest weight."


def _augmented(some: Augmented) -> Sheet:
    pairs = zip(some.originals, some.versions, strict=True)
    return sheet([tile for one, others in pairs for tile in (one, *others)])
