"""The Python files of a project, reduced to what its recipe uses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from convsmith.codegen import WIDTH, call, constant, literal, number
from convsmith.data.augment.transform import Transform
from convsmith.exporters.project.net_code import NetCode
from convsmith.net.analysis import Analysis
from convsmith.net.plan import Plan
from convsmith.net.settings import NetSettings, NotationConfig
from convsmith.recipes.schema import Recipe
from convsmith.runs.schema import DataRecord
from convsmith.training.class_weights import table_weights
from convsmith.training.config import TrainConfig
from convsmith.training.optimizers import Optimizer
from convsmith.training.optimizers.muon import Muon
from convsmith.training.parts import Parts

# More class names than these are stored in a separate file.
MAX_CLASSES_IN_CODE = 50
# The weights in an ejected project.
WEIGHTS = "model/model.safetensors"
# Kinds of data whose splits are listed or stored, so that a project does not split.
_LISTED = frozenset({"images", "arrays"})
# Those that its training began with, if they are not initial ones.
START = "model/start.safetensors"
NO_UPDATES = """\
import os

# Otherwise albumentations checks for updates over the network when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")"""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How a project reads its data.

    Attributes:
        kind: "digits", "hub", "parquet", "images" or "arrays".
        default: The default data set.
        columns: The columns of image and label in a table, if known.
        train_name: The training split of a table on the hub.
        test_name: Its test split.
        validation_name: Its validation split, if it is used as such.
        train_files: The parquet files of the training set, relative to the data set's folder.
        test_files: Those of the test set.
        validation_files: Those of the validation set, if it is used as such.
        archive: Whether the images are in an archive.
    """

    kind: str
    default: str = ""
    columns: tuple[str, str] | None = None
    train_name: str = "train"
    test_name: str = "test"
    validation_name: str = "validation"
    train_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    validation_files: tuple[str, ...] = ()
    archive: bool = False


def environment() -> jinja2.Environment:
    """Return the templates; external text goes through `literal` or is escaped."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("convsmith.exporters.project"),
        autoescape=False,  # noqa: S701 - Python and Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(number=number, literal=literal)
    templates.globals.update(call=call)
    return templates


def template_context(recipe: Recipe, net: NetCode, data: DataRecord, storage: Storage) -> dict[str, Any]:
    """Return the variables of the templates.

    Args:
        recipe: The recipe of the run.
        net: The code of its net.
        data: The data set of the run.
        storage: How the data set is stored.
    """
    return {
        **_file_context(net),
        **_net_context(net),
        **_data_context(recipe, data, storage),
        **_augment_context(recipe, data),
        **_train_context(recipe),
        **_fine_tuning_context(recipe, net.parts),
        "bf16_off_cpu": recipe.train.precision == "bf16" and has_wrong_gradients_in_bf16(net.analysis),
        **_balance_context(recipe, data),
        **_selection_context(recipe),
        **_weights_context(recipe, net.plan),
        **_external_context(recipe),
    }


def python_files(values: dict[str, Any], net: NetCode) -> dict[str, str]:
    """Return the files that are written, by path; those of a module are in `net`.

    >>> from convsmith.exporters.project.net_code import notation_code
    >>> from convsmith.net.arithmetic import analyze_notation
    >>> from convsmith.recipes.loader import load
    >>> recipe = load("digits")
    >>> analysis = analyze_notation(recipe.notation.net, (1, 8, 8), recipe.notation)
    >>> from convsmith.data.dataset import load as load_data
    >>> data = DataRecord.of(load_data(recipe.data), recipe.data)
    >>> net = notation_code(analysis, analysis.plan, [])
    >>> values = template_context(recipe, net, data, Storage(kind="digits"))
    >>> list(python_files(values, net))
    ['model/model.py', 'utils/__init__.py', 'utils/optim.py', 'utils/utils.py', 'main.py']
    """
    folders = {"main": "", **({"weights": "model/"} if net.text else {})}
    files = {net.main: net.text} if net.text else {}
    files[f"{net.helpers}/__init__.py"] = f"{NO_UPDATES}\n"
    texts = module_texts(values, ("main",))
    return files | {f"{folders.get(name, f'{net.helpers}/')}{name}.py": text for name, text in texts.items()}


def module_texts(values: dict[str, Any], others: Sequence[str] = ()) -> dict[str, str]:
    """Return the modules that a recipe needs, by name: weights, images, optim, utils, and others."""
    templates = environment()
    optional = {
        "weights": bool(values["weights_names"]),
        "images": bool(values["image_names"]),
        "optim": values["trains"],
    }
    names = [name for name in ("weights", "images", "optim", "utils") if optional.get(name, True)]
    return {name: templates.get_template(f"{name}.py.j2").render(values) for name in (*names, *others)}


def _external_context(recipe: Recipe) -> dict[str, Any]:
    """Weights that were trained elsewhere have neither a training nor initial weights."""
    if recipe.is_trained_elsewhere:
        return {"trains": False, "log_path": "logs/evaluation.log", "weights_names": ""}
    return {"trains": True, "log_path": "logs/train.log"}


def _file_context(net: NetCode) -> dict[str, Any]:
    helpers = net.helpers
    return {
        "helpers": helpers,
        "weights_module": "model.weights" if net.text else f"{helpers}.weights",
        "utils_folder": f"{helpers}/",
        "weights_path": WEIGHTS,
        # How main.py calls what the other modules have; a hand-in calls it for one of several nets.
        "calls": {
            "own": "",
            "transform": "utils.train_transform()",
            "optimizer": "make_optimizer",
            "optimizers": "make_optimizers",
            "schedule": "make_schedule",
            "train": "utils.train",
            "predict": "utils.predict",
            "parameters": "",
            "step": "",
            "start": f'HERE / "{START}"',
            "folders": '"model", "logs", "plots"',
            "log": '"logs/train.log"',
            "metrics": '"logs/metrics.csv"',
            "weights": f'"{WEIGHTS}"',
            "plots": '"plots"',
        },
    }


def _net_context(net: NetCode) -> dict[str, Any]:
    return {
        "own_net": not net.text,
        "net_file": net.main,
        "net_files": sorted(net.files),
        "net_module": net.module,
        "net_name": net.name,
        "net_call": net.call,
        # The logarithm of probabilities is taken by a function of main.py.
        "new_net": "make_net()" if net.outputs == "probabilities" else net.call,
        "net_remarks": net.remarks,
        "channels_first": net.channels_first,
        "memory_format": "torch.contiguous_format" if net.channels_first else "torch.channels_last",
        "probabilities": net.outputs == "probabilities",
        "log_probabilities": net.outputs == "log_probabilities",
    }


def _data_context(recipe: Recipe, data: DataRecord, storage: Storage) -> dict[str, Any]:
    channels, height, width = data.image_shape
    own_test = not data.test_is_split_off
    names = data.class_names
    return {
        "name": recipe.name,
        "kind": storage.kind,
        "default_data": storage.default,
        "archive": storage.archive,
        "on_hub": "/" in storage.default,
        "image_column": storage.columns[0] if storage.columns else "",
        "label_column": storage.columns[1] if storage.columns else "",
        "train_name": storage.train_name,
        "test_name": storage.test_name,
        "validation_name": storage.validation_name,
        "train_files_constant": constant("TRAIN_FILES", storage.train_files or [""]),
        "test_files_constant": constant("TEST_FILES", storage.test_files or [""]),
        "validation_files_constant": constant("VALIDATION_FILES", storage.validation_files or [""]),
        "left_out": bool(data.dropped) and storage.kind in {"hub", "parquet"},
        "left_out_constant": constant("LEFT_OUT", [each.file for each in data.dropped] or [""]),
        "channels": channels,
        "height": height,
        "width": width,
        "mode": "L" if channels == 1 else "RGB",
        "own_test": own_test,
        "test_fraction": recipe.data.test_fraction,
        "validation": bool(recipe.data.validation),
        "own_validation": recipe.data.own_validation,
        "validation_share": recipe.data.validation_share,
        "split_seed": recipe.data.split_seed,
        # The splits of an image folder are lists of files, those of arrays are arrays.
        "ordered": storage.kind not in _LISTED and (not own_test or bool(recipe.data.validation_share)),
        # Shares and a seed describe a split only if all images are independent.
        "split_in_file": storage.kind not in _LISTED and bool(data.equal_images or data.groups),
        "resize": recipe.data.resize if storage.kind != "arrays" else None,
        "policy": data.resize_policy or recipe.data.policy,
        "background_constant": _background(data),
        "image_names": ", ".join(_image_names(storage.kind, recipe.data.resize)),
        "class_names": names,
        "classes_in_file": len(names) > MAX_CLASSES_IN_CODE,
        "classes_constant": constant("CLASSES", names),
        "mean_constant": constant("MEAN", data.mean),
        "std_constant": constant("STD", data.std),
    }


def _background(data: DataRecord) -> str:
    colour = data.background or tuple(round(255 * value) for value in data.mean)
    return f"BACKGROUND = {colour[0] if len(colour) == 1 else colour}"


def _image_names(kind: str, resize: int | str | None) -> list[str]:
    """Return what the project uses of its module for images."""
    if kind == "arrays":
        return []
    return [*(["decode"] if kind != "digits" else []), *(["resize"] if resize else [])]


def _augment_context(recipe: Recipe, data: DataRecord) -> dict[str, Any]:
    transforms, mix = recipe.augment.transforms, recipe.augment.mix
    # Alternate flips are not random: the data set applies them.
    calls = [each for each in transforms if not each.alternates]
    lines = [" " * 12 + each.source(data.image_shape, 12) for each in calls]
    definitions = dict.fromkeys(each.definitions for each in calls if each.definitions)
    text = "\n".join(lines)
    return {
        "transform_lines": text,
        "alternate": any(each.alternates for each in transforms),
        "definitions": "\n\n".join(definitions),
        "uses_cv2": "cv2." in text or any("cv2." in each for each in definitions),
        "uses_pil": any("ImageOps." in each for each in definitions),
        "uses_fill": "fill=FILL" in text,
        "mix": mix,
        "workers": 2 if _is_heavy(transforms, data) else 0,
    }


def _is_heavy(transforms: tuple[Transform, ...], data: DataRecord) -> bool:
    """Whether the augmentation is expensive enough for worker processes."""
    _, height, width = data.image_shape
    return bool(transforms) and height * width > 400


def _train_context(recipe: Recipe) -> dict[str, Any]:
    train = recipe.train
    muon = train.optimizer if isinstance(train.optimizer, Muon) else None
    rest = muon.rest if muon else train.optimizer
    factor = getattr(rest, "norm_bias_lr_factor", 1.0)
    # Whether some parameters are never trained.
    fixed = train.whitening or (train.freeze is not None and not train.freeze_epochs)
    return {
        "epochs": train.epochs,
        "epochs_run": train.epochs_run,
        "stop_after": train.stop_after,
        "batch_size": train.batch_size,
        "parts": train.num_microbatches,
        "seed": recipe.seed,
        "muon": muon,
        "rest_name": rest.title,
        "factor": factor if factor != 1 else None,
        "lr": rest.lr,
        **_optimizer_calls(
            train.optimizer,
            frozen=fixed,
            grouped=factor != 1,
            rates=train.layer_decay is not None or bool(train.layer_rates),
        ),
        "frozen": fixed,
        "schedule": train.schedule,
        "by_step": train.schedule.unit == "step",
        "schedule_source": train.schedule.source(),
        "progressive": train.progressive,
        "lookahead": train.lookahead,
        "ema": train.ema,
        "tested": _tested(train),
        "measured": "average" if train.ema else "slow" if train.lookahead else "",
        "label_smoothing": train.label_smoothing,
        "l1": train.l1,
        "clip": train.clip_gradient_norm,
        "bf16": train.precision == "bf16",
    }


def _fine_tuning_context(recipe: Recipe, parts: Parts) -> dict[str, Any]:
    """Return which layers are frozen, and the factors on the learning rates of the others, by name."""
    train = recipe.train
    frozen, factors = parts.frozen(train), parts.factors(train)
    rates = ", ".join(f"{literal(name)}: {number(factor)}" for name, factor in factors.items())
    line = f"RATES = {{{rates}}}"
    if len(line) > WIDTH:
        lines = (f"    {literal(name)}: {number(factor)},\n" for name, factor in factors.items())
        line = "RATES = {\n" + "".join(lines) + "}"
    return {
        "start": train.start_from is not None,
        "freeze": bool(frozen),
        "freeze_epochs": train.freeze_epochs,
        "frozen_constant": constant(
            "FROZEN", [each for each in parts.body + parts.head if each in frozen] or [""]
        ),
        "rates": bool(factors),
        "rates_constant": line,
    }


def _balance_context(recipe: Recipe, data: DataRecord) -> dict[str, Any]:
    """Weights of the classes and sampling; balanced weights are computed by the project."""
    weights = recipe.train.class_weights
    context = {
        "balanced": recipe.train.sampling == "balanced",
        "balanced_weights": weights == "balanced",
        "class_weights": 'utils.balanced_weights(splits["train"][1])' if weights == "balanced" else "",
        "class_weights_constant": "",
    }
    if isinstance(weights, dict):
        ordered = table_weights(weights, data.class_names)
        context["class_weights"] = "torch.tensor(utils.CLASS_WEIGHTS)"
        context["class_weights_constant"] = constant("CLASS_WEIGHTS", ordered)
    return context


def _selection_context(recipe: Recipe) -> dict[str, Any]:
    """Early stopping and the best epoch, by the validation split."""
    train = recipe.train
    is_used = train.keeps_best or train.early_stopping is not None
    scores = {
        "accuracy": "val_correct / len(val_labels)",
        "balanced_accuracy": "utils.balanced_accuracy(val_logits, val_labels)",
        "loss": "-val_loss",
    }
    return {
        "keeps_best": train.keeps_best,
        "kept": "best" if train.keeps_best else _tested(train),
        "early_stopping": train.early_stopping,
        "score": scores[train.monitor],
        "monitors_balanced": is_used and train.monitor == "balanced_accuracy",
    }


def _tested(train: TrainConfig) -> str:
    """Return the net that a project evaluates after an epoch."""
    return "average.module" if train.ema else "slow" if train.lookahead else "model"


def has_wrong_gradients_in_bf16(analysis: Analysis) -> bool:
    """Whether PyTorch 2.13's gradients in bf16 may be wrong on a CPU, see `training.kernels.convolution`.

    >>> from convsmith.net.arithmetic import analyze_notation
    >>> nets = [analyze_notation(net, (3, 32, 32)) for net in ("C8:s2 / G F10", "C8:d2 / G F10")]
    >>> [has_wrong_gradients_in_bf16(net) for net in nets]
    [False, True]
    """
    return any(
        max(row.dilation) > 1 or (max(row.stride) > 1 and min(row.in_shape[1:]) < max(row.kernel))
        for row in analysis.rows
        if row.width != (0, 0) and len(row.in_shape) == 3 and max(row.kernel, default=1) > 1
    )


def _optimizer_calls(config: Optimizer, *, frozen: bool, grouped: bool, rates: bool) -> dict[str, str]:
    if isinstance(config, Muon):
        filters = f"by_rate(model, filters, {number(config.lr)})" if rates else "filters"
        return {
            "muon_call": config.source_call(filters, indent=8, after=","),
            "rest_call": config.rest.source_call("rest", indent=8, after=","),
        }
    parameters = "trainable" if frozen else "model.parameters()"
    every = "trainable" if frozen else "list(model.parameters())"
    if grouped:
        parameters = f"parameter_groups(model, {every})"
    elif rates:
        parameters = f"by_rate(model, {every}, {number(config.lr)})"
    return {"muon_call": "", "rest_call": config.source_call(parameters, indent=4, before="return ")}


def _weights_context(recipe: Recipe, plan: Plan | None) -> dict[str, Any]:
    train = recipe.train
    # A module initialises its weights itself.
    settings = recipe.model if isinstance(recipe.model, NotationConfig) else NetSettings()
    custom = settings.init != "default" or settings.init_gain != 1
    weighted = plan.weighted_operations() if plan else ()
    bare = [op.name for op in weighted if not op.normed] if settings.init_gain != 1 else []
    # A start has the initial weights and the whitening filters.
    custom = custom and not train.start_from
    whitening = train.whitening and not train.start_from
    names = ["fold"] if train.weight_standardization else []
    names += ["initialize"] if custom else []
    names += ["standardize"] if train.weight_standardization else []
    names += ["whiten_first_layer"] if whitening else []
    listed = constant("without_norm", bare).replace("\n", "\n    ")
    return {
        "init": settings.init,
        "init_custom": custom,
        "init_call": _INIT_CALLS.get(settings.init, ""),
        "init_sentence": _init_sentence(settings.init, settings.init_gain),
        "gain": settings.init_gain,
        "not_scaled": bare,
        "not_scaled_constant": f"    {listed}",
        "standardize": train.weight_standardization,
        "whitening": whitening,
        "fixed_filters": train.whitening and not whitening,
        "weights_names": ", ".join(sorted(names)),
    }


_INIT_CALLS = {
    "kaiming-normal": 'nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")',
    "kaiming-uniform": 'nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")',
    "orthogonal": "nn.init.orthogonal_(layer.weight, gain=2**0.5)",
}


def _init_sentence(init: str, gain: float) -> str:
    sentence = {
        "default": "The default initialisation of PyTorch",
        "kaiming-normal": "Normal weights by He et al. (arXiv 1502.01852), biases 0",
        "kaiming-uniform": "Uniform weights by He et al. (arXiv 1502.01852), biases 0",
        "orthogonal": "Orthogonal weights, biases 0",
        "dirac": "The default of PyTorch, with the identity in hidden convolutions",
    }[init]
    return f"{sentence}.{'' if gain == 1 else f' Weights before a norm are scaled by {number(gain)}.'}"


def plain_log(log: str) -> str:
    r"""Return a log without timestamps and estimates of the remaining time.

    >>> plain_log("17:23:28  Epoch 1\n17:23:29  Remaining: about 00:11\n")
    'Epoch 1\n'
    """
    lines = re.sub(r"^\d\d:\d\d:\d\d  ", "", log, flags=re.MULTILINE).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("Remaining: "))
