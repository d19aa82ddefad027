"""A net and its training in sentences, as a hand-in tells them."""

from collections.abc import Iterator, Sequence

from convsmith.codegen import number
from convsmith.net.analysis import Analysis
from convsmith.net.cells import axes_text
from convsmith.net.plan import Branch, Plan, Step
from convsmith.recipes.schema import Recipe
from convsmith.training.config import TrainConfig

_NORMS = {"batch": "batch norm", "group": "group norm", "instance": "instance norm"}
_ACTIVATIONS = {"relu": "ReLU", "leaky-relu": "leaky ReLU", "gelu": "GELU", "silu": "SiLU"}


def blocks(plan: Plan, analysis: Analysis) -> list[str]:
    r"""A sentence for each block: its layers, and what it makes.

    >>> from convsmith.net.arithmetic import analyze_notation
    >>> analysis = analyze_notation("C8 C16:s2 / G F10", (3, 32, 32))
    >>> print("\n".join(blocks(analysis.plan, analysis)))  # doctest: +ELLIPSIS
    3x3 convolution to 8 channels, 3x3 convolution to 16 channels with stride 2; maps of 16x16 ...
    global average pooling, fully connected layer to 10
    """
    rows = {row.name: row for row in analysis.rows}
    told = []
    for block in plan.blocks:
        line = ", ".join(_layers(block))
        last = block[-1]
        shape = last.out_shape
        row = rows.get(last.name)
        if len(shape) == 3 and row is not None and row.out_field.axes:
            field = axes_text(row.out_field.sizes)
            line += f"; maps of {shape[1]}x{shape[2]} pixels, receptive field {field}"
        told.append(line)
    return told


def _layers(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        if isinstance(step, Branch):
            yield f"residual connection around ({', '.join(_layers(step.body))})"
        elif step.description:
            yield step.description


def after_a_layer(recipe: Recipe) -> str:
    """What follows each convolution.

    >>> from convsmith.recipes.loader import load
    >>> after_a_layer(load("cifar10-classic"))
    'ReLU, batch norm, dropout of 2 %'
    """
    model = recipe.model
    norm = [] if model.norm == "none" else [_NORMS[model.norm]]
    activation = [] if model.activation == "none" else [_ACTIVATIONS.get(model.activation, model.activation)]
    told = activation + norm if model.order == "conv-activation-norm" else norm + activation
    if model.dropout and model.dropout_at == "layer":
        told.append(f"dropout of {number(round(100 * model.dropout, 6))} %")
    return ", ".join(told)


def strategy(recipe: Recipe) -> list[str]:
    """How the net was trained, a sentence each."""
    train = recipe.train
    smoothing = f", label smoothing {number(train.label_smoothing)}" if train.label_smoothing else ""
    told = [f"Cross-entropy loss{smoothing}; {train.optimizer.describe()}."]
    told.append(f"Learning rate: {train.schedule.describe()}.")
    epochs = f"{train.epochs_run} epochs"
    if train.stop_after:
        epochs += f" of the {train.epochs} that the schedule is planned for"
    parts = f", each in {train.num_microbatches} parts of {train.microbatch_size} that batch norm sees apart"
    told.append(f"{epochs}, batches of {train.batch_size}{parts if train.num_microbatches > 1 else ''}.")
    if train.progressive:
        size, share = train.progressive.start_size, number(round(100 * train.progressive.until, 6))
        told.append(
            f"The first {share} % of the steps see images of {size}x{size} pixels, which take less time."
        )
    if train.whitening:
        told.append("The first convolution whitens patches of the training images, and is not learned.")
    if train.weight_standardization:
        told.append("Weights are standardised while they are learned, since the net has no norm layers.")
    told += _averages(train)
    if recipe.augment.mix:
        told.append(f"{recipe.augment.mix.name} with alpha {number(recipe.augment.mix.alpha)}.")
    if train.distillation:
        weight, temperature = number(train.distillation.alpha), number(train.distillation.temperature)
        told.append(
            f"Knowledge distillation: beside the labels, a trained net taught this one (weight {weight}, "
            f"temperature {temperature})."
        )
    if recipe.data.validation:
        share = number(round(100 * recipe.data.validation, 6))
        told.append(f"{share} % of the training images are held out as a validation set.")
    told.append("The weights are those of the last epoch; no epoch was picked by its test accuracy.")
    return told


def _averages(train: TrainConfig) -> list[str]:
    """The weights that are tested, where they are not the net's own."""
    told = []
    if train.lookahead:
        k, alpha = train.lookahead.k, number(train.lookahead.alpha)
        told.append(
            f"Lookahead: after every {k} steps slow weights go {alpha} of the way to the net's, which "
            "goes on from there."
        )
    if train.lookahead and not train.ema:
        told.append("What is tested has the slow weights.")
    if train.ema:
        told.append(
            f"What is tested is an exponential average of the weights (decay {number(train.ema)} a step)."
        )
    return told


def differences(recipe: Recipe) -> list[str]:
    """What this project does in another way than the training that made its weights."""
    train = recipe.train
    told = [
        "Trained again, it draws other random numbers: the accuracy differs a little, as between two seeds."
    ]
    if recipe.augment.engine == "batched" and recipe.augment.transforms:
        told.append(
            "The weights were trained with the same transforms applied to whole batches at once; here "
            "albumentations applies them image by image."
        )
    if train.num_microbatches > 1:
        told.append(
            "The parts of a batch were computed on a core each. Here they follow one another, so the running "
            "statistics of batch norm move once for each part instead of once for each batch."
        )
    if train.teacher:
        told.append(
            "The net that taught this one is not part of the project: trained again, it learns from the "
            "labels alone, and may end lower."
        )
    if train.precision == "bf16":
        told.append("Forward passes are in bfloat16, as they were; on a CPU without it they are slow.")
    if recipe.model.dropout:
        told.append("Dropout is PyTorch's own, where a faster one of the same meaning was used.")
    if recipe.data.keep_in == "disk":
        told.append("All images are held in memory, where they were read from disk batch by batch.")
    return told
