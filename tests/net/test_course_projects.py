"""The tables and the nets of the three course projects."""

import inspect
import re

import pytest
import torch
from torch import nn

from convsmith.data.augment.transforms.coarse_dropout import CoarseDropout
from convsmith.data.augment.transforms.horizontal_flip import HorizontalFlip
from convsmith.data.augment.transforms.shift_scale_rotate import ShiftScaleRotate
from convsmith.net.arithmetic import SpecAnalysis, analyze
from convsmith.net.layers.layer import Layer
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.spec import Item
from convsmith.net.tables import course_summary, receptive_field_rows, receptive_field_table
from convsmith.recipes.loader import load
from convsmith.training.optimizers.rmsprop import RMSprop
from convsmith.training.optimizers.sgd import SGD
from convsmith.training.schedules.plateau import Plateau
from convsmith.training.schedules.step import Step

# Operation, channels, size of the map, parameters: the 51 rows of the CIFAR-10 project's summary.
CIFAR10_ROWS = [
    ("Conv2d", 16, 32, 432), ("ReLU", 16, 32, 0), ("BatchNorm2d", 16, 32, 32), ("Dropout", 16, 32, 0),
    ("Conv2d", 16, 32, 2304), ("ReLU", 16, 32, 0), ("BatchNorm2d", 16, 32, 32), ("Dropout", 16, 32, 0),
    ("Conv2d", 16, 30, 2304), ("ReLU", 16, 30, 0), ("BatchNorm2d", 16, 30, 32), ("Dropout", 16, 30, 0),
    ("Conv2d", 32, 30, 4608), ("ReLU", 32, 30, 0), ("BatchNorm2d", 32, 30, 64), ("Dropout", 32, 30, 0),
    ("Conv2d", 32, 30, 9216), ("ReLU", 32, 30, 0), ("BatchNorm2d", 32, 30, 64), ("Dropout", 32, 30, 0),
    ("Conv2d", 32, 15, 9216), ("ReLU", 32, 15, 0), ("BatchNorm2d", 32, 15, 64), ("Dropout", 32, 15, 0),
    ("Conv2d", 32, 15, 288),
    ("Conv2d", 48, 15, 1536), ("ReLU", 48, 15, 0), ("BatchNorm2d", 48, 15, 96), ("Dropout", 48, 15, 0),
    ("Conv2d", 48, 15, 20736), ("ReLU", 48, 15, 0), ("BatchNorm2d", 48, 15, 96), ("Dropout", 48, 15, 0),
    ("Conv2d", 48, 8, 20736), ("ReLU", 48, 8, 0), ("BatchNorm2d", 48, 8, 96), ("Dropout", 48, 8, 0),
    ("Conv2d", 64, 8, 27648), ("ReLU", 64, 8, 0), ("BatchNorm2d", 64, 8, 128), ("Dropout", 64, 8, 0),
    ("Conv2d", 64, 8, 36864), ("ReLU", 64, 8, 0), ("BatchNorm2d", 64, 8, 128), ("Dropout", 64, 8, 0),
    ("Conv2d", 64, 8, 36864), ("ReLU", 64, 8, 0), ("BatchNorm2d", 64, 8, 128), ("Dropout", 64, 8, 0),
    ("AvgPool2d", 64, 1, 0),
    ("Conv2d", 10, 1, 640),
]  # fmt: skip

# The MNIST project's summary lists the operations with parameters.
MNIST_ROWS = [
    ("Conv2d", [32, 26, 26], 320),
    ("Conv2d", [64, 24, 24], 18496),
    ("Conv2d", [128, 10, 10], 73856),
    ("Conv2d", [256, 8, 8], 295168),
    ("Linear", [50], 204850),
    ("Linear", [10], 510),
]

# The MNIST project's receptive-field table: r in, n in, j in, stride, padding, kernel, r out, n out, j out.
MNIST_RECEPTIVE_FIELD = [
    (1, 28, 1, 1, 0, 3, 3, 26, 1),
    (3, 26, 1, 1, 0, 3, 5, 24, 1),
    (5, 24, 1, 2, 0, 2, 6, 12, 2),
    (6, 12, 2, 1, 0, 3, 10, 10, 2),
    (10, 10, 2, 1, 0, 3, 14, 8, 2),
    (14, 8, 2, 2, 0, 2, 16, 4, 4),
]


def analysis_of(recipe_name: str, shape: tuple[int, int, int]) -> SpecAnalysis:
    model = load(recipe_name).notation
    return analyze(plan(parse(model.net), shape, model))


def table_rows(summary: str) -> list[tuple[int, str, list[int], int]]:
    """Number, operation, shape without the batch, and parameters, parsed from the printed summary."""
    pattern = r"^\s*(\w+)-(\d+)\s+\[-1, ([\d, ]+)\]\s+([\d,]+)$"
    return [
        (int(number), name, [int(n) for n in shape.split(", ")], int(count.replace(",", "")))
        for name, number, shape, count in re.findall(pattern, summary, flags=re.MULTILINE)
    ]


def megabytes(summary: str) -> list[str]:
    return re.findall(r"\(MB\): ([\d.]+)", summary)


def test_cifar10_classic_has_all_51_rows_of_its_summary() -> None:
    summary = course_summary(analysis_of("cifar10-classic", (3, 32, 32)))
    expected = [
        (number, name, [channels, size, size], parameters)
        for number, (name, channels, size, parameters) in enumerate(CIFAR10_ROWS, start=1)
    ]
    assert len(expected) == 51
    rows = table_rows(summary)
    assert rows == expected
    assert "Total params: 174,352\nTrainable params: 174,352\nNon-trainable params: 0" in summary
    assert sum(row[3] for row in rows) == 174_352
    assert megabytes(summary) == ["0.01", "4.60", "0.67", "5.28"]


def test_mnist_classic_has_every_row_of_its_summary() -> None:
    summary = course_summary(analysis_of("mnist-classic", (1, 28, 28)), weights_only=True)
    expected = [(number, *row) for number, row in enumerate(MNIST_ROWS, start=1)]
    rows = table_rows(summary)
    assert rows == expected
    assert "Total params: 593,200" in summary
    assert sum(row[3] for row in rows) == 593_200
    assert megabytes(summary) == ["0.00", "0.67", "2.26", "2.94"]


def test_mnist_classic_has_every_row_of_its_receptive_field_table() -> None:
    analysis = analysis_of("mnist-classic", (1, 28, 28))
    rows = [
        (
            row.in_field.axes[0].size,
            row.in_shape[1],
            int(row.in_field.axes[0].jump),
            row.stride[0],
            row.padding[0],
            row.kernel[0],
            row.out_field.axes[0].size,
            row.out_shape[1],
            int(row.out_field.axes[0].jump),
        )
        for row in receptive_field_rows(analysis)
    ]
    assert rows == MNIST_RECEPTIVE_FIELD
    table = receptive_field_table(analysis).splitlines()
    columns = [cell.strip() for cell in table[0].strip("|").split("|")]
    kept = [columns.index(name) for name in ("r in", "n in", "j in", "stride", "padding", "kernel")]
    kept += [columns.index(name) for name in ("r out", "n out", "j out")]
    printed = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert [tuple(int(cells[index]) for index in kept) for cells in printed] == MNIST_RECEPTIVE_FIELD


def course_mnist() -> nn.Module:
    """The course's MNIST net, written in plain PyTorch."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3), nn.ReLU(),
        nn.Conv2d(128, 256, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4096, 50), nn.ReLU(), nn.Linear(50, 10),
    )  # fmt: skip


def course_cifar10(dropout: float) -> nn.Module:
    """The course's CIFAR-10 net, written in plain PyTorch."""

    def after(width: int) -> list[nn.Module]:
        return [nn.ReLU(), nn.BatchNorm2d(width), nn.Dropout(dropout)]

    def conv(
        in_width: int, width: int, stride: int = 1, padding: int = 1, dilation: int = 1
    ) -> list[nn.Module]:
        return [nn.Conv2d(in_width, width, 3, stride, padding, dilation, bias=False), *after(width)]

    separable = [
        nn.Conv2d(32, 32, 3, 1, 1, groups=32, bias=False),
        nn.Conv2d(32, 48, 1, bias=False),
        *after(48),
    ]
    return nn.Sequential(
        *conv(3, 16), *conv(16, 16), *conv(16, 16, dilation=2),
        *conv(16, 32), *conv(32, 32), *conv(32, 32, stride=2),
        *separable, *conv(48, 48), *conv(48, 48, stride=2),
        *conv(48, 64), *conv(64, 64), *conv(64, 64),
        nn.AvgPool2d(8), nn.Conv2d(64, 10, 1, bias=False), nn.Flatten(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "course", "shape"),
    [("mnist-classic", course_mnist(), (1, 28, 28)), ("cifar10-classic", course_cifar10(0.1), (3, 32, 32))],
)
def test_the_net_equals_the_course_net(name: str, course: nn.Module, shape: tuple[int, int, int]) -> None:
    net = build(analysis_of(name, shape).plan)
    course.load_state_dict(dict(zip(course.state_dict(), net.state_dict().values(), strict=True)))
    images = torch.randn(4, *shape)
    for mode in (False, True):
        outputs = []
        for module in (net, course):
            for layer in module.modules():
                if isinstance(layer, nn.Dropout):
                    layer.p = 0.1
            torch.manual_seed(0)
            outputs.append(module.train(mode)(images))
        assert torch.allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)


def test_course_receptive_fields() -> None:
    assert analysis_of("mnist-classic", (1, 28, 28)).receptive_field == 16
    assert analysis_of("cifar10-classic", (3, 32, 32)).receptive_field == 51


def test_the_rmsprop_net_has_the_architecture_of_the_course() -> None:
    recipe = load("cifar10-rmsprop")
    first, second, third, fourth, fifth = parse(recipe.notation.net).blocks
    assert [str(layer)[0] + f" stride {layer.stride}" for layer in parse_layers(first)] == [
        "C stride 1", "C stride 1", "C stride 2",
    ]  # fmt: skip
    assert [bool(dropout_of(layer, recipe.notation.dropout)) for layer in parse_layers(first)] == [
        False,
        False,
        True,
    ]
    for block in (second, third):
        separable, dilated, strided = parse_layers(block)
        assert separable.kind.letter == "S"
        assert (dilated.kind.letter, dilated.dilation > 1) == ("C", True)
        assert (strided.kind.letter, strided.stride) == ("C", 2)
        assert all(dropout_of(layer, recipe.notation.dropout) for layer in (separable, dilated, strided))
    (only,) = parse_layers(fourth)
    assert (only.kind.letter, only.kernel, only.number) == ("C", 3, 10)
    assert [layer.kind.letter for layer in parse_layers(fifth)] == ["G"]
    analysis = analysis_of("cifar10-rmsprop", (3, 32, 32))
    assert analysis.parameters < 200_000
    assert (analysis.receptive_field or 0) > 44


def parse_layers(block: tuple[Item, ...]) -> list[Layer]:
    return [item for item in block if isinstance(item, Layer)]


def dropout_of(layer: Layer, default: float) -> float:
    return default if layer.dropout is None else layer.dropout


def test_the_training_of_the_course() -> None:
    mnist, classic, rmsprop = (
        load(name).train for name in ("mnist-classic", "cifar10-classic", "cifar10-rmsprop")
    )
    assert (mnist.epochs, mnist.batch_size) == (5, 1024)
    assert isinstance(mnist.optimizer, SGD)
    assert (mnist.optimizer.lr, mnist.optimizer.momentum, mnist.optimizer.weight_decay) == (0.01, 0.9, 0.0)
    assert isinstance(mnist.schedule, Step)
    assert (mnist.schedule.every, mnist.schedule.factor) == (2, 0.1)
    assert (classic.epochs, classic.batch_size) == (50, 128)
    assert (rmsprop.epochs, rmsprop.batch_size) == (60, 16)
    assert rmsprop.optimizer == RMSprop()
    defaults = inspect.signature(torch.optim.RMSprop).parameters
    assert {name: defaults[name].default for name in ("lr", "alpha", "eps", "weight_decay", "momentum")} == {
        "lr": 0.01, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0, "momentum": 0,
    }  # fmt: skip
    assert isinstance(rmsprop.schedule, Plateau)
    assert rmsprop.schedule.patience == 5


@pytest.mark.parametrize("name", ["cifar10-classic", "cifar10-rmsprop"])
def test_the_three_transforms_of_the_course(name: str) -> None:
    flip, affine, hole = load(name).augment.transforms
    assert isinstance(flip, HorizontalFlip)
    assert isinstance(affine, ShiftScaleRotate)
    assert isinstance(hole, CoarseDropout)
    assert (hole.num_holes_range, hole.hole_height_range, hole.hole_width_range) == (
        (1, 1),
        (16, 16),
        (16, 16),
    )
    assert hole.fill == "mean"
