"""Augmentations are judged by their effect: probability, limits, and what the image shows of them."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from convsmith.briefs.augmentations import AugmentationRule
from convsmith.briefs.checks import judge
from convsmith.briefs.loader import load_brief
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.transform import Transform
from convsmith.recipes.loader import load
from helpers.nets import analysis_of

SIZE = (32, 32)
ANALYSIS = analysis_of("C16 C16:s2 / G F10")
HOLE = {
    "name": "CoarseDropout",
    "num_holes_range": 1,
    "hole_height_range": 16,
    "hole_width_range": 16,
    "fill": "mean",
}


def augmentation(**table: Any) -> Any:
    key = "mix" if table["name"] in {"mixup", "cutmix"} else "transforms"
    config = AugmentConfig.model_validate({key: table if key == "mix" else [table]})
    (only,) = config.all
    return only


# Settings without an effect on images of 32x32 pixels, and the nearest ones that have one.
INACTIVE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"name": "HorizontalFlip", "p": 0.0}, {"p": 0.5}),
    ({"name": "HorizontalFlip", "p": 0.001}, {"p": 0.5}),
    ({"name": "HorizontalFlip", "p": 0.0}, {"alternate": True}),
    ({"name": "HorizontalFlip", "p": 1.0}, {"p": 0.5}),
    ({"name": "ShiftScaleRotate", "p": 0.0}, {"p": 0.5}),
    (
        {"name": "ShiftScaleRotate", "shift_limit": 0.0, "scale_limit": 0.0, "rotate_limit": 0.0},
        {"rotate_limit": 5.0},
    ),
    (
        {"name": "ShiftScaleRotate", "shift_limit": 0.03, "scale_limit": 0.0, "rotate_limit": 0.0},
        {"shift_limit": 0.04},
    ),
    (
        {"name": "ShiftScaleRotate", "shift_limit": 0.0, "scale_limit": 0.01, "rotate_limit": 0.5},
        {"scale_limit": 0.1},
    ),
    (
        {"name": "CoarseDropout", "hole_height_range": [1, 1], "hole_width_range": [1, 1]},
        {"hole_width_range": [1, 4]},
    ),
    ({"name": "Cutout", "size": 1}, {"size": 2}),
    ({"name": "RandomCrop", "p": 0.0}, {"p": 1.0}),
    (
        {"name": "RandomBrightnessContrast", "brightness_limit": 0.0, "contrast_limit": 0.0},
        {"contrast_limit": 0.1},
    ),
    (
        {"name": "ColorJitter", "brightness": 0.0, "contrast": 0.001, "saturation": 0.0, "hue": 0.001},
        {"brightness": 0.2},
    ),
    ({"name": "RandomErasing", "scale": [0.0001, 0.0002]}, {"scale": [0.02, 0.3]}),
    ({"name": "VerticalFlip", "p": 1.0}, {"p": 0.5}),
    ({"name": "GaussianBlur", "sigma_limit": [0.1, 0.2]}, {"sigma_limit": [0.1, 0.5]}),
    ({"name": "Blur", "p": 0.0}, {"p": 0.5}),
    ({"name": "RandAugment", "p": 0.0}, {"p": 1.0}),
    ({"name": "TrivialAugment", "p": 0.0}, {"p": 1.0}),
    ({"name": "mixup", "p": 0.0}, {"p": 1.0}),
    ({"name": "mixup", "alpha": 0.0001}, {"alpha": 0.2}),
    ({"name": "cutmix", "p": 0.0}, {"p": 0.5}),
]


@pytest.mark.parametrize(("table", "change"), INACTIVE, ids=[f"{table}" for table, _ in INACTIVE])
def test_an_augmentation_without_effect_does_not_pass(table: dict[str, Any], change: dict[str, Any]) -> None:
    rule = AugmentationRule.model_validate(table["name"])
    assert rule.violations(augmentation(**table), SIZE)
    assert not rule.violations(augmentation(**table | change), SIZE)
    # The suggested overrides are a change that passes, too.
    changes = next(rule._changes(augmentation(**table), SIZE))
    assert not rule.violations(augmentation(**table | changes), SIZE)


@pytest.mark.parametrize(
    "table",
    [table for table, _ in INACTIVE if table["name"] not in {"mixup", "cutmix"} and "p" not in table],
    ids=str,
)
def test_what_counts_as_inactive_hardly_changes_an_image(table: dict[str, Any]) -> None:
    """The oracle: apply the transform to a smooth image, and compare the pixels."""
    transform: Transform = augmentation(**table, p=1.0)
    assert transform.inactive_reason(*SIZE)
    ramp = torch.linspace(20, 230, 32)
    images = (ramp.view(1, -1) + 0 * ramp.view(-1, 1)).to(torch.uint8).expand(64, 3, 32, 32).contiguous()
    generator = torch.Generator().manual_seed(0)
    changed = transform.apply(images, transform.draw(64, SIZE, generator), (128.0, 128.0, 128.0))
    difference = (changed.float() - images.float()).abs()
    assert difference.mean() < 1.5  # levels of 255; a shift by one pixel changes each by about 7


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, []),
        ({"p": 0.0}, ["p is 0"]),
        ({"hole_height_range": [1, 1]}, ["hole_height_range is [1,1]"]),
        ({"hole_width_range": [8, 16]}, ["hole_width_range is [8,16]"]),
        ({"num_holes_range": [1, 2]}, ["num_holes_range is [1,2]"]),
        ({"fill": "black"}, ['fill is "black"']),
        ({"fill": "black", "p": 0.0}, ["p is 0", 'fill is "black"']),
    ],
)
def test_the_hole_of_the_course(change: dict[str, Any], broken: list[str]) -> None:
    rule = AugmentationRule.model_validate(HOLE)
    table = {
        "name": "CoarseDropout",
        "num_holes_range": [1, 1],
        "hole_height_range": [16, 16],
        "hole_width_range": [16, 16],
    }
    assert rule.violations(augmentation(**table | {"p": 0.5} | change), SIZE) == broken


def test_limits_of_a_range() -> None:
    rule = AugmentationRule.model_validate(
        {"name": "ShiftScaleRotate", "rotate_limit": [5, 15], "p": [0.2, 1]}
    )
    assert rule.requirement == "rotate_limit 5 to 15, p 0.2 to 1"
    for degrees, p, passes in [
        (5.0, 0.2, True),
        (15.0, 1.0, True),
        (4.9, 0.5, False),
        (15.1, 0.5, False),
        (10.0, 0.1, False),
    ]:
        found = rule.violations(augmentation(name="ShiftScaleRotate", rotate_limit=degrees, p=p), SIZE)
        assert (not found) == passes
    assert rule.fix(augmentation(name="ShiftScaleRotate", rotate_limit=45.0, p=0.1), SIZE) == (
        "set augment.transforms.ShiftScaleRotate.rotate_limit=15 augment.transforms.ShiftScaleRotate.p=0.2"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("HorizontalFlp", "did you mean 'HorizontalFlip'"),
        ({"name": "Cutout", "sise": 3}, "did you mean 'size'"),
        ({"name": "Cutout", "size": "large"}, "size cannot be 'large'"),
        ({"name": "Cutout", "size": [8, 4]}, "size cannot be"),
        ({"name": "Cutout", "p": 2}, "p cannot be 2"),
        ({"name": "CoarseDropout", "fill": "meen"}, "fill cannot be 'meen'"),
        ({"size": 8}, "name"),
        (3, "augmentations"),
    ],
)
def test_mistakes_in_a_rule(value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Brief.model_validate({"augmentations": [value]})


def test_rules_survive_a_file() -> None:
    brief = load_brief("course-cifar10")
    table = brief.model_dump()
    assert table["augmentations"][0] == "HorizontalFlip"
    assert table["augmentations"][2] == HOLE
    assert Brief.model_validate(table) == brief


@given(
    p=st.sampled_from([0.0, 0.005, 0.01, 0.5, 1.0]),
    low=st.integers(1, 20),
    more=st.integers(0, 12),
    fill=st.sampled_from(["mean", "black"]),
)
@settings(deadline=None)
def test_the_fix_is_a_change_that_passes(p: float, low: int, more: int, fill: str) -> None:
    rule = AugmentationRule.model_validate(HOLE)
    present = augmentation(name="CoarseDropout", p=p, hole_height_range=[low, low + more], fill=fill)
    if rule.violations(present, SIZE):
        changes = next(rule._changes(present, SIZE))
        changed = type(present).model_validate({**present.model_dump(), **changes})
        assert not rule.violations(changed, SIZE)
        # Each change is necessary.
        for key in changes:
            fewer = {name: value for name, value in changes.items() if name != key}
            assert rule.violations(type(present).model_validate({**present.model_dump(), **fewer}), SIZE)


def test_the_overrides_in_the_fixes_pass_the_brief() -> None:
    overrides = [
        "augment.transforms.CoarseDropout.p=0",
        "augment.transforms.HorizontalFlip.p=0",
        "augment.transforms.CoarseDropout.hole_height_range=[1,1]",
    ]
    recipe = load("cifar10-classic", overrides)
    checks = judge(recipe.brief, Subject(analysis=ANALYSIS, augmentations=recipe.augment.all))
    failed = [check for check in checks if check.title.startswith("augmentation") and check.verdict == "fail"]
    assert len(failed) == 2
    fixes = [word for check in failed for word in check.fix.removeprefix("set ").split()]
    mended = load("cifar10-classic", [*overrides, *fixes])
    checks = judge(recipe.brief, Subject(analysis=ANALYSIS, augmentations=mended.augment.all))
    assert not [
        check.title for check in checks if check.title.startswith("augmentation") and check.verdict == "fail"
    ]


HOLES = [{"name": "Cutout", "size": 16}, HOLE]


@pytest.mark.parametrize(
    ("tables", "actual", "fix"),
    [
        ([{"name": "Cutout", "size": 16}], "a square of 16 x 16 pixels; the mean colour; p = 0.5", ""),
        ([{"name": "CoarseDropout"}], "holes: 1 of 16 x 16 pixels; the mean colour; p = 0.5", ""),
        (
            [{"name": "Cutout", "size": 8}, {"name": "CoarseDropout"}],
            "holes: 1 of 16 x 16 pixels; the mean colour; p = 0.5",
            "",
        ),
        ([{"name": "Cutout", "size": 8}], "size is 8", "set augment.transforms.Cutout.size=16"),
        ([], "not named", 'add a table [[augment.transforms]] with name = "Cutout", size = 16'),
    ],
)
def test_one_of_several_augmentations(tables: list[dict[str, Any]], actual: str, fix: str) -> None:
    brief = Brief.model_validate({"augmentations": [HOLES]})
    augmentations = tuple(augmentation(**table) for table in tables)
    (check,) = judge(brief, Subject(analysis=ANALYSIS, augmentations=augmentations))
    assert (check.title, check.verdict) == ("augmentation Cutout or CoarseDropout", "fail" if fix else "pass")
    assert (check.actual, check.fix) == (actual, fix)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ([], "an empty list"),
        (["Cutuot"], "did you mean 'Cutout'"),
        ([3], "write the name of the augmentation"),
    ],
)
def test_a_choice_that_is_none(choice: list[Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Brief.model_validate({"augmentations": [choice]})
