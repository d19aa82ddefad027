"""Every registered kind, norm and activation expands, builds and describes itself."""

import pytest
from torch import nn

from convsmith.net.layers.layer import OPTIONS
from convsmith.net.layers.registry import ACTIVATIONS, KINDS, NORMS
from convsmith.net.settings import NetSettings

SHAPE = (8, 12, 12)


def test_options_of_kinds() -> None:
    assert all(set(kind.options) <= set(OPTIONS) for kind in KINDS.values())


@pytest.mark.parametrize("letter", KINDS)
def test_a_kind_expands_into_operations(letter: str) -> None:
    kind = KINDS[letter]
    layer = kind.layer(None if kind.number == "none" else 2, {})
    assert str(layer) == letter + ("" if kind.number == "none" else "2")
    operations = kind.operations(layer, SHAPE)
    assert operations[0].in_shape == SHAPE
    assert any(each.description for each in operations)
    for operation in operations:
        name, arguments = operation.source()
        written = eval(f"{name}({', '.join(arguments)})", {"nn": nn})  # noqa: S307 - the text is convsmith's own
        assert repr(written) == repr(operation.module())


@pytest.mark.parametrize("keyword", NORMS)
def test_a_norm_has_a_scale_and_a_shift(keyword: str) -> None:
    norm = NORMS[keyword].after("C8", SHAPE, NetSettings())
    assert norm.parameters == sum(each.numel() for each in norm.module().parameters()) == 16
    assert norm.buffers[0] == sum(each.numel() for each in norm.module().buffers())


@pytest.mark.parametrize("keyword", ACTIVATIONS)
def test_an_activation_has_no_parameters(keyword: str) -> None:
    activation = ACTIVATIONS[keyword](in_shape=SHAPE, out_shape=SHAPE)
    assert type(activation.module()).__name__ == activation.operation
    assert activation.parameters == 0
