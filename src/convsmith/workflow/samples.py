"""Pictures of a recipe's data: random examples, and augmented ones as the net sees them."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convsmith import runtime
from convsmith.data.augment import Draw, augmenter
from convsmith.data.images import ImageData
from convsmith.data.transforms import HorizontalFlip, Transform
from convsmith.recipe.schema import Recipe
from convsmith.reports import pictures
from convsmith.reports.page import Picture
from convsmith.reports.pictures import Tile
from convsmith.reports.style import save as save_figure
from convsmith.reports.style import short

NUM_EXAMPLES = 24
AUGMENTED_ROWS, AUGMENTED_VERSIONS = 5, 7
# The streams that images and changes are drawn from.
_EXAMPLES, _AUGMENTED, _PREVIEW = 100, 102, 103


def data_pictures(recipe: Recipe, data: ImageData, folder: Path) -> list[Picture]:
    """Random examples of the training set, and augmented ones as the net sees them."""
    chosen = draw_some(len(data.train), NUM_EXAMPLES, recipe.seed, _EXAMPLES)
    tiles = [
        Tile(image=data.train.images[index], caption=short(data.class_names[data.train.labels[index]]))
        for index in chosen
    ]
    height, width = data.train.images.shape[1:3]
    subtitle = (
        f"{len(data.train):,} training images of {height} x {width} pixels, {len(tiles)} drawn at random"
    )
    figure = pictures.gallery(tiles, f"{data.title}: examples", subtitle)
    drawn = [save(figure, folder, "examples", "Random examples")]
    if recipe.augment.transforms:
        drawn.append(save(_augmented(recipe, data), folder, "augmented", "Augmented images"))
    return drawn


def augmented_versions(
    recipe: Recipe, data: ImageData
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
    """Some training images as the net sees them.

    Returns:
        Their places in the training set `(N,)`, the images `(N, H, W, C)`, and changed copies
        `(N, K, H, W, C)`.
    """
    chosen = draw_some(len(data.train), AUGMENTED_ROWS, recipe.seed, _AUGMENTED)
    augment = augmenter(recipe.augment, data.mean)
    originals = data.train.images[chosen]
    repeated = torch.from_numpy(originals.repeat(AUGMENTED_VERSIONS, axis=0)).permute(0, 3, 1, 2)
    draw = Draw(seed=runtime.derive_seed(recipe.seed, _PREVIEW), epoch=1, indices=torch.arange(len(repeated)))
    changed = augment(repeated, draw).permute(0, 2, 3, 1).numpy()
    return chosen, originals, changed.reshape(len(originals), AUGMENTED_VERSIONS, *changed.shape[1:])


def transforms_line(recipe: Recipe) -> str:
    """The transforms of a recipe and how often each is applied."""
    return ", ".join(_how_often(each) for each in recipe.augment.transforms)


def draw_some(population: int, count: int, *key: int) -> NDArray[np.int64]:
    """Indices drawn at random without repeats, all of them where there are few."""
    chosen: NDArray[np.int64] = torch.randperm(population, generator=runtime.generator(*key))[:count].numpy()
    return chosen


def save(figure: Figure, folder: Path, name: str, title: str) -> Picture:
    path = save_figure(figure, folder / f"{name}.png")
    return Picture(title=title, path=f"{folder.name}/{path.name}", file=path)


def _augmented(recipe: Recipe, data: ImageData) -> Figure:
    chosen, originals, versions = augmented_versions(recipe, data)
    names = [data.class_names[label] for label in data.train.labels[chosen]]
    title, subtitle = "Augmentation, as the net sees it", transforms_line(recipe)
    return pictures.augmented(originals, versions, names, title, subtitle)


def _how_often(transform: Transform) -> str:
    alternates = isinstance(transform, HorizontalFlip) and transform.alternate
    return f"{transform.name} ({'every other epoch' if alternates else f'p = {transform.p:g}'})"
