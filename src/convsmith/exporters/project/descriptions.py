"""Describe a net and its training in sentences, for the README of a project."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from convsmith.codegen import number
from convsmith.net.analysis import Analysis
from convsmith.net.cells import axes_text
from convsmith.net.plan import Branch, Plan, Step
from convsmith.net.settings import NotationConfig
from convsmith.recipes.schema import Recipe
from convsmith.text import plural, short_percent
from convsmith.training.class_weights import weights_line
from convsmith.training.config import TrainConfig
from convsmith.training.parts import describe
from convsmith.training.selection import monitor_title

_NORMS = {"batch": "batch norm", "group": "group norm", "layer": "layer norm", "instance": "instance norm"}
_ACTIVATIONS = {"relu": "ReLU", "leaky-relu": "leaky ReLU", "gelu": "GELU", "silu": "SiLU"}


def blocks(plan: Plan, analysis: Analysis) -> list[str]:
    r"""Describe each block: its layers, and the size and receptive field of its output.

    >>> from convsmith.net.arithmetic import analyze_notation
    >>> analysis = analyze_notation("C8 C16:s2 / G F10", (3, 32, 32))
    >>> print("\n".join(blocks(analysis.plan, analysis)))  # doctest: +ELLIPSIS
    3x3 convolution to 8 channels, 3x3 convolution to 16 channels with stride 2; maps of 16x16 ...
    global average pooling, fully connected layer to 10
    """
    rows = {row.name: row for row in analysis.rows}
    lines = []
    for block in plan.blocks:
        line = ", ".join(_layers(block))
        last = block[-1]
        shape = last.out_shape
        row = rows.get(last.name)
        if len(shape) == 3 and row is not None and row.out_field.axes:
            field = axes_text(row.out_field.sizes)
            line += f"; maps of {shape[1]}x{shape[2]} pixels, receptive field {field}"
        lines.append(line)
    return lines


def parts(analysis: Analysis) -> list[str]:
    r"""Describe each part of a module: its operations, and the size and receptive field of its output.

    >>> import torch
    >>> from convsmith.tracing.trace import trace
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
    >>> print("\n".join(parts(trace(net, (1, 8, 8)))))
    `0`: Conv2d; maps of 6x6 pixels, receptive field 3
    `1`: ReLU; maps of 6x6 pixels, receptive field 3
    """
    lines = []
    rows = [row for row in analysis.rows if row.name and row.operation != "Flatten"]
    for name, group in groupby(rows, key=lambda row: row.name.partition(".")[0]):
        members = list(group)
        counts = Counter(row.operation for row in members)
        operations = [kind if count == 1 else f"{count} {kind}" for kind, count in counts.items()]
        line, last = f"`{name}`: {', '.join(operations)}", members[-1]
        if len(last.out_shape) == 3 and last.out_field.axes:
            size, field = last.out_shape[1:], axes_text(last.out_field.sizes)
            line += f"; maps of {size[0]}x{size[1]} pixels, receptive field {field}"
        lines.append(line)
    return lines


def _layers(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        if isinstance(step, Branch):
            yield f"residual connection around ({', '.join(_layers(step.body))})"
        elif step.description:
            yield step.description


def after_a_convolution(recipe: Recipe) -> str:
    """List the operations after each convolution; empty for a module.

    >>> from convsmith.recipes.loader import load
    >>> after_a_convolution(load("cifar10-classic"))
    'ReLU, batch norm, dropout of 2 %'
    """
    model = recipe.model
    if not isinstance(model, NotationConfig):
        return ""
    norm = [] if model.norm == "none" else [_NORMS[model.norm]]
    activation = [] if model.activation == "none" else [_ACTIVATIONS.get(model.activation, model.activation)]
    operations = activation + norm if model.order == "conv-activation-norm" else norm + activation
    if model.dropout and model.dropout_at == "layer":
        operations.append(f"dropout of {short_percent(model.dropout)}")
    return ", ".join(operations)


def strategy(recipe: Recipe) -> list[str]:
    """Describe the training, in one sentence per item."""
    train = recipe.train
    smoothing = f", label smoothing {number(train.label_smoothing)}" if train.label_smoothing else ""
    penalty = f", plus {number(train.l1)} times the L1 norm of the weights" if train.l1 else ""
    sentences = [f"Cross-entropy loss{smoothing}{penalty}; {train.optimizer.describe()}."]
    sentences.append(f"Learning rate: {train.schedule.describe()}.")
    epochs = plural(train.epochs_run, "epoch")
    if train.stop_after:
        epochs += f" of the {train.epochs} of the schedule"
    parts = f", each in {train.num_microbatches} parts of {train.microbatch_size} normalised separately"
    sentences.append(f"{epochs}, batches of {train.batch_size}{parts if train.num_microbatches > 1 else ''}.")
    if train.progressive:
        size, share = train.progressive.start_size, short_percent(train.progressive.until)
        sentences.append(
            f"The first {share} of the steps use images of {size}x{size} pixels, which takes less time."
        )
    if train.whitening:
        sentences.append("The first convolution whitens patches of the training images; it is not trained.")
    if train.weight_standardization:
        sentences.append(
            "The weights are standardised during the training, since the net has no norm layers."
        )
    sentences += [f"{line[:1].upper()}{line[1:]}." for line in describe(train)]
    sentences += _averages(train)
    sentences += _fitting(train)
    if recipe.augment.mix:
        sentences.append(f"{recipe.augment.mix.name} with alpha {number(recipe.augment.mix.alpha)}.")
    if train.distillation:
        weight, temperature = number(train.distillation.alpha), number(train.distillation.temperature)
        sentences.append(
            f"Knowledge distillation from a trained teacher, in addition to the labels (weight {weight}, "
            f"temperature {temperature})."
        )
    if recipe.data.own_validation:
        sentences.append("The validation set is that of the data set.")
    elif recipe.data.validation_share:
        share = short_percent(recipe.data.validation_share)
        sentences.append(f"{share} of the training images are held out as a validation set.")
    if train.keeps_best:
        sentences.append(
            f"The weights are those of the epoch with the best {monitor_title(train.monitor)}; no epoch was "
            "selected by its test accuracy."
        )
    else:
        sentences.append(
            "The weights are those of the last epoch; no epoch was selected by its test accuracy."
        )
    return sentences


def _fitting(train: TrainConfig) -> list[str]:
    """Describe weights of the classes, sampling, clipping and early stopping."""
    sentences = []
    if train.class_weights == "balanced":
        sentences.append("In the loss each class has a weight inverse to its number of training images.")
    elif train.class_weights is not None:
        names, weights = list(train.class_weights), list(train.class_weights.values())
        sentences.append(f"Weights of the classes in the loss: {weights_line(weights, names)}.")
    if train.sampling == "balanced":
        sentences.append(
            "The images of an epoch are drawn with replacement, so that each class is equally frequent."
        )
    if train.clip_gradient_norm is not None:
        sentences.append(f"Gradients are clipped to a norm of {number(train.clip_gradient_norm)}.")
    if (stopping := train.early_stopping) is not None:
        more = f" by more than {number(stopping.min_delta)}" if stopping.min_delta else ""
        sentences.append(
            f"The training stops early if the {monitor_title(train.monitor)} does not improve{more} for "
            f"{plural(stopping.patience, 'epoch')}."
        )
    return sentences


def _averages(train: TrainConfig) -> list[str]:
    """Describe the averaged weights that are evaluated, if any."""
    sentences = []
    if train.lookahead:
        k, alpha = train.lookahead.k, number(train.lookahead.alpha)
        sentences.append(
            f"Lookahead: every {k} steps, slow weights move by {alpha} towards the weights of the net, which "
            "continues from them."
        )
    if train.lookahead and not train.ema:
        sentences.append("The slow weights are evaluated.")
    if train.ema:
        sentences.append(
            f"An exponential moving average of the weights is evaluated (decay {number(train.ema)} per step)."
        )
    return sentences


def differences(recipe: Recipe, analysis: Analysis, *, bf16_off_cpu: bool = False) -> list[str]:
    """List the differences between the code of the project and the training of its weights.

    Args:
        recipe: The recipe of the run.
        analysis: Of its net.
        bf16_off_cpu: Whether the project trains in bf16 on GPUs only.
    """
    train = recipe.train
    sentences = [
        "A new training draws other random numbers: the accuracy differs slightly, as between two seeds."
    ]
    if recipe.augment.engine == "batched" and recipe.augment.transforms:
        sentences.append(
            "The weights were trained with the same transforms, applied to batches; here albumentations "
            "applies them to each image."
        )
    if train.num_microbatches > 1:
        sentences.append(
            "The parts of a batch were computed in parallel. Here they are computed in sequence, so the "
            "running statistics of batch norm are updated once per part instead of once per batch."
        )
    if train.phases:
        sentences.append(
            f"The training was extended. Here the schedule is planned for all {train.epochs} epochs from the "
            "beginning."
        )
    if train.teacher:
        sentences.append(
            "The teacher is not part of the project: a new training learns from the labels only, and may "
            "reach a lower accuracy."
        )
    if train.start_from:
        sentences.append(
            "A new training begins with the same weights as the original one, those of another training; "
            "they are part of the project."
        )
    if train.precision == "bf16":
        sentences.append(
            "Forward passes use bfloat16, as in the original training. They are slow on CPUs without "
            "bf16 instructions."
        )
    if train.precision == "bf16" and bf16_off_cpu:
        sentences.append(
            "On a CPU a new training computes in fp32, since PyTorch 2.13's gradients in bfloat16 can be "
            "wrong for the dilated or strided filters of this net; the original training avoided them."
        )
    if any(row.operation == "Dropout" for row in analysis.rows):
        sentences.append("Dropout is that of PyTorch; the training used a faster, equivalent implementation.")
    if recipe.data.keep_in == "disk":
        sentences.append("All images are held in memory; the training read them from disk.")
    return sentences
