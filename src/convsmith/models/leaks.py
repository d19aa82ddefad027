"""Whether weights that a training begins with were trained on its test or validation images."""

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, TrainingData, image_ids, load_training_data
from convsmith.data.sources import find_source
from convsmith.errors import ConvsmithError
from convsmith.recipes.session import TrainingSession
from convsmith.runs.schema import SeenData


def leak_notes(
    session: TrainingSession, seen: Sequence[SeenData], images: DataConfig | None
) -> Iterator[str]:
    """Yield a warning for each split whose images a start was trained on, and a note on what is not known.

    Args:
        session: With the data of the training.
        seen: The data sets that the start, and the starts that it began with, were trained on.
        images: The `[data]` table of the start; None if it is not known. Its training images are compared one
            by one where they are on this machine.
    """
    data = session.data
    test = data.evaluation_set.kind if isinstance(data, ImageDataset) else "test"
    if not seen or not all(each.is_known for each in seen):
        yield (
            f"the images that the start was trained on are not known; if {test} images are among them, the "
            f"{test} accuracy is too high"
        )
    fingerprints, settings = data.split_fingerprints(), split_settings(session.recipe.data)
    shared = _shared_images(data, seen[0], images) if seen and images else {}
    for name in ("validation", "test"):
        if name not in fingerprints:
            continue
        kind = test if name == "test" else name
        equal = [each for each in seen if each.splits.get("train") == fingerprints[name]]
        other = [each for each in seen if _is_split_otherwise(data, each, name, settings[name])]
        if equal:
            yield (
                f"warning: the {kind} images are those that the start was trained on ({equal[0].title}), so "
                f"that the {kind} accuracy is far too high"
            )
        elif count := shared.get(name):
            yield (
                f"warning: {count:,} of {len(data.splits[name]):,} {kind} images have the pixels of an image "
                f"that the start was trained on ({seen[0].title}), so that the {kind} accuracy is too high"
            )
        elif other:
            has = "has" if other[0].splits else "may have"
            yield (
                f"warning: the start was trained on this data set ({other[0].title}), by another split: it "
                f"{has} seen {kind} images, so that the {kind} accuracy is too high"
            )


def split_settings(config: DataConfig) -> dict[str, str]:
    """Return the settings that decide which images are held out: test images first, then validation."""
    # A fold is chosen among the images that the test set leaves.
    test = [config.split_seed, config.group, config.test_fraction, *([config.fold] if config.fold else [])]
    return {"test": json.dumps(test), "validation": json.dumps([*test, config.validation])}


def _is_split_otherwise(data: TrainingData, seen: SeenData, name: str, settings: str) -> bool:
    """Whether a start was trained on the same data set, as far as is known by another split."""
    # A test set that comes with the data is never trained on.
    comes_with_data = isinstance(data, ImageDataset) and name == "test" and not data.test_is_split_off
    same_split = settings == seen.settings.get(name) or data.split_fingerprints()[name] in {
        value for split, value in seen.splits.items() if split != "train"
    }
    return seen.fingerprint == data.fingerprint and not comes_with_data and not same_split


def _shared_images(data: TrainingData, own: SeenData, images: DataConfig) -> Mapping[str, int]:
    """Count the images of each held-out split with the pixels of a training image of a start.

    Nothing is downloaded: images that are not on this machine, or have changed, are not compared. Images of
    other sizes, or that were stored with losses again, have other pixels.
    """
    try:
        if find_source(images).kind == "hub":
            return {}
        trained = load_training_data(images)
    except ConvsmithError:
        return {}
    if trained.fingerprint != own.fingerprint or trained.image_shape != data.image_shape:
        return {}
    ids = image_ids(trained.train.images)
    splits = ((name, split) for name, split in data.splits.items() if name != "train")
    return {name: int(np.isin(image_ids(split.images), ids).sum()) for name, split in splits}
