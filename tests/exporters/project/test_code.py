"""The code of a project: formatted, linted, and free of convsmith."""

import ast
from pathlib import Path
from typing import Any

import pytest

from convsmith.exporters.project.code import Storage
from convsmith.exporters.project.net_code import LAYOUTS, Layout
from convsmith.recipes.loader import from_table, load
from helpers.projects import RECIPES, lint, written

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
    "mixup": ('augment.mix={name="mixup"}', "train.progressive={start_size=6}"),
    "cutmix": ('augment.mix={name="cutmix"}', "train.microbatch_size=16", "train.label_smoothing=0.1"),
    "all transforms": (f"augment.transforms=[{', '.join(TRANSFORMS)}]",),
    "alternate flips": ('augment.transforms=[{name="HorizontalFlip", alternate=true}]',),
}


STORAGES = {
    "digits": Storage(kind="digits"),
    "hub": Storage(kind="hub", default="owner/name"),
    "parquet": Storage(
        kind="parquet", default="data", columns=('a"b', "label"), train_files=("a.parquet", 'b".parquet')
    ),
    "images": Storage(kind="images", default="data"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", [*RECIPES, *VARIANTS])
def test_the_code_is_formatted_and_linted(name: str, layout: Layout, tmp_path: Path) -> None:
    recipe = load(name) if name in RECIPES else load("digits", VARIANTS[name])
    storage = STORAGES["digits" if recipe.data.source == "digits" else "hub"]
    own_test = recipe.data.source != "digits"
    written(recipe, storage, tmp_path, list("abcdefghij"), own_test=own_test, layout=layout)
    lint(tmp_path)


@pytest.mark.parametrize("resize", ["", "data.resize=12"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("storage", ["hub", "parquet", "images"])
@pytest.mark.parametrize("name", ["digits", "cifar10-rmsprop"])
def test_the_code_of_every_storage_is_linted(
    name: str, storage: str, layout: Layout, resize: str, tmp_path: Path
) -> None:
    recipe = load(name, [resize] if resize else [])
    names = ["a", 'b"c\\', "line\nend", "naïve '\"both\"'", *(f"class {n}" for n in range(6))]
    written(recipe, STORAGES[storage], tmp_path, names, own_test=storage in {"hub", "images"}, layout=layout)
    lint(tmp_path)
    scope: dict[str, Any] = {}
    path = tmp_path / ("utils.py" if layout == "flat" else "utils/utils.py")
    text = path.read_text(encoding="utf-8")
    first = next(node for node in ast.parse(text).body if isinstance(node, ast.Assign))
    exec(ast.unparse(first), scope)  # noqa: S102 - the constant of class names
    assert list(scope["CLASSES"]) == names


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("storage", STORAGES)
def test_the_code_of_weights_that_were_trained_elsewhere(
    storage: str, layout: Layout, tmp_path: Path
) -> None:
    table = load("digits", ["model.init=orthogonal", "data.validation=0.2"]).table()
    del table["augment"]
    recipe = from_table({**table, "train": {"epochs": 0}})
    own_test = storage in {"hub", "images"}
    written(recipe, STORAGES[storage], tmp_path, list("abcdefghij"), own_test=own_test, layout=layout)
    lint(tmp_path)
    assert not (tmp_path / "utils" / "optim.py").exists()
    assert not (tmp_path / "model" / "weights.py").exists()


def test_many_class_names_are_stored_in_a_separate_file(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(60)]
    written(load("digits"), STORAGES["images"], tmp_path, names, own_test=True)
    lint(tmp_path)
    assert 'with_name("classes.json")' in (tmp_path / "utils" / "utils.py").read_text(encoding="utf-8")
