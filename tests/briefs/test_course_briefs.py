"""The briefs of the assignments against the table of the course, and every field through TOML and back."""

import tomllib
from typing import Any

import pytest
import tomli_w

from convsmith.briefs.checks import judge
from convsmith.briefs.loader import load_brief
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.recipes.loader import from_table, load
from helpers.nets import analysis_of

# From the text of the assignments: (parameters, epochs, batch size, accuracy in per cent).
FACTS: dict[str, tuple[Any, Any, Any, Any]] = {
    "course-a1-mnist-18k": ((12_000, 18_000), 19, 128, 99.4),
    "course-a2-mnist-20k": ((None, 19_999), (1, 19), None, 99.4),
    "course-a3-mnist-25k": ((None, 24_999), None, None, None),
    "course-a4-mnist-8k": ((None, 7_999), (1, 15), None, 99.4),
    "course-a4-mnist-10k": ((None, 9_999), (1, 15), None, 99.4),
    "course-a5-mnist-norms": ((None, None), 20, None, None),
    "course-a6-cifar10-norms": ((None, 49_999), (1, 20), None, 70),
    "course-a7-cifar10-200k": ((None, 199_999), None, None, 85),
    "course-a8-cifar10-resnet18": ((11_173_962, 11_173_962), 20, None, None),
    "course-a9-cifar10-one-cycle": ((6_573_130, 6_573_130), 24, 512, 90),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_numbers_of_the_assignments(name: str) -> None:
    brief = load_brief(name)
    parameters, epochs, batch_size, accuracy = FACTS[name]
    assert (brief.min_parameters, brief.max_parameters) == parameters
    assert (brief.epochs, brief.batch_size) == (epochs, batch_size)
    assert brief.min_accuracy == (accuracy and pytest.approx(accuracy / 100))
    assert brief.description


def test_the_words_of_the_assignments() -> None:
    a1, a2, a4 = (load_brief(f"course-{name}") for name in ("a1-mnist-18k", "a2-mnist-20k", "a4-mnist-8k"))
    assert {rule.kinds for rule in a1.require} == {
        *(("batch-norm",), ("dropout",), ("fully-connected",), ("global-average-pooling",))
    }
    assert a1.dropout == 0.069
    assert ("fully-connected", "global-average-pooling") in {rule.kinds for rule in a2.require}
    assert (a4.steps, a4.goal, a4.each_of_last) == ((3, 4), "last", 4)
    assert a4.notes == ("target", "result", "analysis")
    a5, a6 = load_brief("course-a5-mnist-norms"), load_brief("course-a6-cifar10-norms")
    for brief in (a5, a6):
        assert {variant.norm for variant in brief.variants.values()} == {"group", "layer", "batch"}
    assert [name for name, variant in a5.variants.items() if variant.l1] == ["batch"]
    a9 = load_brief("course-a9-cifar10-one-cycle")
    assert a9.schedule
    # The maximum of one cycle over 24 epochs lies in the fifth.
    low, high = a9.schedule.limits["warmup"]
    assert 4 <= low * 24 < 5 <= high * 24 < 5.1


EVERY_FIELD: dict[str, Any] = {
    "description": "All fields.",
    "min_parameters": 1,
    "max_parameters": 9,
    "parameters_count": "trainable",
    "max_macs": 9,
    "max_activation_bytes": 9,
    "max_file_bytes": 9,
    "file_format": "int8",
    "min_receptive_field": 9,
    "full_coverage": True,
    "min_map_size": 5,
    "require": ["strided", ["dilated", "transposed"], {"kind": ["dropout", "convolution"], "count": [1, 9]}],
    "forbid": ["max-pooling"],
    "norm": "group",
    "dropout": [0.01, 0.1],
    "skeleton": "C C 1x1 G F",
    "blocks": {"count": 2},
    "augmentations": [
        "HorizontalFlip",
        {"name": "Cutout", "size": [8, 16]},
        ["mixup", {"name": "cutmix", "p": 1}],
    ],
    "epochs": [1, 20],
    "batch_size": 64,
    "optimizer": {"name": "adam", "lr": [0.001, 0.1]},
    "schedule": "one-cycle",
    "l1": True,
    "min_accuracy": 0.9,
    "each_of_last": 4,
    "train_accuracy": {"epoch": 1, "min": 0.95},
    "max_calibration_error": 0.1,
    "steps": [3, 4],
    "goal": "each",
    "notes": ["target", "result"],
    "variants": {"a": {"max_macs": 5, "l1": [0.001, 0.1]}},
}


def test_every_field_is_written_and_read_unchanged() -> None:
    assert set(EVERY_FIELD) == set(Brief.model_fields)
    table = {
        "name": "a",
        "data": {"source": "digits"},
        "model": {"net": "C4 / G F10"},
        "train": {"epochs": 9},
        "brief": EVERY_FIELD,
    }
    recipe = from_table(table)
    assert recipe.brief == Brief.model_validate(EVERY_FIELD)
    written = tomli_w.dumps(recipe.table())
    assert from_table(tomllib.loads(written)) == recipe


def test_a_check_for_every_field_that_has_one() -> None:
    """No field is read and never judged."""
    recipe = load("digits")
    without = {
        "description",
        "parameters_count",
        "file_format",
        "steps",
        "goal",
        "notes",
        "variants",
        "each_of_last",
    }
    for field, value in EVERY_FIELD.items():
        if field in without:
            continue
        subject = Subject(analysis=analysis_of("C4 / G F10"), training=recipe.train, augmentations=())
        assert judge(Brief.model_validate({field: value}), subject), field
