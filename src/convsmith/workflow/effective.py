"""The effective receptive field of a run's or a recipe's net on the images of its own data."""

import torch

from convsmith import runtime
from convsmith.arch.build import build
from convsmith.data.normalize import Normalizer, normalized
from convsmith.errors import RecipeError
from convsmith.evaluation.effective_field import EffectiveField, effective_field, layer_before_head
from convsmith.training.run import RunFolder
from convsmith.workflow.prepare import prepare
from convsmith.workflow.target import Target

_SAMPLE, _BATCH = 104, 64


def measure(target: Target, num_images: int) -> EffectiveField:
    """Measure over test images drawn by the recipe's seed; see `evaluation.effective_field`.

    Args:
        target: A run, whose weights are taken, or a recipe, whose net gets its initial weights.
        num_images: At least 1; all where there are fewer.

    Raises:
        RecipeError: The target is a net alone, without images.
        RunError: The run's weights are damaged.
    """
    if target.recipe is None:
        raise RecipeError(
            "a net alone has no images to look at",
            where=target.analysis.title,
            fix="name a recipe, for example with model.net=..., or a run",
        )
    prepared = prepare(target.recipe)
    recipe, data, plan = prepared.recipe, prepared.data, prepared.analysis.plan
    layer = layer_before_head(plan)
    device = runtime.choose_device(recipe.train.device)
    net = build(plan, generator=runtime.generator(recipe.seed))
    if target.run is not None:
        RunFolder.open(target.run).load_weights(net)
    net.to(device)
    drawn = torch.randperm(len(data.test), generator=runtime.generator(recipe.seed, _SAMPLE))
    sample = data.test.pick(drawn[:num_images].sort().values.numpy())
    view = next(row.after for row in prepared.analysis.rows if row.name == layer)
    with prepared.threads():
        batches = normalized(sample.images, Normalizer.of(data, device), _BATCH)
        return effective_field(net, batches, layer, view)
