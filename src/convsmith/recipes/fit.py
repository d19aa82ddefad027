"""Check that net and augmentation of a recipe fit its data and its brief.

Without images; a net in the notation needs no torch either.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from convsmith.briefs.checks import Check, judge
from convsmith.briefs.metrics import RunMetrics
from convsmith.briefs.subject import Subject
from convsmith.data.dataset import DatasetInfo
from convsmith.errors import ModuleError, Problem, RecipeError, ShapeError
from convsmith.modules.architecture import Architecture, architecture_of
from convsmith.modules.config import ModuleConfig
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.recipes.schema import Notes, Recipe
from convsmith.text import plural
from convsmith.training.config import TrainConfig
from convsmith.training.parts import Parts, parts_of

if TYPE_CHECKING:
    from torch import nn

_BATCH_NORMS = ("BatchNorm1d", "BatchNorm2d")
_WEIGHTED = ("Conv2d", "Linear")


def analyze_recipe(
    recipe: Recipe,
    info: DatasetInfo,
    num_images: int | None = None,
    architecture: Architecture | None = None,
) -> Analysis:
    """Analyze the net of a recipe for the images of a data set.

    Args:
        recipe: The recipe.
        info: The shape of the images, and the number of classes.
        num_images: The number of training images, if it is known.
        architecture: The net of the recipe; by default the one that it names.

    Raises:
        RecipeError: The net, the augmentation or the batch size does not fit the images.
        ModuleError: The module fails on the images.
    """
    architecture = architecture or architecture_of(recipe.model)
    try:
        analysis = architecture.analyze(info.image_shape)
    except ShapeError as error:
        problems = [replace(each, where=f"model.{each.where or 'net'}") for each in error.problems]
        raise RecipeError.of(problems) from error
    problems = [
        *recipe.data.channel_problems(info.image_shape[0]),
        *_output_problems(recipe, analysis, info),
        *_transform_problems(recipe, info),
        *_size_problems(recipe, architecture, analysis, info),
        *_batch_problems(recipe, analysis, num_images),
        *_whitening_problems(recipe),
    ]
    if problems:
        raise RecipeError.of(problems)
    return with_frozen(architecture, analysis, recipe.train)


def parts_of_net(architecture: Architecture, analysis: Analysis) -> Parts:
    """Return the head of a net and the blocks below it, as a training has them.

    Those of a module follow from a forward pass: the rows of its analysis are operations, not layers.

    Args:
        architecture: The net.
        analysis: Of the net, for the shape of its images.

    Raises:
        ModuleError: The module cannot be created.
    """
    if isinstance(analysis, SpecAnalysis):
        return net_parts_of(analysis)
    return _module_parts(_module(architecture, analysis), analysis)


def net_parts_of(analysis: Analysis) -> Parts:
    """Return the head of a net in the notation and the blocks below it, without PyTorch.

    They are those that `training.freezing.net_parts` gives for its module.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> parts = net_parts_of(analyze_notation("C4 / C8 / G F10", (1, 8, 8)))
        >>> parts.blocks
        (('block1.conv1', 'block1.norm1'), ('block2.conv1', 'block2.norm1'))
        >>> parts.head
        ('block3.linear1',)
    """
    rows = [row for row in analysis.rows if row.parameters or row.operation in _BATCH_NORMS]
    names = list(dict.fromkeys(row.name for row in rows))
    norms = {row.name for row in rows if "Norm" in row.operation}
    last = max((index for index, row in enumerate(rows) if row.operation in _WEIGHTED), default=None)
    if last is None:
        return parts_of(names, norms=norms)
    earlier = {row.name for row in rows[:last]}
    head = [row.name for row in rows[last:] if row.name not in earlier]
    return parts_of(names, head, norms=norms)


def with_frozen(architecture: Architecture, analysis: Analysis, train: TrainConfig) -> Analysis:
    """Return an analysis that counts the layers which `train.freeze` freezes for all epochs as not trainable.

    Raises:
        RecipeError: A field of fine-tuning names no layer.
        ModuleError: The module cannot be created.

    Example:
        >>> from convsmith.net.settings import NotationConfig
        >>> net = architecture_of(NotationConfig(net="C4 / G F10"))
        >>> frozen = with_frozen(net, net.analyze((1, 8, 8)), TrainConfig(epochs=1, freeze="body"))
        >>> frozen.trainable, frozen.frozen
        (50, (('block1.conv1', 36), ('block1.norm1', 8)))
    """
    if train.freeze is None and train.layer_rates is None:
        return analysis
    module = None if isinstance(analysis, SpecAnalysis) else _module(architecture, analysis)
    parts = parts_of_net(architecture, analysis) if module is None else _module_parts(module, analysis)
    # Names that match nothing are errors.
    parts.factors(train)
    layers = parts.frozen(train)
    if train.freeze_epochs:
        return analysis
    sizes: dict[str, int] = {}
    for name, size in _sizes(analysis, module):
        if name in layers:
            sizes[name] = sizes.get(name, 0) + size
    return replace(
        analysis,
        trainable=analysis.trainable - sum(sizes.values()),
        frozen=(*analysis.frozen, *sizes.items()),
    )


def _sizes(analysis: Analysis, module: "nn.Module | None") -> Iterator[tuple[str, int]]:
    """Yield the layer and the size of each group of trainable parameters."""
    if module is None:
        yield from ((row.name, row.parameters) for row in analysis.rows if row.parameters)
        return
    from convsmith.tracing.members import named_parameters

    for name, parameter in named_parameters(module).items():
        if parameter.requires_grad:
            yield name.rpartition(".")[0], parameter.numel()


def _module(architecture: Architecture, analysis: Analysis) -> "nn.Module":
    from convsmith.tracing.isolation import preserved_state

    channels, height, width = analysis.input_shape
    with preserved_state():
        return architecture.build((channels, height, width))


def _module_parts(module: "nn.Module", analysis: Analysis) -> Parts:
    import torch

    from convsmith.training.freezing import net_parts

    return net_parts(module, torch.zeros(2, *analysis.input_shape))


def check_recipe(recipe: Recipe, analysis: Analysis, metrics: RunMetrics | None = None) -> tuple[Check, ...]:
    """Check a net, and the metrics of a run if there are any, against the brief of its recipe."""
    return judge(recipe.brief, subject_of(recipe, analysis, metrics))


def subject_of(recipe: Recipe, analysis: Analysis, metrics: RunMetrics | None = None) -> Subject:
    """Return what a brief judges of a recipe, with the metrics of a run if there are any."""
    if recipe.is_trained_elsewhere:
        # Weights from a file have no recipe that could hold notes.
        notes = recipe.notes.model_dump() if recipe.notes != Notes() else None
        return Subject(analysis=analysis, metrics=metrics, notes=notes)
    return Subject(
        analysis=analysis,
        augmentations=recipe.augment.all,
        training=recipe.train,
        metrics=metrics,
        notes=recipe.notes.model_dump(),
    )


def _output_problems(recipe: Recipe, analysis: Analysis, info: DatasetInfo) -> Iterator[Problem]:
    found, expected = analysis.num_outputs, info.num_classes
    # The outputs of a module are those of a few images, see `Architecture.probe`.
    if isinstance(analysis, SpecAnalysis) and found != expected:
        yield Problem(
            what=f"the net has {plural(found, 'output')}, the data has {plural(expected, 'class')}",
            where="model.net",
            fix=f"name data of {plural(found, 'class')}, those that the weights were trained on"
            if recipe.is_trained_elsewhere
            else f"give the last layer {plural(expected, 'channel')}",
        )


def _size_problems(
    recipe: Recipe, architecture: Architecture, analysis: Analysis, info: DatasetInfo
) -> Iterator[Problem]:
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
            fix="name a smaller one"
            if height == width
            else f"leave out train.progressive, or make the images square: data.resize={max(height, width)}",
        )
        return
    try:
        small = architecture.analyze((channels, size, size))
        architecture.check((channels, size, size), info.num_classes)
    except (ShapeError, ModuleError) as error:
        yield from (replace(each, where=where) for each in error.problems)
        return
    if small.parameters != analysis.parameters:
        yield Problem(
            what=f"with images of {size} pixels the net would have {small.parameters:,} parameters, "
            f"at {height} it has {analysis.parameters:,}",
            where=where,
            fix="put G, global average pooling, before the first fully connected layer",
        )


def _whitening_problems(recipe: Recipe) -> Iterator[Problem]:
    if recipe.train.whitening and isinstance(recipe.model, ModuleConfig):
        yield Problem(
            what="whitening is for nets in the notation; a module sets its own first weights",
            where="train.whitening",
            fix="leave it out: train.whitening=false",
        )


def _batch_problems(recipe: Recipe, analysis: Analysis, num_images: int | None) -> Iterator[Problem]:
    """Check that no batch norm has a single value for each channel, which it cannot normalise.

    Only the first batch can be of one image: a last one joins the batch before.
    """
    if recipe.is_trained_elsewhere:
        return
    if min(recipe.train.batch_size, num_images or recipe.train.batch_size) > 1:
        return
    norms = (row for row in analysis.rows if row.operation in _BATCH_NORMS)
    shapes = ["x".join(map(str, norm.in_shape)) for norm in norms if prod(norm.in_shape[1:]) == 1]
    if shapes:
        single = recipe.train.batch_size == 1
        without = "use no batch norm" if isinstance(recipe.model, ModuleConfig) else "set model.norm=none"
        yield Problem(
            what=f"batch norm cannot normalise one value for each channel: its input is {shapes[0]}, "
            "and a batch has one image",
            where="train.batch_size" if single else "the training set",
            fix=f"{'set train.batch_size=2' if single else 'add training images'}, or {without}",
        )


def _transform_problems(recipe: Recipe, info: DatasetInfo) -> Iterator[Problem]:
    _, height, width = info.image_shape
    for index, transform in enumerate(recipe.augment.transforms):
        if (problem := transform.problem(height, width)) is not None:
            yield replace(problem, where=f"augment.transforms.{index}")
