"""The recipes that projects are ejected from, and the checks of their code."""

import ast
import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from convsmith.data.dataset import CANONICAL
from convsmith.exporters.project.code import Storage, python_files, template_context
from convsmith.exporters.project.net_code import NetCode, notation_code
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.loader import load, recipe_names
from convsmith.recipes.schema import Recipe
from convsmith.runs.schema import DataRecord

# The recipes of the sprint differ in numbers only.
RECIPES = tuple(name for name in recipe_names() if not name.startswith("cifar10-sprint-"))
TRANSFORMS = (
    '{name="HorizontalFlip"}',
    '{name="ShiftScaleRotate", border="mean", rotate_limit=180.0}',
    '{name="ShiftScaleRotate", border="replicate", shift_limit=0.123456789}',
    '{name="CoarseDropout", hole_height_range=[2, 4], hole_width_range=[1, 3], num_holes_range=[1, 2]}',
    '{name="CoarseDropout", hole_height_range=[2, 2], hole_width_range=[2, 2], fill="black"}',
    '{name="RandomCrop", padding=2}',
    '{name="RandomCrop", padding=1, border="mean", p=0.5}',
    '{name="Cutout", size=3}',
    '{name="RandomBrightnessContrast", brightness_limit=0.1}',
    '{name="ColorJitter", hue=0.1}',
    '{name="RandomErasing"}',
    '{name="RandomErasing", fill="mean", scale=[0.1, 0.2], ratio=[0.5, 2.0]}',
    '{name="VerticalFlip"}',
    '{name="GaussianBlur", sigma_limit=[0.5, 1.0]}',
    '{name="Blur", blur_limit=[3, 3]}',
    '{name="RandAugment"}',
    '{name="RandAugment", num_operations=1, magnitude=20, border="reflect", p=0.5}',
    '{name="TrivialAugment", border="black"}',
)
# A library recipe or one of these covers each branch of the templates.
VARIANTS: dict[str, tuple[str, ...]] = {
    "no augmentation": ("augment.transforms=[]",),
    "adam, constant": ("train.optimizer=adam", "train.schedule=constant"),
    "sgd, nesterov, group rates": (
        "train.optimizer=sgd",
        "train.optimizer.nesterov=true",
        "train.optimizer.norm_bias_lr_factor=4.0",
        "train.schedule=step",
    ),
    "muon, group rates, plateau": (
        "train.optimizer=muon",
        "train.optimizer.rest.name=sgd",
        "train.optimizer.rest.norm_bias_lr_factor=4.0",
        "train.schedule=plateau",
        "data.validation=0.2",
        "train.whitening=true",
        "model.net=C8:k2 C16 / G F10",
    ),
    "muon, step": ("train.optimizer=muon", "train.schedule=step", "train.microbatch_size=32"),
    "cosine to an end": (
        "train.schedule=cosine",
        "train.schedule.end_factor=0.1",
        "train.whitening=true",
        "model.net=C8:k2 C16 / G F10",
        "train.optimizer.beta1=0.8",
    ),
    "plateau by the test": ("train.schedule=plateau", "train.schedule.monitor=test", "train.ema=0.9"),
    "one cycle, stopped": ("train.stop_after=2", "data.resize=12", "train.ema=0.9", "train.precision=bf16"),
    "bf16, dilated": ("train.precision=bf16", "train.microbatch_size=32", "model.net=C8:d2 / G F10"),
    "lookahead": ("train.lookahead={k=3, alpha=0.8}", "train.precision=bf16"),
    "lookahead, averaged": ("train.lookahead={}", "train.ema=0.9", "train.microbatch_size=32"),
    "orthogonal": ("model.init=orthogonal", "model.init_gain=2.0", "model.bias=true", "model.dropout=0.1"),
    "uniform": ("model.init=kaiming-uniform", "model.norm=none", "train.weight_standardization=true"),
    "gain alone": ("model.init_gain=3.0", "model.net=+(C8 C8) M2 A2 / U2 C8:g2 D P8 / G F10"),
    "l1": ("train.l1=1e-5", "train.optimizer=adam", "model.norm=layer"),
    "l1 in parts": (
        "train.l1=0.0001",
        "train.microbatch_size=32",
        "train.whitening=true",
        "model.net=C8:k2 C16 / G F10",
    ),
    "balanced weights, the best epoch": (
        "train.class_weights=balanced",
        "train.keep=best",
        "train.monitor=balanced_accuracy",
        "data.validation=0.2",
        "train.ema=0.9",
        "train.clip_gradient_norm=1.0",
    ),
    "weights in parts, stopped early": (
        "train.class_weights={" + ", ".join(f"{digit}={1 + digit}" for digit in range(10)) + "}",
        "train.microbatch_size=32",
        "train.label_smoothing=0.1",
        "train.early_stopping={patience=3, min_delta=0.001}",
        "data.validation=0.2",
        "train.weight_standardization=true",
        "model.norm=none",
    ),
    "balanced sampling, the last epoch": (
        "train.sampling=balanced",
        "train.early_stopping={}",
        "train.keep=last",
        "train.monitor=loss",
        "data.validation=0.2",
        "train.lookahead={}",
        "train.clip_gradient_norm=0.5",
        "train.optimizer=muon",
    ),
    "mixup": ('augment.mix={name="mixup"}', "train.progressive={start_size=6}"),
    "cutmix": ('augment.mix={name="cutmix"}', "train.microbatch_size=16", "train.label_smoothing=0.1"),
    "all transforms": (f"augment.transforms=[{', '.join(TRANSFORMS)}]",),
    "rand augment": ('augment.transforms=[{name="RandAugment"}]',),
    "trivial augment, resized": (
        'augment.transforms=[{name="TrivialAugment", border="replicate"}]',
        "data.resize=12",
    ),
    "alternate flips": ('augment.transforms=[{name="HorizontalFlip", alternate=true}]',),
}


def without_convsmith(project: Path, *arguments: str) -> str:
    """Run main.py where convsmith cannot be imported; return what it prints."""
    code = "import runpy, sys; sys.modules['convsmith'] = None; sys.argv = sys.argv[1:]; sys.path[0] = '.'"
    program = f"{code}; runpy.run_path('main.py', run_name='__main__')"
    environment = {**os.environ, "MPLBACKEND": "agg"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", program, "main.py", *arguments],
        check=False, capture_output=True, text=True, env=environment, cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def imported(folder: Path, *names: str) -> Iterator[list[Any]]:
    """Import modules of a project, which are gone afterwards."""
    own = {"main", "model", "utils"}

    def remove() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in own}

    before = remove()
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(folder))
        remove()
        sys.modules.update(before)


def lint(folder: Path) -> None:
    """Check that the code is formatted, free of lint, and does not mention convsmith."""
    ruff = [sys.executable, "-m", "ruff"]
    formatted = [*ruff, "format", "--isolated", "--diff", "."]
    checked = [*ruff, "check", "--isolated", "--select", "E,F,I,W,B,UP,SIM,C4,RET", "--ignore", "E501", "."]
    for command in (formatted, checked):
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stdout
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        ast.parse(text)
        assert "convsmith" not in text


def written(
    recipe: Recipe,
    storage: Storage,
    folder: Path,
    classes: list[str],
    *,
    own_test: bool,
) -> None:
    """Write the code of a recipe without its data."""
    net, data = code_and_data(recipe, classes, own_test=own_test)
    values = template_context(recipe, net, data, storage)
    values["data_help"] = "a folder"
    for path, text in python_files(values, net).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def code_and_data(recipe: Recipe, classes: list[str], *, own_test: bool) -> tuple[NetCode, DataRecord]:
    """Return the code of the net of a recipe, and a record of its data with other classes."""
    shape = CANONICAL[load(recipe.name).data.source].info.image_shape
    if recipe.data.size:
        shape = (shape[0], *recipe.data.size)
    analysis = analyze_notation(recipe.notation.net, shape, recipe.notation)
    net = notation_code(analysis, analysis.plan, ["Images are so and so."])
    data = DataRecord(
        title="",
        place="",
        identity="",
        fingerprint="",
        class_names=tuple(classes),
        mean=(0.49139967861519596, 0.4821584083946079, 0.4465309144454657)[: shape[0]],
        std=(0.24703223246328201, 0.24348512800005553, 0.2615878417279645)[: shape[0]],
        image_shape=shape,
        split_seed=0,
        dropped=(),
        splits={},
        test_split="the source's own" if own_test else "by convsmith, stratified",
    )
    return net, data
