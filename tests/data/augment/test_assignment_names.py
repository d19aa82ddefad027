"""Names of transforms in albumentations 1.x and torchvision: each gets the line to write."""

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from convsmith.briefs.loader import load_brief
from convsmith.data.augment.assignment_names import current_names
from convsmith.data.augment.config import AugmentConfig
from convsmith.errors import RecipeError
from convsmith.recipes.loader import from_table, load

albumentations = pytest.importorskip("albumentations")

# Tables in the words of assignments, and what they are here.
TRANSLATIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {
            "name": "CoarseDropout",
            "max_holes": 1,
            "max_height": 16,
            "max_width": 16,
            "min_holes": 1,
            "min_height": 16,
            "min_width": 16,
            "fill_value": [0.49, 0.48, 0.44],
            "mask_fill_value": 0,
            "always_apply": False,
        },
        {
            "name": "CoarseDropout",
            "num_holes_range": [1, 1],
            "hole_height_range": [16, 16],
            "hole_width_range": [16, 16],
            "fill": "mean",
        },
    ),
    # In albumentations 1.x the minimum is the maximum by default, and the maximum is 8.
    (
        {"name": "CoarseDropout", "max_holes": 3, "min_height": 4, "max_width": 9, "fill_value": 0},
        {
            "name": "CoarseDropout",
            "num_holes_range": [3, 3],
            "hole_height_range": [4, 8],
            "hole_width_range": [9, 9],
            "fill": "black",
        },
    ),
    (
        {"name": "Cutout", "num_holes": 1, "max_h_size": 16, "max_w_size": 16, "p": 0.3},
        {"name": "Cutout", "size": 16, "p": 0.3},
    ),
    (
        {"name": "Cutout", "num_holes": 2, "max_h_size": 8},
        {
            "name": "CoarseDropout",
            "num_holes_range": [2, 2],
            "hole_height_range": [8, 8],
            "hole_width_range": [8, 8],
        },
    ),
    (
        {"name": "ShiftScaleRotate", "rotate_limit": [-5, 5], "shift_limit_x": 0.1, "border_mode": 0},
        {"name": "ShiftScaleRotate", "rotate_limit": 5, "shift_limit": 0.1, "border": "black"},
    ),
    (
        {"name": "Rotate", "limit": 7, "p": 0.3, "interpolation": 1},
        {"name": "ShiftScaleRotate", "rotate_limit": 7, "shift_limit": 0, "scale_limit": 0, "p": 0.3},
    ),
    (
        {"name": "RandomRotation", "degrees": [-5, 5], "fill": 0},
        {
            "name": "ShiftScaleRotate",
            "rotate_limit": 5,
            "shift_limit": 0,
            "scale_limit": 0,
            "p": 1,
            "border": "black",
        },
    ),
    ({"name": "RandomHorizontalFlip", "p": 0.5}, {"name": "HorizontalFlip", "p": 0.5}),
    ({"name": "HorizontalFlip", "p": 0.5, "always_apply": True}, {"name": "HorizontalFlip", "p": 1}),
    (
        {"name": "RandomCrop", "size": 32, "padding": 4, "padding_mode": "reflect"},
        {"name": "RandomCrop", "padding": 4, "border": "reflect"},
    ),
    ({"name": "RandomCrop", "height": 32, "width": 32}, {"name": "RandomCrop"}),
    ({"name": "RandomVerticalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}),
    (
        {"name": "ColorJitter", "brightness": [0.8, 1.2], "saturation": 0.3, "hue": [-0.1, 0.1]},
        {"name": "ColorJitter", "brightness": 0.2, "saturation": 0.3, "hue": 0.1},
    ),
    (
        {"name": "RandomErasing", "scale": [0.02, 0.2], "value": 0, "inplace": False},
        {"name": "RandomErasing", "scale": [0.02, 0.2], "fill": "black"},
    ),
    ({"name": "RandomErasing", "value": "random"}, {"name": "RandomErasing", "fill": "random"}),
    ({"name": "RandomErasing", "value": [0.5, 0.5, 0.4]}, {"name": "RandomErasing", "fill": "mean"}),
    ({"name": "Erasing", "p": 0.2}, {"name": "RandomErasing", "fill": "black", "p": 0.2}),
    (
        {"name": "Erasing", "fill": "random_uniform", "ratio": [0.5, 2]},
        {"name": "RandomErasing", "fill": "random", "ratio": [0.5, 2]},
    ),
    (
        {"name": "GaussianBlur", "kernel_size": 5, "sigma": [0.1, 2.5]},
        {"name": "GaussianBlur", "sigma_limit": [0.1, 2.5]},
    ),
    ({"name": "GaussianBlur", "blur_limit": [3, 7]}, {"name": "GaussianBlur", "sigma_limit": [0.8, 1.4]}),
    ({"name": "GaussianBlur", "sigma_limit": 2.5}, {"name": "GaussianBlur", "sigma_limit": [2.5, 2.5]}),
    ({"name": "Blur", "blur_limit": 7}, {"name": "Blur", "blur_limit": [3, 7]}),
    (
        {
            "name": "RandAugment",
            "num_ops": 3,
            "magnitude": 5,
            "num_magnitude_bins": 11,
            "fill": [128, 128, 128],
        },
        {"name": "RandAugment", "num_operations": 3, "magnitude": 15, "border": "mean"},
    ),
    ({"name": "RandAugment", "n": 1, "m": 4}, {"name": "RandAugment", "num_operations": 1, "magnitude": 4}),
    (
        {"name": "TrivialAugmentWide", "num_magnitude_bins": 31, "fill": 0},
        {"name": "TrivialAugment", "border": "black"},
    ),
]


@pytest.mark.parametrize(("old", "new"), TRANSLATIONS, ids=[f"{old}"[:60] for old, _ in TRANSLATIONS])
def test_each_name_has_the_line_to_write(old: dict[str, Any], new: dict[str, Any]) -> None:
    ((table,), problems) = current_names([old], where="augment.transforms")
    assert table == new
    # What the lines say is what the table is, and a transform here.
    AugmentConfig.model_validate({"transforms": [new]})
    for key, value in new.items():
        if old.get(key) != value:
            words = f"{key} = " + (f'"{value}"' if isinstance(value, str) else f"{value}")
            assert any(words in problem.fix for problem in problems), words
    for key in set(old) - set(new):
        renamed = any("another name" in problem.what for problem in problems)
        assert renamed or any(key in problem.what for problem in problems), key


def test_tables_of_today_have_no_problems() -> None:
    for name in ("cifar10-classic", "cifar10-sprint", "mnist-10k"):
        tables = load(name).table()["augment"]["transforms"]
        assert current_names(tables, where="augment.transforms") == (tables, [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Flip", "HorizontalFlip and VerticalFlip"),
        ("AutoAugment", '"TrivialAugment"'),
        ("RandomSolarize", '"RandAugment"'),
        ("Equalize", '"RandAugment"'),
        ("HueSaturationValue", "ColorJitter"),
        ("MedianBlur", "GaussianBlur"),
    ],
)
def test_names_without_a_table_have_advice(name: str, words: str) -> None:
    _, (problem,) = current_names([{"name": name}], where="t")
    assert problem.what == f"{name} is no transform here"
    assert words in problem.fix


def test_sizes_of_kernels_mean_what_opencv_means() -> None:
    """Albumentations 1.x left sigma to OpenCV."""
    (table,), _ = current_names([{"name": "GaussianBlur", "blur_limit": [5, 9]}], where="t")
    line = np.zeros((1, 41), np.float32)
    line[0, 20] = 1
    for size, sigma in zip((5, 9), table["sigma_limit"], strict=True):
        by_size, by_sigma = (cv2.GaussianBlur(line, (size, 1), each) for each in (0, sigma))
        assert by_size == pytest.approx(by_sigma, abs=0.03)


@pytest.mark.parametrize(
    "table",
    [
        {"name": "GaussianBlur", "blur_limit": "large"},
        {"name": "GaussianBlur", "sigma": None},
        {"name": "ColorJitter", "hue": ["a", None]},
        {"name": "RandAugment", "num_magnitude_bins": 0, "magnitude": "x"},
        {"name": "RandomErasing", "value": None},
        {"name": "TrivialAugmentWide", "fill": None},
        {"name": "Blur", "blur_limit": [3]},
    ],
)
def test_values_without_a_meaning_are_no_crash(table: dict[str, Any]) -> None:
    for limits in (False, True):
        current_names([table], where="t", limits=limits)


def test_limits_mean_what_albumentations_means() -> None:
    """Albumentations 2 still has these two, and takes a number for both directions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, pair = (albumentations.ShiftScaleRotate(rotate_limit=each) for each in (5, (-5, 5)))
        assert one.rotate == pair.rotate == (-5, 5)
        assert albumentations.Rotate(limit=7).limit == albumentations.Rotate(limit=(-7, 7)).limit == (-7, 7)
    ((table,), _) = current_names([{"name": "Rotate", "limit": [-7, 7]}], where="t")
    (transform,) = AugmentConfig.model_validate({"transforms": [table]}).transforms
    assert transform.to_albumentations((0.0,)).rotate == (-7, 7)


def test_what_convsmith_does_itself_is_removed() -> None:
    names = ["Normalize", "ToTensorV2", {"name": "PadIfNeeded", "min_height": 36, "min_width": 36}]
    tables, problems = current_names([*names, {"name": "RandomCrop", "height": 32}], where="t")
    assert [problem.where for problem in problems] == ["t.0", "t.1", "t.2", "t.3.height"]
    assert "write padding = 2" in problems[2].fix
    # The positions of the others stay.
    assert tables[3] == {"name": "RandomCrop"}


def test_a_share_of_the_image_becomes_pixels() -> None:
    _, (problem,) = current_names([{"name": "CoarseDropout", "max_height": 0.25}], where="t")
    assert problem.fix == "write hole_height_range = [low, high] in pixels: 0.25 is a share of the image"


def test_values_that_are_no_numbers_of_holes_have_a_message() -> None:
    _, (problem,) = current_names([{"name": "CoarseDropout", "min_holes": 0, "max_holes": 2}], where="t")
    assert problem.fix == "write num_holes_range = [low, high], whole numbers from 1 on"


@pytest.mark.parametrize(
    ("mode", "border"),
    [
        ("cv2.BORDER_CONSTANT", "black"),
        ("BORDER_REPLICATE", "replicate"),
        ("BORDER_REFLECT_101", "reflect"),
        (0, "black"),
        # Neither has a meaning: the default of albumentations.
        ([0], "reflect"),
        ({"a": 1}, "reflect"),
    ],
)
def test_border_modes_by_the_names_of_opencv(mode: object, border: str) -> None:
    ((table,), _) = current_names([{"name": "Rotate", "limit": 5, "border_mode": mode}], where="t")
    assert table["border"] == border


def test_all_problems_of_a_recipe_at_once() -> None:
    table = {
        "name": "a",
        "data": {"source": "digits"},
        "model": {"net": "C4 / G F10"},
        "train": {"epochs": 2, "epoch": 1},
        "augment": {
            "transforms": [
                {"name": "CoarseDropout", "max_holes": 1, "min_holes": 1, "max_height": 16, "colour": 1}
            ]
        },
        "brief": {"augmentations": [{"name": "ShiftScaleRotate", "rotate_limit": [-5, 5]}]},
    }
    with pytest.raises(RecipeError) as caught:
        from_table(table)
    text = str(caught.value)
    assert "min_holes and max_holes are names" in text
    assert "num_holes_range = [1, 1]" in text
    assert "augment.transforms.0.colour: unknown field" in text
    assert "brief.augmentations.0.rotate_limit" in text
    assert "train.epoch: unknown field" in text
    assert "CoarseDropout.max_holes" not in text


def test_limits_of_a_brief_stay_limits(tmp_path: Path) -> None:
    path = tmp_path / "brief.toml"
    path.write_text(
        'augmentations = [{ name = "CoarseDropout", max_height = 16, max_width = 16, max_holes = 1 },'
        ' { name = "ShiftScaleRotate", rotate_limit = [-5, 5] }]'
    )
    with pytest.raises(RecipeError) as caught:
        load_brief(str(path))
    fixes = [problem.fix for problem in caught.value.problems]
    assert fixes == [
        "write num_holes_range = 1",
        "write hole_height_range = 16",
        "write hole_width_range = 16",
        "write rotate_limit = 5",
    ]
    rules = ", ".join(fix.removeprefix("write ") for fix in fixes[:3])
    path.write_text(f'augmentations = [{{ name = "CoarseDropout", {rules} }}]')
    assert load_brief(str(path)).augmentations[0].rules[0].limits["hole_height_range"] == 16
    # A limit from 5 to 15 degrees is one.
    path.write_text('augmentations = [{ name = "ShiftScaleRotate", rotate_limit = [5, 15] }]')
    assert load_brief(str(path)).augmentations[0].rules[0].limits == {"rotate_limit": [5, 15]}
