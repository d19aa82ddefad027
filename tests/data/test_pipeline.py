"""Batches follow from their spec alone, and each stage does what it does by itself."""

from typing import Any

import pytest
import torch

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, load
from convsmith.data.pipeline import BatchSpec, Pipeline
from convsmith.data.resize import resize_images

CPU = torch.device("cpu")
INDICES = torch.tensor([7, 3, 500, 3, 11])


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load(DataConfig(source="digits"))


def pipeline(data: ImageDataset, seed: int = 0, **config: Any) -> Pipeline:
    return Pipeline(data, AugmentConfig.model_validate(config), seed=seed, device=CPU)


def pixels(data: ImageDataset) -> torch.Tensor:
    return torch.from_numpy(data.train.images[INDICES.numpy()]).permute(0, 3, 1, 2)


def spec(epoch: int = 1, step: int = 0, image_size: int | None = None, part: int = 0) -> BatchSpec:
    return BatchSpec(indices=INDICES, epoch=epoch, step=step, image_size=image_size, part=part)


def test_without_augmentation_images_are_normalised_and_labels_are_targets(digits: ImageDataset) -> None:
    pipe = pipeline(digits)
    batch = pipe(spec())
    expected = (pixels(digits).float() / 255 - digits.mean[0]) / digits.std[0]
    assert torch.allclose(batch.images, expected, atol=1e-5)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.tolist() == digits.train.labels[INDICES.numpy()].tolist()
    assert torch.equal(batch.targets, batch.labels)
    assert torch.equal(pipe.normalize.inverse(batch.images), pixels(digits))


def test_resizing_comes_before_normalising(digits: ImageDataset) -> None:
    pipe = pipeline(digits)
    images = pipe(spec(image_size=5)).images
    assert torch.equal(images, pipe.normalize(resize_images(pixels(digits), 5)))


def test_equal_specs_and_seeds_give_equal_batches(digits: ImageDataset) -> None:
    config: dict[str, Any] = {
        "transforms": [{"name": "RandomCrop", "padding": 2}],
        "mix": {"name": "mixup", "alpha": 1.0, "p": 1.0},
    }
    first = pipeline(digits, **config)(spec())
    again = pipeline(digits, **config)(spec())
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.targets, again.targets)
    others = [spec(epoch=2), spec(step=1), spec(part=1)]
    batches = [pipeline(digits, **config)(each) for each in others]
    batches.append(pipeline(digits, seed=1, **config)(spec()))
    assert all(not torch.equal(first.images, other.images) for other in batches)


def test_mixing_turns_labels_into_probabilities(digits: ImageDataset) -> None:
    batch = pipeline(digits, mix={"name": "cutmix", "p": 1.0})(spec())
    assert batch.targets.shape == (5, 10)
    assert torch.allclose(batch.targets.sum(1), torch.ones(5))


def test_parts_of_a_batch_have_its_images_in_order() -> None:
    parts = spec(epoch=3, step=4, image_size=6).split(2)
    assert [len(part) for part in parts] == [3, 2]
    assert torch.equal(torch.cat([part.indices for part in parts]), INDICES)
    assert [(part.epoch, part.step, part.image_size, part.part) for part in parts] == [
        (3, 4, 6, 0),
        (3, 4, 6, 1),
    ]
    assert parts[0].derive_seed(0, 1) != parts[1].derive_seed(0, 1)
