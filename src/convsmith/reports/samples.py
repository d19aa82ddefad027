"""Pictures of a recipe's data: random examples, and training images as the pipeline yields them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from convsmith.data.dataset import ImageDataset
from convsmith.data.images.memory_mapped import Images
from convsmith.data.pipeline import BatchSpec, Pipeline
from convsmith.evaluation.metrics import rank_in_class
from convsmith.recipes.schema import Recipe
from convsmith.reports import galleries
from convsmith.reports.galleries import Tile
from convsmith.reports.page import Picture, save
from convsmith.reports.style import Drawing, short
from convsmith.system.rng import new_generator
from convsmith.text import percent, plural
from convsmith.training.batches import num_batches

NUM_EXAMPLES = 24
PREVIEW_ROWS, PREVIEW_COLUMNS = 5, 7
# The random streams that images are drawn from.
_EXAMPLES, _PREVIEW = 100, 102


@dataclass(frozen=True, kw_only=True)
class PreviewImages:
    """Training images as the net sees them in several steps of a training.

    Attributes:
        names: The class of each image, `N` of them.
        originals: `(N, H, W, C)` uint8.
        versions: `(N, K, H, W, C)` uint8, one of each step; smaller ones are enlarged without smoothing.
        note: The transforms with their probabilities, mixing and smaller image sizes.
    """

    names: tuple[str, ...]
    originals: NDArray[np.uint8]
    versions: NDArray[np.uint8]
    note: str


def sample_pictures(
    recipe: Recipe, data: ImageDataset, preview: PreviewImages | None, folder: Path
) -> list[Picture]:
    """Draw random examples of the training set, and the preview of augmentation."""
    indices = example_indices(recipe, data)
    tiles = [
        Tile(image=data.train.images[index], caption=short(data.class_names[data.train.labels[index]]))
        for index in indices
    ]
    height, width = data.train.images.shape[1:3]
    subtitle = (
        f"{plural(len(tiles), 'random image')} by class, of {plural(len(data.train), 'training image')} "
        f"of {height} x {width} pixels"
    )
    columns = _columns(np.bincount(data.train.labels[indices]).max())
    drawing = galleries.gallery(tiles, f"{data.title}: examples", subtitle, columns=columns)
    pictures = [save("Examples of each class", {"examples": drawing}, folder)]
    if preview is not None:
        pictures.append(save("Augmented images", {"augmented": _preview_drawing(preview)}, folder))
    return pictures


def example_indices(recipe: Recipe, data: ImageDataset) -> NDArray[np.int64]:
    """Return random training images, equally many of each class where there are enough, in order of class."""
    return balanced_indices(data.train.labels, NUM_EXAMPLES, recipe.seed, _EXAMPLES)


def balanced_indices(labels: NDArray[np.int64], count: int, *key: int) -> NDArray[np.int64]:
    """Return random indices: equally many of each class, at least `count` if there are as many, by class.

    With more classes than `count`, one image each of `count` random classes.

    Example:
        >>> labels = np.array([0] * 90 + [1] * 8 + [2] * 2)
        >>> np.bincount(labels[balanced_indices(labels, 10, 1)]).tolist()
        [4, 4, 2]
    """
    shuffled = torch.randperm(len(labels), generator=new_generator(*key)).numpy()
    classes = len(np.unique(labels))
    rank = rank_in_class(labels[shuffled])
    selection = shuffled[rank < -(-count // classes)]
    if classes > count:
        selection = selection[:count]
    result: NDArray[np.int64] = selection[np.argsort(labels[selection], kind="stable")]
    return result


def _columns(per_class: int) -> int:
    """Return a number of columns in which the images of a class stay together."""
    return next((count for count in (6, 8, 5, 7) if count % per_class == 0 or per_class % count == 0), 6)


def preview_images(recipe: Recipe, data: ImageDataset) -> PreviewImages | None:
    """Return some training images as the pipeline yields them; None if the recipe does not change images."""
    augment = recipe.augment
    if not augment.transforms and augment.mix is None and recipe.train.progressive is None:
        return None
    specs = preview_specs(recipe, data)
    pipeline = Pipeline(data, augment, seed=recipe.seed, device=torch.device("cpu"))
    indices = specs[0].indices.numpy()
    originals = data.train.images[indices]
    versions = [_pixels(pipeline, spec, originals.shape) for spec in specs]
    return PreviewImages(
        names=tuple(data.class_names[label] for label in data.train.labels[indices]),
        originals=originals,
        versions=np.stack(versions, axis=1),
        note=", ".join(_notes(recipe)),
    )


def preview_specs(recipe: Recipe, data: ImageDataset) -> list[BatchSpec]:
    """Return the batches of a preview: the same few images at steps spread evenly over the training."""
    chosen = balanced_indices(data.train.labels, PREVIEW_ROWS, recipe.seed, _PREVIEW)[:PREVIEW_ROWS]
    indices = torch.from_numpy(chosen)
    train, per_epoch = recipe.train, num_batches(len(data.train), recipe.train.batch_size)
    specs = []
    for number in np.linspace(0, train.epochs_run * per_epoch - 1, PREVIEW_COLUMNS).round().astype(int):
        epoch, step = int(number) // per_epoch + 1, int(number) % per_epoch
        size = train.image_size(epoch, step, per_epoch)
        specs.append(BatchSpec(indices=indices, epoch=epoch, step=step, image_size=size))
    return specs


def _pixels(pipeline: Pipeline, spec: BatchSpec, shape: tuple[int, ...]) -> Images:
    """Return a batch as uint8 images of the originals' shape `(N, H, W, C)`."""
    images = pipeline.normalize.inverse(pipeline(spec).images).permute(0, 2, 3, 1).numpy()
    rows, columns = (
        np.arange(length) * size // length for length, size in zip(shape[1:3], images.shape[1:3], strict=True)
    )
    return images[:, rows][:, :, columns]


def _preview_drawing(preview: PreviewImages) -> Drawing:
    title = "Training images as the net sees them"
    return galleries.augmented(preview.originals, preview.versions, preview.names, title, preview.note)


def _notes(recipe: Recipe) -> list[str]:
    notes = [f"{transform.name} ({transform.frequency})" for transform in recipe.augment.transforms]
    if (mix := recipe.augment.mix) is not None:
        notes.append(f"{mix.name} ({mix.frequency})")
    if (progressive := recipe.train.progressive) is not None:
        size, share = progressive.start_size, percent(progressive.until, 0)
        notes.append(f"{size} x {size} pixels in the first {share} of the steps")
    return notes
