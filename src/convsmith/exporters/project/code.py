"""The Python files of a project, reduced to what its recipe uses."""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jinja2

from convsmith.codegen import call, constant, literal, number
from convsmith.data.augment.transform import Transform
from convsmith.exporters.project.merge import merged
from convsmith.net import source
from convsmith.net.layers.convolution import Conv2d
from convsmith.net.plan import Plan
from convsmith.recipes.schema import Recipe
from convsmith.runs.schema import DataRecord
from convsmith.training.optimizers import Optimizer
from convsmith.training.optimizers.muon import Muon

# More class names than these are stored in a separate file.
MAX_CLASSES_IN_CODE = 50
# "package" has the folders model/ and utils/, "flat" one file for each.
Layout = Literal["package", "flat"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_NO_UPDATES = """\
import os

# Otherwise albumentations checks for updates over the network when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")"""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How a project reads its data.

    Attributes:
        kind: "digits", "hub", "parquet" or "images".
        default: The default data set.
        columns: The columns of image and label in a table, if known.
        train_name: The training split of a table on the hub.
        test_name: Its test split.
        train_files: The parquet files of the training set, relative to the data set's folder.
        test_files: Those of the test set.
    """

    kind: str
    default: str = ""
    columns: tuple[str, str] | None = None
    train_name: str = "train"
    test_name: str = "test"
    train_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()


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


def template_context(
    recipe: Recipe, plan: Plan, data: DataRecord, storage: Storage, layout: Layout = "package"
) -> dict[str, Any]:
    """Return the variables of the templates.

    Args:
        recipe: The recipe of the run.
        plan: The plan of its net.
        data: The data set of the run.
        storage: How the data set is stored.
        layout: Of the project's files.
    """
    return {
        **_layout_context(layout),
        **_data_context(recipe, data, storage),
        **_augment_context(recipe, plan),
        **_train_context(recipe),
        "bf16_off_cpu": recipe.train.precision == "bf16" and has_wrong_gradients_in_bf16(plan),
        **_weights_context(recipe, plan),
    }


def python_files(values: dict[str, Any], plan: Plan, notes: list[str]) -> dict[str, str]:
    """Return the files by path.

    >>> from convsmith.net.notation import parse
    >>> from convsmith.net.plan import plan
    >>> from convsmith.recipes.loader import load
    >>> recipe = load("digits")
    >>> planned = plan(parse(recipe.notation.net), (1, 8, 8), recipe.notation)
    >>> from convsmith.data.dataset import load as load_data
    >>> data = DataRecord.of(load_data(recipe.data), recipe.data)
    >>> values = template_context(recipe, planned, data, Storage(kind="digits"))
    >>> list(python_files(values, planned, []))
    ['model/model.py', 'utils/__init__.py', 'utils/optim.py', 'utils/utils.py', 'main.py']
    >>> flat = template_context(recipe, planned, data, Storage(kind="digits"), "flat")
    >>> list(python_files(flat, planned, []))
    ['model.py', 'utils.py', 'main.py']
    """
    templates = environment()
    optional = {"weights": bool(values["weights_names"]), "images": bool(values["image_names"])}
    names = [name for name in ("weights", "images", "optim", "utils", "main") if optional.get(name, True)]
    texts = {name: templates.get_template(f"{name}.py.j2").render(values) for name in names}
    texts["model"] = source.source(plan, notes, alone=False)
    if values["flat"]:
        helpers = [texts[name] for name in ("utils", "images", "optim") if name in texts]
        model = [texts["model"], *([texts["weights"]] if "weights" in texts else [])]
        return {
            # The part of the model that runs as a program is the last.
            "model.py": _with_weights(*model),
            "utils.py": merged(helpers, own={"utils.images"}, first=_NO_UPDATES),
            "main.py": texts["main"],
        }
    folders = {"model": "model/", "weights": "model/", "main": ""}
    files = {"model/model.py": texts.pop("model"), "utils/__init__.py": f"{_NO_UPDATES}\n"}
    return files | {f"{folders.get(name, 'utils/')}{name}.py": text for name, text in texts.items()}


def _with_weights(model: str, weights: str = "") -> str:
    """Return the model with the functions of its weights before the part that runs as a program."""
    if not weights:
        return model
    head, program = model.split("\n\n\nif __name__", 1)
    return f"{merged([head, weights])}\n\nif __name__{program}"


def _layout_context(layout: Layout) -> dict[str, Any]:
    flat = layout == "flat"
    folder, modules = ("", "") if flat else ("model/", "utils/")
    return {
        "flat": flat,
        "model_module": "model" if flat else "model.model",
        "weights_module": "model" if flat else "model.weights",
        "optim_module": "utils" if flat else "utils.optim",
        "model_folder": folder,
        "utils_folder": modules,
        "weights_path": f"{folder}model.safetensors",
    }


def _data_context(recipe: Recipe, data: DataRecord, storage: Storage) -> dict[str, Any]:
    channels, height, width = data.image_shape
    own_test = not data.test_is_split_off
    names = data.class_names
    return {
        "name": recipe.name,
        "kind": storage.kind,
        "default_data": storage.default,
        "on_hub": "/" in storage.default,
        "image_column": storage.columns[0] if storage.columns else "",
        "label_column": storage.columns[1] if storage.columns else "",
        "train_name": storage.train_name,
        "test_name": storage.test_name,
        "train_files_constant": constant("TRAIN_FILES", storage.train_files or [""]),
        "test_files_constant": constant("TEST_FILES", storage.test_files or [""]),
        "left_out": bool(data.dropped) and storage.kind in {"hub", "parquet"},
        "left_out_constant": constant("LEFT_OUT", [each.file for each in data.dropped] or [""]),
        "channels": channels,
        "height": height,
        "width": width,
        "mode": "L" if channels == 1 else "RGB",
        "own_test": own_test,
        "test_fraction": recipe.data.test_fraction,
        "validation": recipe.data.validation,
        "split_seed": recipe.data.split_seed,
        # The splits of an image folder are lists of files.
        "ordered": storage.kind != "images" and (not own_test or bool(recipe.data.validation)),
        # Shares and a seed describe a split only if all images are independent.
        "split_in_file": storage.kind != "images" and bool(data.equal_images or data.groups),
        "resize": recipe.data.resize,
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


def _image_names(kind: str, resize: int | None) -> list[str]:
    """Return what the project uses of its module for images."""
    return [*(["decode"] if kind != "digits" else []), *(["resize"] if resize else [])]


def _augment_context(recipe: Recipe, plan: Plan) -> dict[str, Any]:
    transforms, mix = recipe.augment.transforms, recipe.augment.mix
    # Alternate flips are not random: the data set applies them.
    calls = [each for each in transforms if not each.alternates]
    lines = [" " * 12 + each.source(_image_shape(plan), 12) for each in calls]
    definitions = dict.fromkeys(each.definitions for each in calls if each.definitions)
    text = "\n".join(lines)
    return {
        "transform_lines": text,
        "alternate": any(each.alternates for each in transforms),
        "definitions": "\n\n".join(definitions),
        "uses_cv2": "cv2." in text,
        "uses_fill": "fill=FILL" in text,
        "mix": mix,
        "workers": 2 if _is_heavy(transforms, plan) else 0,
    }


def _is_heavy(transforms: tuple[Transform, ...], plan: Plan) -> bool:
    """Whether the augmentation is expensive enough for worker processes."""
    _, height, width = plan.input_shape
    return bool(transforms) and height * width > 400


def _image_shape(plan: Plan) -> tuple[int, int, int]:
    channels, height, width = plan.input_shape
    return channels, height, width


def _train_context(recipe: Recipe) -> dict[str, Any]:
    train = recipe.train
    muon = train.optimizer if isinstance(train.optimizer, Muon) else None
    rest = muon.rest if muon else train.optimizer
    factor = getattr(rest, "norm_bias_lr_factor", 1.0)
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
        **_optimizer_calls(train.optimizer, frozen=train.whitening, grouped=factor != 1),
        "frozen": train.whitening,
        "schedule": train.schedule,
        "by_step": train.schedule.unit == "step",
        "schedule_source": train.schedule.source(),
        "progressive": train.progressive,
        "lookahead": train.lookahead,
        "ema": train.ema,
        "tested": "average.module" if train.ema else "slow" if train.lookahead else "model",
        "measured": "average" if train.ema else "slow" if train.lookahead else "",
        "label_smoothing": train.label_smoothing,
        "bf16": train.precision == "bf16",
    }


def has_wrong_gradients_in_bf16(plan: Plan) -> bool:
    """Whether PyTorch 2.13's gradients in bf16 may be wrong on a CPU, see `training.kernels.convolution`.

    >>> from convsmith.net.notation import parse
    >>> from convsmith.net.plan import plan
    >>> nets = [plan(parse(net), (3, 32, 32)) for net in ("C8:s2 / G F10", "C8:d2 / G F10")]
    >>> [has_wrong_gradients_in_bf16(net) for net in nets]
    [False, True]
    """
    return any(
        each.dilation > 1 or (each.stride > 1 and min(each.in_shape[1:]) < each.kernel)
        for each in plan.weighted_operations()
        if isinstance(each, Conv2d) and each.kernel > 1
    )


def _optimizer_calls(config: Optimizer, *, frozen: bool, grouped: bool) -> dict[str, str]:
    if isinstance(config, Muon):
        return {
            "muon_call": config.source_call("filters", indent=8, after=","),
            "rest_call": config.rest.source_call("rest", indent=8, after=","),
        }
    parameters = "trainable" if frozen else "model.parameters()"
    if grouped:
        parameters = f"parameter_groups(model, {'trainable' if frozen else 'list(model.parameters())'})"
    return {"muon_call": "", "rest_call": config.source_call(parameters, indent=4, before="return ")}


def _weights_context(recipe: Recipe, plan: Plan) -> dict[str, Any]:
    settings, train = recipe.notation, recipe.train
    custom = settings.init != "default" or settings.init_gain != 1
    weighted = plan.weighted_operations()
    bare = [op.name for op in weighted if not op.normed] if settings.init_gain != 1 else []
    names = ["fold"] if train.weight_standardization else []
    names += ["initialize"] if custom else []
    names += ["standardize"] if train.weight_standardization else []
    names += ["whiten_first_layer"] if train.whitening else []
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
        "whitening": train.whitening,
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
