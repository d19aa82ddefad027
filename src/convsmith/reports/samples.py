"""Pictures of a recipe's data: random examples, and augmented ones as the net sees them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convsmith.data.augment.engines import Draw, augmenter
from convsmith.data.augment.transforms import HorizontalFlip, Transform
from convsmith.data.dataset import ImageData
from convsmith.recipes.schema import Recipe
from convsmith.reports import galleries
from convsmith.reports.galleries import Tile
from convsmith.reports.page import Picture
from convsmith.reports.style import save as save_figure
from convsmith.reports.style import short
from convsmith.system.rng import derive_seed, new_generator

NUM_EXAMPLES = 24
AUGMENTED_ROWS, AUGMENTED_VERSIONS = 5, 7
# The streams that images and changes are drawn from.
_EXAMPLES, _AUGMENTED, _PREVIEW = 100, 102, 103


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """Some training images as the net sees them.

    Attributes:
        names: The class of each, `N` of them.
        originals: `(N, H, W, C)` uint8.
        versions: `(N, K, H, W, C)` uint8, changed copies of each.
        note: The transforms, and how often each is applied.
    """

    names: tuple[str, ...]
    originals: NDArray[np.uint8]
    versions: NDArray[np.uint8]
    note: str


def data_pictures(
    recipe: Recipe, data: ImageData, augmented: Augmented | None, folder: Path
) -> list[Picture]:
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
    figure = galleries.gallery(tiles, f"{data.title}: examples", subtitle)
    drawn = [save(figure, folder, "examples", "Random examples")]
    if augmented is not None:
        drawn.append(save(_drawn(augmented), folder, "augmented", "Augmented images"))
    return drawn


def augmented_samples(recipe: Recipe, data: ImageData) -> Augmented | None:
    """Augment some training images; None where the recipe augments none."""
    if not recipe.augment.transforms:
        return None
    chosen = draw_some(len(data.train), AUGMENTED_ROWS, recipe.seed, _AUGMENTED)
    augment = augmenter(recipe.augment, data.mean)
    originals = data.train.images[chosen]
    repeated = torch.from_numpy(originals.repeat(AUGMENTED_VERSIONS, axis=0)).permute(0, 3, 1, 2)
    draw = Draw(seed=derive_seed(recipe.seed, _PREVIEW), epoch=1, indices=torch.arange(len(repeated)))
    changed = augment(repeated, draw).permute(0, 2, 3, 1).numpy()
    return Augmented(
        names=tuple(data.class_names[label] for label in data.train.labels[chosen]),
        originals=originals,
        versions=changed.reshape(len(originals), AUGMENTED_VERSIONS, *changed.shape[1:]),
        note=", ".join(_how_often(each) for each in recipe.augment.transforms),
    )


def draw_some(population: int, count: int, *key: int) -> NDArray[np.int64]:
    """Indices drawn at random without repeats, all of them where there are few."""
    chosen: NDArray[np.int64] = torch.randperm(population, generator=new_generator(*key))[:count].numpy()
    return chosen


def save(figure: Figure, folder: Path, name: str, title: str) -> Picture:
    path = save_figure(figure, folder / f"{name}.png")
    return Picture(title=title, path=f"{folder.name}/{path.name}", file=path)


def _drawn(some: Augmented) -> Figure:
    title = "Augmentation, as the net sees it"
    return galleries.augmented(some.originals, some.versions, some.names, title, some.note)


def _how_often(transform: Transform) -> str:
    alternates = isinstance(transform, HorizontalFlip) and transform.alternate
    return f"{transform.name} ({'every other epoch' if alternates else f'p = {transform.p:g}'})"
