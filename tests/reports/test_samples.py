"""The preview of augmentation shows the images that training steps see."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convsmith.data.dataset import load as load_data
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.reports.samples import _columns, balanced_indices, preview_images, preview_specs
from convsmith.training.trainer import Trainer


def trainer_of(recipe: Recipe) -> Trainer:
    session = Session.load(recipe)
    return session.trainer(session.build_net())


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["augment.engine=albumentations"],
        ["data.resize=12"],
        ["augment.transforms=[]", "augment.mix=cutmix", "augment.mix.p=1.0"],
        ["augment.mix=mixup", "augment.mix.p=1.0"],
        ["train.progressive.start_size=4", "train.progressive.until=0.5"],
    ],
)
def test_the_preview_shows_what_training_steps_see(overrides: list[str]) -> None:
    recipe = load("digits", ["train.epochs=3", "model.net=C4 / G F10", "train.precision=fp32", *overrides])
    data = load_data(recipe.data)
    preview = preview_images(recipe, data)
    assert preview is not None
    trainer, inputs = trainer_of(recipe), list[torch.Tensor]()
    (replica,) = trainer.gradients.replicas
    assert isinstance(replica, nn.Module)
    replica.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    trainer.gradients.train()
    for spec in preview_specs(recipe, data):
        trainer.train_step(trainer.make_batch(spec.indices, spec.epoch, spec.step))
    trainer.close()
    for column, images in enumerate(inputs):
        pixels = 255 * (images.permute(0, 2, 3, 1).numpy() * data.std + data.mean)
        factor = preview.versions.shape[2] // pixels.shape[1]
        versions = preview.versions[:, column]
        assert np.abs(versions[:, ::factor, ::factor] - pixels).max() < 0.51
        assert np.array_equal(versions, versions[:, ::factor, ::factor].repeat(factor, 1).repeat(factor, 2))
    assert (preview.versions != preview.originals[:, None]).any()


def test_no_preview_without_augmentation() -> None:
    recipe = load("digits", ["augment.transforms=[]"])
    assert preview_images(recipe, load_data(recipe.data)) is None


@given(
    sizes=st.lists(st.integers(0, 40), min_size=2, max_size=60).filter(any),
    count=st.integers(1, 30),
    seed=st.integers(0, 9),
)
def test_examples_are_balanced_over_the_classes(sizes: list[int], count: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    chosen = balanced_indices(labels, count, seed)
    assert len(set(chosen.tolist())) == len(chosen)
    assert labels[chosen].tolist() == sorted(labels[chosen].tolist())
    found = np.bincount(labels[chosen], minlength=len(sizes))
    classes = sum(size > 0 for size in sizes)
    if classes > count:
        assert (len(chosen), found.max()) == (count, 1)
    else:
        each = -(-count // classes)
        assert found.tolist() == [min(size, each) for size in sizes]


def test_images_of_a_class_stay_together() -> None:
    for classes in range(1, 30):
        per_class = -(-24 // classes)
        columns = _columns(per_class)
        assert columns % per_class == 0 or per_class % columns == 0, classes
