"""The images that an export is compared with PyTorch on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsmith.data.dataset import image_ids
from convsmith.data.images.memory_mapped import Images
from convsmith.models.classifier import Classifier, UnreadableImage, unreadable_error
from convsmith.models.image_inputs import image_sources
from convsmith.models.model import TrainedModel

# Training images that the ranges of 8-bit numbers are calibrated on.
NUM_CALIBRATION = 512


@dataclass(frozen=True, kw_only=True)
class ReferenceImages:
    """Images with their names and labels.

    Attributes:
        images: `(N, H, W, C)` uint8.
        names: Of each image, for error messages.
        labels: `(N,)`, None if unknown.
        calibration: Training images `(M, H, W, C)`, None if unknown.
    """

    images: Images
    names: Sequence[str]
    labels: NDArray[np.int64] | None = None
    calibration: Images | None = None


def from_files(paths: Sequence[str], classifier: Classifier) -> ReferenceImages:
    """Read images as `predict` does.

    Raises:
        FileError: A path does not exist.
        ImageError: An image cannot be read.
    """
    names, inputs = [], []
    for item in image_sources(paths):
        names.append(item.name)
        inputs.append(classifier.read(item))
    unreadable = [each for each in inputs if isinstance(each, UnreadableImage)]
    if unreadable:
        raise unreadable_error(unreadable)
    pixels = np.stack([each for each in inputs if isinstance(each, np.ndarray)])
    return ReferenceImages(images=pixels, names=names)


def from_dataset(model: TrainedModel) -> ReferenceImages:
    """Return the test images of a model's data set, and training images for calibration.

    Raises:
        BundleError: The data set of a bundle has no known name.
        RunError: The data set of a run has changed.
        DataError: The data set cannot be found or read, or is another one.
    """
    data = model.dataset()
    ids = [str(each, "ascii") for each in image_ids(data.test.images)]
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.permutation(len(data.train))[:NUM_CALIBRATION])
    return ReferenceImages(
        images=data.test.images,
        names=[f"test image {index} ({each})" for index, each in enumerate(ids)],
        labels=data.test.labels,
        calibration=data.train.select(chosen).images,
    )
