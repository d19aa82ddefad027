"""The recipes of the course's assignments keep the rules of their briefs, and train."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from convsmith.briefs.hand_in import judge_all
from convsmith.briefs.loader import load_brief
from convsmith.briefs.subject import Subject
from convsmith.data.dataset import CANONICAL, ImageDataset, Split
from convsmith.recipes.fit import analyze_recipe, subject_of
from convsmith.recipes.loader import load, recipe_names
from convsmith.recipes.session import Session, TrainingSession

NORMS = ("batch", "group", "layer")
# Brief of a task -> its recipes: the models of one hand-in, in their order.
TASKS = {
    "course-a1-mnist-18k": ["course-a1-mnist-18k"],
    "course-a2-mnist-20k": ["course-a2-mnist-20k"],
    "course-a3-mnist-25k": ["course-a3-mnist-25k"],
    "course-a4-mnist-8k": [f"course-a4-mnist-8k-step{step}" for step in (1, 2, 3)],
    "course-a5-mnist-norms": [f"course-a5-mnist-norms-{norm}" for norm in NORMS],
    "course-a6-cifar10-norms": [f"course-a6-cifar10-norms-{norm}" for norm in NORMS],
    "course-a7-cifar10-200k": ["cifar10-classic"],
    "course-a8-cifar10-resnet18": ["course-a8-cifar10-resnet18"],
    "course-a9-cifar10-one-cycle": ["course-a9-cifar10-one-cycle"],
}
# What only a training decides.
MEASURED = ("test accuracy", "training accuracy")


def subject(name: str) -> Subject:
    recipe = load(name)
    return subject_of(recipe, analyze_recipe(recipe, CANONICAL[recipe.data.source].info, None))


@pytest.mark.parametrize("brief", TASKS)
def test_the_recipes_pass_every_check_that_needs_no_training(brief: str) -> None:
    verdicts = judge_all(load_brief(brief), {name: subject(name) for name in TASKS[brief]})
    assert [each.title for each in verdicts.checks if each.verdict == "fail"] == []
    assert any(each.verdict == "pass" for each in verdicts.checks)
    for name in TASKS[brief]:
        undecided = [each for each in verdicts.models[name] if each.verdict == "not applicable"]
        # In a hand-in of several steps, the earlier ones need not reach the goal.
        assert all(each.title.startswith(MEASURED) or "a step before" in each.actual for each in undecided)


def test_every_recipe_of_the_course_belongs_to_a_task() -> None:
    names = [name for name in recipe_names() if name.startswith("course-")]
    assert sorted(names) == sorted(name for group in TASKS.values() for name in group if "course" in name)


def test_each_step_of_a4_alone_is_below_its_limits() -> None:
    """The brief asks it of the last step only."""
    for name in TASKS["course-a4-mnist-8k"]:
        assert subject(name).analysis.parameters < 8_000
        assert load(name).train.epochs <= 15


class Block(nn.Module):
    """A block of kuangliu's ResNet-18, written by hand."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        body = self.norm2(self.conv2(self.norm1(self.conv1(maps)).relu()))
        total: torch.Tensor = body + self.shortcut(maps)
        return total.relu()


def test_the_resnet_18_is_kuangliu_s() -> None:
    """Equal logits for equal weights, which both nets have in the same order but for the shortcuts."""
    recipe = load("course-a8-cifar10-resnet18")
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    widths += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    blocks = [Block(*width) for width in widths]
    stem = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    theirs = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)).eval()
    data = small_cifar()
    ours = TrainingSession.of(recipe, data).build_net().eval()
    state = list(theirs.state_dict().items())
    shortcuts = [value for name, value in state if "shortcut" in name]
    others = [value for name, value in state if "shortcut" not in name]
    for name, value in ours.state_dict().items():
        value.copy_((shortcuts if "projection" in name else others).pop(0))
    assert not shortcuts
    assert not others
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def small_cifar(count: int = 32) -> ImageDataset:
    """Return the digits as images of 3x32x32, so that no data set is needed."""
    digits = Session.load(load("digits")).data

    def enlarged(split: Split) -> Split:
        images = np.asarray(split.images[:count]).repeat(4, 1).repeat(4, 2).repeat(3, 3)
        return Split(images=images, labels=split.labels[:count])

    return replace(
        digits, train=enlarged(digits.train), test=enlarged(digits.test), mean=(0.3,) * 3, std=(0.4,) * 3
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["course-a8-cifar10-resnet18", "course-a9-cifar10-one-cycle"])
def test_one_epoch_of_the_large_nets(name: str) -> None:
    """They are too large to be trained on two cores: one epoch of 32 images."""
    recipe = load(name, ["train.stop_after=1", "train.batch_size=16", "train.precision=fp32"])
    session = TrainingSession.of(recipe, small_cifar())
    net = session.build_net()
    before = [each.clone() for each in net.parameters()]
    (epoch,) = session.fit(net)
    assert math.isfinite(epoch.train.loss)
    assert epoch.train.total == 32
    assert all(not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))
