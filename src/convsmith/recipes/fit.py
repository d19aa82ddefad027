"""Check that net and augmentation of a recipe fit its data and its brief, without images and torch."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from convsmith.briefs.checks import Check, RunMetrics, judge
from convsmith.data.dataset import DatasetInfo
from convsmith.errors import Problem, RecipeError, ShapeError
from convsmith.net.arithmetic import SpecAnalysis, analyze_notation
from convsmith.net.layers.norms import BatchNorm2d
from convsmith.recipes.schema import Recipe
from convsmith.text import plural


def analyze_recipe(recipe: Recipe, info: DatasetInfo, num_images: int | None = None) -> SpecAnalysis:
    """Analyze the net of a recipe for the images of a data set.

    Args:
        recipe: The recipe.
        info: The shape of the images, and the number of classes.
        num_images: The number of training images, if it is known.

    Raises:
        RecipeError: The net, the augmentation or the batch size does not fit the images.
    """
    try:
        analysis = analyze_notation(recipe.model.net, info.image_shape, recipe.model)
    except ShapeError as error:
        problems = [replace(each, where=f"model.{each.where or 'net'}") for each in error.problems]
        raise RecipeError.of(problems) from error
    problems = [
        *recipe.data.channel_problems(info.image_shape[0]),
        *_output_problems(analysis, info),
        *_transform_problems(recipe, info),
        *_size_problems(recipe, analysis, info),
        *_batch_problems(recipe, analysis, num_images),
    ]
    if problems:
        raise RecipeError.of(problems)
    return analysis


def check_recipe(
    recipe: Recipe, analysis: SpecAnalysis, metrics: RunMetrics | None = None
) -> tuple[Check, ...]:
    """Check a net, and the metrics of a run if there are any, against the brief of its recipe."""
    return judge(recipe.brief, analysis, augmentations=recipe.augment.all, metrics=metrics)


def _output_problems(analysis: SpecAnalysis, info: DatasetInfo) -> Iterator[Problem]:
    found, expected = analysis.plan.num_classes, info.num_classes
    if found != expected:
        yield Problem(
            what=f"the net has {plural(found, 'output')}, the data has {plural(expected, 'class')}",
            where="model.net",
            fix=f"give the last layer {plural(expected, 'channel')}",
        )


def _size_problems(recipe: Recipe, analysis: SpecAnalysis, info: DatasetInfo) -> Iterator[Problem]:
    """Check that the net accepts the smaller images of progressive resizing with the same weights."""
    if recipe.train.progressive is None:
        return
    channels, height, width = info.image_shape
    size = recipe.train.progressive.start_size
    where = "train.progressive.start_size"
    if height != width or size >= height:
        yield Problem(
            what=f"found {size}, expected a size below that of square images: {height}x{width}",
            where=where,
        )
        return
    try:
        small = analyze_notation(recipe.model.net, (channels, size, size), recipe.model)
    except ShapeError as error:
        yield from (replace(each, where=where) for each in error.problems)
        return
    if small.parameters != analysis.parameters:
        yield Problem(
            what=f"with images of {size} pixels the net would have {small.parameters:,} parameters, "
            f"at {height} it has {analysis.parameters:,}",
            where=where,
            fix="put G, global average pooling, before the first fully connected layer",
        )


def _batch_problems(recipe: Recipe, analysis: SpecAnalysis, num_images: int | None) -> Iterator[Problem]:
    """Check that no batch norm has a single value for each channel, which it cannot normalise.

    Only the first batch can be of one image: a last one joins the batch before.
    """
    if min(recipe.train.batch_size, num_images or recipe.train.batch_size) > 1:
        return
    norms = (each for each in analysis.plan.operations() if isinstance(each, BatchNorm2d))
    shapes = ["x".join(map(str, norm.in_shape)) for norm in norms if prod(norm.in_shape[1:]) == 1]
    if shapes:
        single = recipe.train.batch_size == 1
        yield Problem(
            what=f"batch norm cannot normalise one value for each channel: its input is {shapes[0]}, "
            "and a batch has one image",
            where="train.batch_size" if single else "the training set",
            fix=f"{'set train.batch_size=2' if single else 'add training images'}, or set model.norm=none",
        )


def _transform_problems(recipe: Recipe, info: DatasetInfo) -> Iterator[Problem]:
    _, height, width = info.image_shape
    for index, transform in enumerate(recipe.augment.transforms):
        if (problem := transform.problem(height, width)) is not None:
            yield replace(problem, where=f"augment.transforms.{index}")
