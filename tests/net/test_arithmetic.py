"""The integer arithmetic against PyTorch: shapes, parameters, MACs, and the receptive field by gradients."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convsmith.errors import ShapeError
from convsmith.net.arithmetic import analyze
from convsmith.net.module import Residual, build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from helpers.nets import legal, net_settings, notations

property_test = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
SIZE = 40


@property_test
@given(notations(), net_settings)
def test_shapes_parameters_and_macs(text: str, config: NetSettings) -> None:
    planned = legal(text, config)
    analysis, net = analyze(planned), build(planned)
    names = [op.name for op in planned.operations()]
    assert len(set(names)) == len(names)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in net.named_modules():
        module.register_forward_hook(
            lambda _, __, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:]))
        )
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        net.eval()(torch.zeros(1, *planned.input_shape))
    rows = {row.name: row.out_shape for row in analysis.rows}
    assert set(names) <= set(rows)
    assert rows == {name: shapes[name] for name in rows}
    assert analysis.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert analysis.buffers == sum(buffer.numel() for buffer in net.buffers())
    # PyTorch counts a multiply-accumulate as two operations.
    assert analysis.macs * 2 == counter.get_total_flops()


def test_dilated_pool_sees_its_whole_span() -> None:
    assert analyze(plan(parse("M2:s1:d3 / G F10"), (2, 16, 16))).receptive_field == 4


@pytest.mark.parametrize(
    ("text", "shape", "what"),
    [
        ("C8:p0:k9 / G F2", (1, 8, 8), "9x9 window does not fit its 8x8 input"),
        ("C8:p0:d4 / G F2", (1, 8, 8), "9x9 window"),
        ("C9:g3 / G F2", (1, 8, 8), "3 groups do not divide the 1 input channels"),
        ("C8 C9:g2 / G F2", (1, 8, 8), "2 groups do not divide the 9 output channels"),
        ("M2*4 / C8 / G F2", (1, 8, 8), "2x2 window does not fit its 1x1 input"),
        ("M3:p2 / C8 / G F2", (1, 8, 8), "at most 1 pixels of padding"),
        ("U3 C8 / G F2", (1, 8, 8), "does not divide the 8x8 map"),
        ("F10 C8", (1, 8, 8), "needs a map"),
        ("C8 / P2", (1, 8, 8), "ends with a map of 2x8x8"),
        ("M2 G", (1, 8, 8), "no layer with weights"),
        ("+(C8:p0) / G F2", (1, 8, 8), "adds 1x8x8 to 8x6x6"),
        ("+(G F8) F2", (1, 8, 8), "adds 1x8x8 to 8"),
    ],
)
def test_what_does_not_fit(text: str, shape: tuple[int, int, int], what: str) -> None:
    with pytest.raises(ShapeError) as caught:
        plan(parse(text), shape)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.fix


@pytest.mark.parametrize(
    ("text", "fix", "mended"),
    [
        ("C8:k9:p0 / G F2", "write C8:k8:p0 or C8:k9:p1,", ["C8:k8:p0 / G F2", "C8:k9:p1 / G F2"]),
        ("C8:d4:p0 / G F2", "write C8:k2:d4:p0 or C8:d4:p1,", ["C8:k2:d4:p0 / G F2", "C8:d4:p1 / G F2"]),
        ("M9 C8 / G F2", "write M8,", ["M8 C8 / G F2"]),
        ("M2*4 / C8 / G F2", "leave it out, or use fewer strides", ["M2*3 / C8 / G F2"]),
        (
            "C8 C12:g8 / G F2",
            "write :g4, or widths that are multiples of 8",
            ["C8 C12:g4 / G F2", "C8 C16:g8 / G F2"],
        ),
        ("U3 C8 / G F2", "write U2 or U4 or U8", ["U2 C8 / G F2", "U8 C8 / G F2"]),
        ("M3:p2 / C8 / G F2", "write :p1", ["M3:p1 / C8 / G F2"]),
    ],
)
def test_the_fix_of_what_does_not_fit_fits(text: str, fix: str, mended: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        plan(parse(text), (1, 8, 8))
    assert fix in caught.value.problems[0].fix
    for net in mended:
        assert plan(parse(net), (1, 8, 8)).num_classes == 2


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_a_norm_needs_more_than_one_value(norm: str) -> None:
    config = NetSettings.model_validate({"norm": norm, "norm_groups": 2, "classifier_norm": True})
    with pytest.raises(
        ShapeError, match=f"the {norm} norm has one value to normalise, its input is 2x1x1"
    ) as caught:
        plan(parse("C8 / G P2"), (1, 8, 8), config)
    assert "write P2:n0" in caught.value.problems[0].fix
    assert plan(parse("C8 / G P2:n0"), (1, 8, 8), config).num_classes == 2


def test_a_group_norm_that_does_not_divide_says_what_does() -> None:
    with pytest.raises(ShapeError, match="the norm's 8 groups do not divide its 12 channels") as caught:
        plan(parse("C12 / G F2"), (1, 8, 8), NetSettings(norm="group"))
    assert "set norm_groups=4" in caught.value.problems[0].fix
    assert plan(parse("C12 / G F2"), (1, 8, 8), NetSettings(norm="group", norm_groups=4)).num_classes == 2


def test_residual_adds_its_projected_input() -> None:
    planned = plan(parse("+(C8:s2) / G F2"), (3, 9, 9), NetSettings(norm="none", activation="none"))
    net = build(planned)
    residual = net.get_submodule("block1.residual1")
    assert isinstance(residual, Residual)
    image = torch.randn(2, 3, 9, 9)
    expected = residual.body(image) + residual.projection(image)
    assert torch.equal(residual(image), expected)
    (projection,) = residual.projection
    assert isinstance(projection, nn.Conv2d)
    assert (projection.kernel_size, projection.stride) == ((1, 1), (2, 2))


def test_dropout_goes_where_it_is_asked_for() -> None:
    def places(text: str, at: str) -> list[str]:
        config = NetSettings.model_validate({"dropout": 0.1, "dropout_at": at})
        planned = plan(parse(text), (3, 16, 16), config)
        return [op.name for op in planned.operations() if op.operation == "Dropout"]

    net = "C8 C8 M2 / C8 / G F10"
    assert places(net, "layer") == ["block1.dropout1", "block1.dropout2", "block2.dropout1"]
    assert places(net, "block") == ["block1.dropout1", "block2.dropout1"]
    assert places(net, "classifier") == ["block3.dropout1"]
    assert places("C8:o0 C8 / G F10", "layer") == ["block1.dropout1"]
    assert places("C8:o0.3 C8 / G F10", "classifier") == ["block1.dropout1", "block2.dropout1"]


def test_order_and_bias() -> None:
    def kinds(**values: object) -> list[str]:
        planned = plan(parse("C8 / G F10"), (3, 16, 16), NetSettings.model_validate(values))
        return [op.operation + ("+bias" if op.window.bias else "") for op in planned.operations()]

    rest = ["GlobalAvgPool2d", "Flatten", "Linear+bias"]
    assert kinds() == ["Conv2d", "BatchNorm2d", "ReLU", *rest]
    assert kinds(order="conv-activation-norm") == ["Conv2d", "ReLU", "BatchNorm2d", *rest]
    assert kinds(norm="none") == ["Conv2d+bias", "ReLU", *rest]
    assert kinds(bias=True) == ["Conv2d+bias", "BatchNorm2d", "ReLU", *rest]
    assert kinds(bias=False, activation="none") == ["Conv2d", "BatchNorm2d", *rest[:-1], "Linear"]


@pytest.mark.parametrize("init", ["default", "kaiming-normal", "kaiming-uniform", "orthogonal"])
def test_initial_weights_follow_the_generator(init: str) -> None:
    planned = plan(parse("C8 C8 / G F10"), (3, 8, 8), NetSettings.model_validate({"init": init}))
    before = torch.random.get_rng_state()
    first, second, other = (
        build(planned, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    name = "block1.conv2.weight"
    weights = [net.state_dict()[name] for net in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_kaiming_normal_keeps_the_variance() -> None:
    planned = plan(parse("C256 C256 / G F10"), (3, 8, 8), NetSettings(init="kaiming-normal", norm="none"))
    weight = build(planned, generator=torch.Generator().manual_seed(0)).state_dict()["block1.conv2.weight"]
    # He et al., arXiv 1502.01852: variance 2 / fan in.
    assert weight.var().item() == pytest.approx(2 / (256 * 9), rel=0.02)


def test_gain_scales_only_what_a_norm_follows() -> None:
    def weights(**values: object) -> dict[str, torch.Tensor]:
        config = NetSettings.model_validate({"init": "kaiming-normal", **values})
        planned = plan(parse("C8 S8 +(C8:s2 C4) / C10 G"), (3, 8, 8), config)
        return build(planned, generator=torch.Generator().manual_seed(1)).state_dict()

    plain, scaled = weights(), weights(init_gain=20.0)
    for name in plain:
        factor = 20 if name.endswith("weight") and "conv" in name and "block2" not in name else 1
        assert torch.equal(scaled[name], plain[name] * factor), name
    assert set(weights(classifier_norm=True)) - set(plain) >= {
        "block2.norm1.weight",
        "block2.norm1.running_mean",
    }
    assert "block2.conv1.bias" not in weights(classifier_norm=True)
    both = weights(classifier_norm=True, init_gain=20.0)["block2.conv1.weight"]
    assert torch.allclose(both, 20 * weights(classifier_norm=True)["block2.conv1.weight"])
