"""The source text of a net against its module: names, weights, outputs, format."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.utils._python_dispatch import TorchDispatchMode

from convsmith.data.dataset import CANONICAL
from convsmith.net import source
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import Plan, plan
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load, recipe_names
from helpers.nets import legal, net_from_source, net_settings, notations

RESIDUAL = "C8 +(C8 C8)*2 +(C16:s2 +(S16) P16) / D:d2 M3:s2:p1 A3:s1:p1 U2 / G F12 F10"


def compare(planned: Plan) -> None:
    """Equal keys in equal order, and equal outputs: bit for bit if the operations are the same."""
    text = source.source(planned)
    assert "convsmith." not in text
    assert "import convsmith" not in text
    built, written = build(planned), net_from_source(text)
    assert list(written.state_dict()) == list(built.state_dict())
    written.load_state_dict(built.state_dict())
    images = torch.randn(2, *planned.input_shape, generator=torch.Generator().manual_seed(0))
    # Strided 1x1 convolutions are other operations, whose rounding a norm can amplify.
    sliced = "StridedPointwise" in text
    if sliced:
        built, written, images = built.double(), written.double(), images.double()
    tolerance = 1e-7 if sliced else 0
    for train in (False, True):
        outputs = []
        for net in (built.train(train), written.train(train)):
            torch.manual_seed(7)
            outputs.append(net(images))
        torch.testing.assert_close(*outputs, rtol=tolerance, atol=tolerance)
        assert outputs[0].shape == (2, planned.num_classes)
    for one, other in zip(built.buffers(), written.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


class Convolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the window and the stride of each convolution, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204
        name = func.overloadpacket.__name__
        if "convolution" in name:
            weight, stride = (args[2], args[4]) if "backward" in name else (args[1], args[3])
            self.found.append((tuple(weight.shape[2:]), tuple(stride)))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C4 P6:s2 / G F10", True),
        ("C6 C6:k1:s3:g2 / G F10", True),
        ("C4 +(C4:s2) / G F10", True),
        ("C4 C8:s2 P4 / G F10", False),
    ],
)
def test_strided_pointwise_convolutions_are_computed_without_stride(text: str, expected: bool) -> None:
    """Their gradient in PyTorch 2.13 writes out of bounds on some CPUs."""
    planned = plan(parse(text), (3, 9, 9), NetSettings(norm="none", activation="gelu"))
    written = source.source(planned)
    assert ("class StridedPointwise(nn.Conv2d)" in written) == expected
    built, net = build(planned).double(), net_from_source(written).double()
    net.load_state_dict(built.state_dict())
    images = torch.randn(4, 3, 9, 9, dtype=torch.float64).to(memory_format=torch.channels_last)
    with Convolutions() as convolutions:
        net(images).square().sum().backward()
    assert len(convolutions.found) >= 4
    assert not [each for each in convolutions.found if each[0] == (1, 1) and each[1] != (1, 1)]
    built(images).square().sum().backward()
    for one, other in zip(net.parameters(), built.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations(), net_settings)
def test_any_net(text: str, config: NetSettings) -> None:
    compare(legal(text, config))


@pytest.mark.parametrize("name", recipe_names())
def test_the_nets_of_the_recipes(name: str) -> None:
    recipe = load(name)
    shape = CANONICAL[recipe.data.source].info.image_shape
    compare(plan(parse(recipe.notation.net), shape, recipe.notation))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_residuals_in_residuals(norm: str) -> None:
    config = NetSettings(norm=norm, dropout=0.25, activation="leaky-relu")  # type: ignore[arg-type]
    compare(plan(parse(RESIDUAL), (3, 32, 32), config))


@pytest.mark.parametrize(
    "net", [RESIDUAL, "F10", "C4 / G F10", " / ".join(["C64:k5:d3 S64:k7:s1"] * 9 + ["G P10"])]
)
def test_the_text_is_formatted_as_by_ruff(net: str, tmp_path: Path) -> None:
    config = NetSettings(dropout=0.125, init="orthogonal")
    path = tmp_path / "model.py"
    notes = ["Images are divided by 255. " * 8, "Short."]
    path.write_text(source.source(plan(parse(net), (3, 64, 64), config), notes), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    lint = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E,F,I,W",
        "--ignore",
        "E501",
        str(path),
    ]
    assert subprocess.run(lint, check=False, capture_output=True).returncode == 0


def test_the_docstring_has_the_numbers() -> None:
    model = load("cifar10-classic").notation
    net = net_from_source(source.source(plan(parse(model.net), (3, 32, 32), model)))
    docstring = " ".join((net.__doc__ or "").split())
    assert docstring.startswith(model.net)
    # The course's figure, and by hand: 3 + 2 + 4, then 3 * 2, then 3 * 4, then 3 * 8 pixels.
    assert "174,352 parameters" in docstring
    assert "receptive field 51 pixels" in docstring
    assert "Takes images `(N, 3, 32, 32)`, returns logits `(N, 10)`." in docstring
    assert sum(each.numel() for each in net.parameters()) == 174_352
