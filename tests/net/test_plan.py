"""From spec to plan: errors, norms, dropout, order and bias."""

import pytest

from convsmith.errors import ShapeError
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings


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
def test_misfits(text: str, shape: tuple[int, int, int], what: str) -> None:
    with pytest.raises(ShapeError) as caught:
        plan(parse(text), shape)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.fix


@pytest.mark.parametrize(
    ("text", "fix", "fixed"),
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
def test_the_suggested_fix_fits(text: str, fix: str, fixed: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        plan(parse(text), (1, 8, 8))
    assert fix in caught.value.problems[0].fix
    for net in fixed:
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


def test_the_groups_of_a_norm_must_divide_its_channels() -> None:
    with pytest.raises(ShapeError, match="the norm's 8 groups do not divide its 12 channels") as caught:
        plan(parse("C12 / G F2"), (1, 8, 8), NetSettings(norm="group"))
    assert "set norm_groups=4" in caught.value.problems[0].fix
    assert plan(parse("C12 / G F2"), (1, 8, 8), NetSettings(norm="group", norm_groups=4)).num_classes == 2


def test_layer_norm_is_a_group_norm_with_one_group() -> None:
    config = NetSettings(norm="layer", norm_groups=4, classifier_norm=True)
    # Any number of channels; a 1x1 map has the values of its channels.
    planned = plan(parse("C7 / G P2"), (1, 8, 8), config)
    norms = [op for op in planned.operations() if op.stem == "norm"]
    assert [(op.operation, op.source(), op.parameters) for op in norms] == [
        ("GroupNorm", ("nn.GroupNorm", ["1", "7"]), 14),
        ("GroupNorm", ("nn.GroupNorm", ["1", "2"]), 4),
    ]
    with pytest.raises(ShapeError, match="the layer norm has one value to normalise"):
        plan(parse("C7 / G P1"), (1, 8, 8), config)


def test_dropout_positions() -> None:
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
