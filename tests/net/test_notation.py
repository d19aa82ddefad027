"""The notation: parsing, canonical text, and errors that point at the character."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.errors import NotationError
from convsmith.net.layers.layer import OPTIONS, Layer
from convsmith.net.layers.registry import KINDS
from convsmith.net.notation import parse
from convsmith.net.spec import Repeat, Residual
from helpers.nets import examples


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("C16", "C16"),
        ("C16:k3:s1:d1:g1", "C16"),
        ("C16:k5:s2:d2:p1:g4:o0.1", "C16:k5:s2:d2:p1:g4:o0.1"),
        ("C16:p0", "C16:p0"),
        ("S48:d2 D:k5 P10:g2", "S48:d2 D:k5 P10:g2"),
        ("M2:s2 M3:s2:p1 A2:p0", "M2 M3:s2:p1 A2"),
        ("U2  C8/G\nF10", "U2 C8 / G F10"),
        ("C16*1 C16*3", "C16 C16*3"),
        ("(C8 C16)*2", "(C8 C16)*2"),
        ("(C8 C16)", "C8 C16"),
        ("+( C8 +(C8) )*2", "+(C8 +(C8))*2"),
        ("((C8)*2)*3", "(C8*2)*3"),
        ("+(C8 C8:anone):arelu*2 C8", "+(C8 C8:anone):arelu*2 C8"),
        ("+(C8):anone +( +(C8):agelu ):asilu/G", "+(C8) +(+(C8):agelu):asilu / G"),
        ("C8:o0", "C8:o0"),
        ("C8:n0 D:n1 P4:n0", "C8:n0 D:n1 P4:n0"),
        ("C8:aleaky-relu:k5 F4:anone", "C8:k5:aleaky-relu F4:anone"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert str(parse(canonical)) == canonical
    assert parse(canonical) == parse(text)


def test_meaning_of_each_option() -> None:
    (layer,) = parse("C16:k5:s2:d3:p1:g4:o0.25").blocks[0]
    assert layer == Layer(
        kind=KINDS["C"], number=16, kernel=5, stride=2, dilation=3, padding=1, groups=4, dropout=0.25
    )


def test_pools_stride_by_their_size() -> None:
    net = parse("M3 M3:s1 A2")
    assert [(layer.kernel, layer.stride) for layer in net.layers()] == [(3, 3), (3, 1), (2, 2)]


def test_same_padding_follows_kernel_and_dilation() -> None:
    net = parse("C8 C8:k5 C8:d2 C8:k7:d3 P8 M2")
    assert [layer.padding_pixels for layer in net.layers()] == [1, 2, 2, 9, 0, 0]


def test_structure() -> None:
    net = parse("C8 +(C8 C8)*2 / G F10")
    assert len(net.blocks) == 2
    repeat = net.blocks[0][1]
    assert isinstance(repeat, Repeat)
    assert isinstance(repeat.items[0], Residual)
    assert [str(layer) for layer in net.layers()] == ["C8"] * 5 + ["G", "F10"]


@pytest.mark.parametrize(
    ("text", "position", "what", "fix"),
    [
        ("", 1, "expected a layer, found the end of the text", "the kinds are C (convolution)"),
        ("C16 ?32", 5, "unknown layer kind '?'", "the kinds are"),
        ("C16 c32", 5, "unknown layer kind 'c'", "write C for convolution"),
        ("C", 2, "expected channels after C (convolution), found the end of the text", ""),
        ("C0", 2, "expected channels after C (convolution) from 1", ""),
        ("M", 2, "expected a kernel size after M (max pooling)", ""),
        ("U1", 2, "expected a factor after U (space-to-depth) from 2", ""),
        ("G10", 2, "takes no number", "write G"),
        ("C16:z3", 5, "expected an option of C, found 'z'", "k (kernel size)"),
        (
            "F10:k3",
            5,
            "expected an option of F, found 'k'",
            "takes o (dropout), a (activation)",
        ),
        ("C16:", 5, "expected an option of C, found the end of the text", ""),
        ("C16:k", 6, "expected a value for kernel size, found the end", ""),
        ("C16:k3:k5", 8, "option 'k' appears twice", ""),
        ("C16:o1", 6, "dropout probability", ":o0.1"),
        ("C16:n2", 6, "norm, 1 with and 0 without from 0 to 1", ""),
        ("C16:arleu", 6, "expected the name of an activation, found 'rleu'", "did you mean 'relu'?"),
        ("C16:a", 6, "expected the name of an activation, found the end of the text", "'gelu'"),
        ("C16:a5", 6, "expected the name of an activation, found '5'", "'gelu'"),
        ("C16:s0", 6, "expected a value for stride from 1", ""),
        ("C16C32", 4, "expected a space", "separate layers by a space"),
        ("C16 /", 6, "expected a layer", ""),
        ("C16 // C8", 6, "expected a layer, found '/'", ""),
        ("(C16", 1, "never closed", "close it with ')'"),
        ("C16)", 4, "never opened", "remove it"),
        ("+C16", 2, "expected '(' after '+'", "+(C16 C16)"),
        ("+(C16):k3", 8, "expected an option of a residual, found 'k'", "a (activation)"),
        ("+(C16):arelo", 9, "expected the name of an activation, found 'relo'", "did you mean 'relu'?"),
        ("+(C16):areluC8", 13, "expected a space", "separate layers by a space"),
        ("(C16 / C8)", 6, "a block cannot end inside parentheses", ""),
        ("C16*0", 5, "expected a number of repeats from 1", ""),
        ("((C8*200)*200)*200", 2, "more than 4,096 layers", ""),
        ("(" * 20 + "C8" + ")" * 20, 17, "more than 16 deep", ""),
        ("os.system('x')", 1, "unknown layer kind 'o'", ""),
        ("__class__", 1, "unknown layer kind '_'", ""),
    ],
)
def test_errors_point_at_the_character(text: str, position: int, what: str, fix: str) -> None:
    with pytest.raises(NotationError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.where == f"net, character {position}"
    assert fix in problem.fix
    _, mark = problem.context.split("\n")
    assert mark.index("^") == position - 1


def test_the_text_of_an_error() -> None:
    with pytest.raises(NotationError) as caught:
        parse("C16 / c32")
    assert str(caught.value) == (
        "error[E020]: net, character 7: unknown layer kind 'c'\n"
        "  C16 / c32\n"
        "        ^\n"
        "  fix: write C for convolution"
    )


def test_a_long_text_is_cut_around_the_error() -> None:
    with pytest.raises(NotationError) as caught:
        parse("C16 " * 200 + "?1")
    line, mark = caught.value.problems[0].context.split("\n")
    assert len(line) < 130
    assert line[mark.index("^")] == "?"


def test_a_text_that_is_too_long() -> None:
    with pytest.raises(NotationError, match="10,001 characters"):
        parse("C" * 10_001)


ALPHABET = "".join(KINDS) + "".join(OPTIONS) + "0123456789:/+()*. \n\tXé\x00"


@settings(max_examples=examples(1500), deadline=None)
@given(st.one_of(st.text(ALPHABET, max_size=40), st.text(max_size=30)))
def test_any_text_is_a_spec_or_an_error(text: str) -> None:
    try:
        net = parse(text)
    except NotationError as error:
        assert error.problems[0].where.startswith("net, character ")  # noqa: PT017
    else:
        assert parse(str(net)) == net
        assert str(parse(str(net))) == str(net)
