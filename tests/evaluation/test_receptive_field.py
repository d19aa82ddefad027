"""The effective receptive field of nets whose gradient is known exactly."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from matplotlib.figure import Figure
from torch import Tensor, nn

import convsmith as cs
from convsmith.cli import run
from convsmith.errors import ModuleError, RunError, ShapeError
from convsmith.evaluation import receptive_field
from convsmith.evaluation.receptive_field import (
    EffectiveReceptiveField,
    Square,
    effective_field,
    last_map,
    measure_noise,
    read,
    write,
)
from convsmith.net.arithmetic import analyze
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import Branch, Plan, plan
from convsmith.net.rows import AxisReceptiveField, ReceptiveField
from convsmith.net.settings import NetSettings
from convsmith.recipes.schema import Recipe
from convsmith.reports.receptive_field import field_lines, receptive_field_figure
from convsmith.system.rng import new_generator
from convsmith.tracing.trace import trace
from helpers import hand_written, modules
from helpers.nets import examples, legal, net_settings, notations


def ones(*convolutions: nn.Conv2d) -> nn.Sequential:
    """Return a linear net with all weights 1."""
    for each in convolutions:
        nn.init.ones_(each.weight)
    return nn.Sequential(*convolutions)


def conv(kernel: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(1, 1, kernel, bias=False, **options)  # type: ignore[arg-type]


def images(size: int, *, channels: int = 1, count: int = 5) -> list[Tensor]:
    """Return two batches."""
    drawn = torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))
    return [drawn[:2], drawn[2:]]


def test_one_convolution_weights_nine_pixels_equally() -> None:
    field = effective_field(ones(conv(padding=1)), images(9), "0")
    expected = np.zeros((9, 9))
    expected[3:6, 3:6] = 1 / 9
    np.testing.assert_allclose(field.energy, expected)
    assert field.num_images == 5
    assert field.centre == pytest.approx((4, 4))
    # The central pixel; with its 4 neighbours; with the 4 corners.
    assert [field.share_within(radius) for radius in (0, 1, 1.4, 1.5, 9)] == pytest.approx(
        [1 / 9, 5 / 9, 5 / 9, 1, 1]
    )
    assert [field.radius_of(share) for share in (0.1, 0.25, 0.5, 0.75, 1)] == pytest.approx(
        [0, 1, 1, 2**0.5, 2**0.5]
    )
    assert field.size == 3


def test_two_convolutions_give_a_pyramid() -> None:
    field = effective_field(ones(conv(padding=1), conv(padding=1)), images(11), "1")
    row = np.array([0, 0, 0, 1, 2, 3, 2, 1, 0, 0, 0]) / 9
    np.testing.assert_allclose(field.energy, np.outer(row, row), atol=1e-12)
    assert field.share_within(0) == pytest.approx(9 / 81)
    assert field.share_within(1) == pytest.approx((9 + 4 * 6) / 81)


def test_ten_convolutions_give_a_gaussian() -> None:
    """The variance along an axis is ten times that of one convolution, 2/3."""
    field = effective_field(ones(*(conv(padding=1) for _ in range(10))), images(41), "9")
    across = field.energy.sum(0)
    deviation = np.sqrt((across * (np.arange(41) - 20) ** 2).sum())
    assert deviation == pytest.approx((10 * 2 / 3) ** 0.5, abs=1e-6)
    # Half of a two-dimensional Gaussian is within 1.1774 standard deviations.
    assert field.radius_of(0.5) == pytest.approx(1.1774 * deviation, abs=0.3)
    assert field.size < 21


def test_dilation_leaves_gaps_and_strides_move_the_centre() -> None:
    field = effective_field(ones(conv(padding=2, dilation=2)), images(9), "0")
    assert np.argwhere(field.energy > 0).tolist() == [[r, c] for r in (2, 4, 6) for c in (2, 4, 6)]
    strided = plan(parse("C1:s2 / G F2"), (1, 8, 8), NetSettings(norm="none", activation="none"))
    theoretical = analyze(strided).rows[0].out_field
    field = effective_field(ones(conv(padding=1, stride=2)), images(8), "0", theoretical)
    assert field.map_shape == (4, 4)
    assert field.position == (2, 2)
    assert field.square == Square(top=3, left=3, height=3, width=3)
    assert np.argwhere(field.energy > 0).min() == 3
    assert np.argwhere(field.energy > 0).max() == 5
    assert not field.is_clipped


def test_the_energy_is_the_mean_absolute_gradient() -> None:
    """Only positive inputs of relu(w * x) have a gradient, so each image contributes other pixels."""
    first = conv(1)
    net = nn.Sequential(first, nn.ReLU())
    nn.init.constant_(first.weight, -3.0)
    picture = torch.full((4, 1, 3, 3), -1.0)
    picture[0] = 1.0
    field = effective_field(net, [picture], "1")
    assert field.energy[1, 1] == 1
    nn.init.constant_(first.weight, 0.0)
    with pytest.raises(ModuleError, match="no gradient reaches the images"):
        effective_field(net, [picture], "1")
    with pytest.raises(ModuleError, match="no gradient reaches the images"):
        effective_field(net, [], "1")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations())
def test_the_energy_of_any_net_is_within_the_theoretical_field(text: str) -> None:
    planned = legal(text, NetSettings(activation="silu"), (2, 64, 64))
    rows = {row.name: row for row in analyze(planned).rows}
    try:
        layer = last_map(analyze(planned)).name
    except ShapeError:
        return
    theoretical = rows[layer].out_field
    net = build(planned, generator=torch.Generator().manual_seed(1))
    field = effective_field(net, images(64, channels=2, count=3), layer, theoretical)
    assert field.energy.sum() == pytest.approx(1)
    assert field.map_shape == rows[layer].out_shape[1:]
    assert field.square is not None
    rows_seen, columns_seen = np.nonzero(field.energy)
    assert rows_seen.min() >= field.square.top
    assert rows_seen.max() < field.square.top + field.square.height
    assert columns_seen.min() >= field.square.left
    assert columns_seen.max() < field.square.left + field.square.width


def test_the_state_of_the_net_is_restored() -> None:
    first, norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
    net = nn.Sequential(first, norm, nn.ReLU(inplace=True), nn.Dropout(0.5))
    net.train()
    norm.eval()
    first.weight.grad = torch.ones_like(first.weight)
    first.weight.requires_grad_(False)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    batches = images(8)
    before = [batch.clone() for batch in batches]
    random = torch.get_rng_state()
    # The ReLU that follows modifies the map in place.
    effective_field(net, batches, "1")
    assert [each.training for each in net] == [True, False, True, True]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(first.weight.grad, torch.ones_like(first.weight))
    assert not first.weight.requires_grad
    assert norm.weight.grad is None
    assert not any(each._forward_hooks for each in net.modules())
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(batches, before, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize(
    ("layer", "what"),
    [("conf", "no layer 'conf'"), ("flat", "its output is not a map: 64"), ("unused", "does not call it")],
)
def test_invalid_layers(layer: str, what: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.flat, self.unused = conv(padding=1), nn.Flatten(), conv()

        def forward(self, maps: Tensor) -> Tensor:
            flat: Tensor = self.flat(self.conv(maps))
            return flat

    net = Net().train()
    with pytest.raises(ModuleError) as caught:
        effective_field(net, images(8), layer)
    assert what in str(caught.value)
    assert net.training
    assert not any(each._forward_hooks for each in net.modules())


@pytest.mark.parametrize(
    ("net", "layer"),
    [
        ("C8 C8:s2 / G F10", "block1.activation2"),
        ("C8 M2 / F20 F10", "block1.maxpool1"),
        ("C8 +(C8 C8) / G F10", "block1.residual1"),
        ("C8 P10 G", "block1.conv2"),
    ],
)
def test_the_last_map_of_the_notation(net: str, layer: str) -> None:
    config = NetSettings(dropout=0.1)
    assert last_map(analyze(plan(parse(net), (3, 16, 16), config))).name == layer


def layer_before_head(planned: Plan) -> str:
    """The definition for the notation: the last step before the first `G` or flattening, without dropout.

    A pool whose window is the whole map is a global one.
    """
    steps = [step for block in planned.blocks for step in block]
    kinds = ["Add" if isinstance(step, Branch) else step.operation for step in steps]
    whole = {
        row.name
        for row in analyze(planned).rows
        if "Pool" in row.operation and row.kernel == row.in_shape[1:]
    }
    end = next(
        place
        for place, kind in enumerate(kinds)
        if kind in {"GlobalAvgPool2d", "Flatten"} or steps[place].name in whole
    )
    return [step.name for step, kind in zip(steps[:end], kinds, strict=False) if kind != "Dropout"][-1]


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations(), net_settings)
def test_the_last_map_of_random_notations(text: str, config: NetSettings) -> None:
    planned = legal(text, config)
    assert last_map(analyze(planned)).name == layer_before_head(planned)


@pytest.mark.parametrize("net", ["F10", "G F10"])
def test_a_net_without_a_map(net: str) -> None:
    with pytest.raises(ShapeError, match="no map before its head"):
        last_map(analyze(plan(parse(net), (3, 8, 8))))


def test_a_window_over_the_full_map_is_no_map() -> None:
    """Older versions measured its result; their files still have a layer."""
    analysis = analyze(plan(parse("C8 C8:s2 A8 / F10"), (3, 16, 16)))
    assert last_map(analysis).name == "block1.activation2"


def test_files_of_older_versions(tmp_path: Path) -> None:
    analysis = analyze(plan(parse("C8 C8:s2 A8 / F10"), (3, 16, 16)))
    energy = np.full((16, 16), 1 / 256)
    field = EffectiveReceptiveField(layer="", map_shape=(1, 1), position=(0, 0), energy=energy, num_images=3)
    write(field, tmp_path / "old.npz")
    again = read(tmp_path / "old.npz", analysis)
    assert (again.layer, again.square) == ("block1.avgpool1", None)
    write(replace(field, map_shape=(5, 5)), tmp_path / "other.npz")
    with pytest.raises(RunError, match="damaged receptive field"):
        read(tmp_path / "other.npz", analysis)


@pytest.mark.parametrize(
    ("create", "layer"),
    [
        (hand_written.ConvBlocks, "convblock3.2"),
        (hand_written.FunctionsOnly, "ReLU"),
        (hand_written.OneSequential, "model.5"),
        # A layer that is called twice in its block.
        (hand_written.ResNet, "layer4.1.relu"),
        (hand_written.SqueezeAndExcitation, "mul"),
        (modules.DirectParameters, "Add"),
        (modules.Functional, "AvgPool2d"),
        (modules.DenseBlockNet, "block2.3.Concat"),
    ],
)
def test_the_last_map_of_modules(create: Callable[[], nn.Module], layer: str) -> None:
    """Whatever makes it: its gradient is that of the method that returns the map."""
    net = hand_written.seeded(create)
    analysis = trace(net, (3, 16, 16))
    field = measure_noise(net, analysis, seed=3, num_images=70)
    assert field.layer == layer
    # The same noise, in batches of 64.
    noise = new_generator(3, receptive_field._SAMPLE)
    total = torch.zeros(16, 16, dtype=torch.float64)
    for count in (64, 6):
        batch = torch.randn(count, 3, 16, 16, generator=noise).requires_grad_()
        maps = net.features(batch)  # type: ignore[operator]
        centre = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(centre, batch)
        total += gradient.abs().sum((0, 1), dtype=torch.float64)
    assert field.map_shape == tuple(maps.shape[2:])
    np.testing.assert_allclose(field.energy, (total / total.sum()).numpy(), rtol=1e-4, atol=1e-9)


def test_a_net_that_writes_into_its_input() -> None:
    class Net(hand_written.FunctionsOnly):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.sub_(0.5))

    net = hand_written.seeded(Net)
    field = measure_noise(net, trace(net, (3, 16, 16)), seed=0, num_images=4)
    assert (field.energy > 0).any()


def texts(figure: Figure) -> str:
    labels = [text.get_text() for ax in figure.axes for text in ax.texts]
    return "\n".join([*labels, *(ax.get_xlabel() for ax in figure.axes)])


def axis(size: int, start: int) -> AxisReceptiveField:
    return AxisReceptiveField(size=size, jump=Fraction(1), start=Fraction(start))


def test_figure_and_text_show_clipping() -> None:
    net = ones(*(conv(padding=1) for _ in range(6)))
    theoretical = ReceptiveField(axes=(axis(13, -6), axis(13, -6)))
    field = effective_field(net, images(9), "5", theoretical)
    assert field.is_clipped
    assert field.square == Square(top=-2, left=-2, height=13, width=13)
    assert "theoretical receptive field 13x13\nclipped to the 9x9 image" in texts(
        receptive_field_figure(field, "Field")
    )
    assert "Theoretical receptive field: 13x13 pixels, larger than the 9x9 image" in field_lines(field)
    whole = effective_field(net, images(21), "5", theoretical)
    assert not whole.is_clipped
    shown = texts(receptive_field_figure(whole, "Field"))
    assert "clipped" not in shown
    for share in (0.25, 0.5, 0.75, 0.9):
        assert f"{share:.0%} within {whole.radius_of(share):.1f}" in shown


def test_the_centre_of_mass_is_the_default_centre() -> None:
    energy = np.zeros((5, 5))
    energy[1, 3] = energy[3, 3] = 0.5
    field = EffectiveReceptiveField(layer="", map_shape=(5, 5), position=(2, 2), energy=energy, num_images=1)
    assert field.centre == (2.0, 3.0)
    assert field.radius_of(0.9) == 1
    assert receptive_field_figure(field, "Field").axes
    assert not any("Theoretical" in line for line in field_lines(field))


def test_the_command_with_a_run_and_with_a_recipe(
    tiny: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cs.train(tiny, runs=tmp_path).folder
    out = tmp_path / "out"
    assert run(["receptive-field", str(folder), "--out", str(out), "--images", "32"]) == 0
    shown = capsys.readouterr().out
    assert (
        "Layer: block1.activation2, feature map of 4x4\nPosition: row 2, column 2, mean over 32 images"
        in shown
    )
    assert "Theoretical receptive field: 5x5 pixels" in shown
    assert (out / "receptive-field.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "receptive-field.json").read_text())
    assert record["theoretical_size"] == [5, 5]
    trained, _ = cs.receptive_field(cs.resolve(str(folder)), out, num_images=32)
    initial, _ = cs.receptive_field(
        cs.resolve("digits", "model.net=C4 C8:s2 / G F10"), tmp_path / "new", num_images=32
    )
    assert record["radius_of_share"]["0.5"] == trained.radius_of(0.5)
    assert not np.array_equal(trained.energy, initial.energy)
    # All energy is within 5x5 pixels around the centre.
    assert trained.share_within(2 * 2**0.5) == pytest.approx(1)


MODULES = """
import torch
from torch import nn

class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 5, stride=2),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))

class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 3, padding=1), Block()
        self.head = nn.Linear(4, 10)
    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
    def forward(self, x):
        return torch.relu(x + self.conv(x))

class Two(Residual):
    def forward(self, x, y):
        return super().forward(x + y)

class Flat(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3072, 10))

class Half(Plain):
    def __init__(self):
        super().__init__()
        self.bfloat16()

class Lazy(nn.Sequential):
    def __init__(self):
        super().__init__(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(10))
"""


@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [("Plain", "2", 7), ("Residual", "body.ReLU", 5), ("Half", "2", 7), ("Lazy", "0", 3)],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_module_is_measured_on_noise(
    name: str, layer: str, size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.py"
    path.write_text(MODULES)
    out = tmp_path / "out"
    target = ["receptive-field", f"{path}:{name}", "--input", "3x32x32", "--out", str(out), "--images", "100"]
    assert run(target) == 0
    shown = capsys.readouterr().out
    assert f"Layer: {layer}, feature map of" in shown
    assert "mean over 100 images" in shown
    assert f"Theoretical receptive field: {size}x{size} pixels" in shown
    field, _ = cs.receptive_field(cs.resolve(f"{path}:{name}", input_shape=(3, 32, 32)), out, num_images=70)
    # All of the energy is within the square, and in every line of it.
    assert field.square is not None
    top, left = int(field.square.top), int(field.square.left)
    inside = field.energy[top : top + size, left : left + size]
    assert inside.sum() == pytest.approx(1)
    assert (inside.sum(0) > 0).all()
    assert (inside.sum(1) > 0).all()


def test_notation_is_measured_on_noise(tmp_path: Path) -> None:
    model = cs.resolve("C8 C8:s2 / G F10", input_shape=(3, 16, 16))
    field, _ = cs.receptive_field(model, tmp_path, num_images=10)
    assert field.layer == "block1.activation2"
    assert field.record()["theoretical_size"] == [5, 5]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["net.py:Two", "--input", "3x32x32", "--input", "3x32x32"], "other inputs than one image"),
        (["net.py:Flat", "--input", "3x32x32"], "no map before its head"),
        (["net.py:Plain"], "the input's shape is missing"),
        (["C8 / G F10"], "the input's shape is missing"),
        (["runs/none-1"], "no such run folder"),
        (["digits", "--input", "1x16x16"], "the images of digits are 1x8x8"),
    ],
)
def test_models_without_a_field(
    arguments: list[str],
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MODULES)
    assert run(["receptive-field", *arguments]) == 2
    error = capsys.readouterr().err
    assert what in error
    assert "Traceback" not in error
