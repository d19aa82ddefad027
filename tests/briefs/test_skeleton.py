"""Skeletons: reading, and the first departure, against an oracle that knows only lists of letters."""

from itertools import zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convsmith.briefs.checks import judge
from convsmith.briefs.schema import Brief
from convsmith.briefs.skeleton import (
    Departure,
    Part,
    departure,
    distance,
    parse_skeleton,
    reading_of,
    readings,
)
from convsmith.briefs.subject import Subject
from convsmith.net.arithmetic import analyze_notation
from convsmith.tracing.trace import trace
from helpers.nets import analysis_of, examples
from helpers.remedies import changed

# What stands in the notation for each part; a layer of the notation takes part in the net below.
LETTERS: dict[Part, str] = {"C": "C4", "1x1": "P4", "P": "M2", "A": "A2"}
BODIES = st.lists(st.sampled_from(["C", "1x1", "P", "A"]), max_size=6)


def notation(body: list[Part]) -> str:
    layers = " ".join(["C4", *(LETTERS[part] for part in body)])
    return f"{layers} / G F10"


def parts_of(body: list[Part]) -> list[Part]:
    return ["C", *body, "G", "F"]


def as_text(parts: list[Part]) -> str:
    return " ".join(parts)


@given(body=BODIES)
@settings(max_examples=examples(200), deadline=None)
def test_a_net_is_read_as_it_was_written(body: list[Part]) -> None:
    analysis = analyze_notation(notation(body), (1, 256, 256))
    assert [place.part for place in readings(analysis)[0]] == parts_of(body)
    assert departure(analysis, parse_skeleton(as_text(parts_of(body)))) is None


@given(body=BODIES, other=BODIES)
@settings(max_examples=examples(200), deadline=None)
def test_the_first_departure_is_that_of_two_lists(body: list[Part], other: list[Part]) -> None:
    analysis = analyze_notation(notation(body), (1, 256, 256))
    pairs = enumerate(zip_longest(parts_of(body), parts_of(other)), start=1)
    expected = next(
        ((number, wanted, actual) for number, (actual, wanted) in pairs if actual != wanted), None
    )
    found = departure(analysis, parse_skeleton(as_text(parts_of(other))))
    assert (found and (found.number, found.expected, found.place and found.place.part)) == expected


def edit_distance(a: list[Part], b: list[Part]) -> int:
    """The recursive definition."""
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return edit_distance(a[1:], b[1:])
    return 1 + min(edit_distance(a[1:], b), edit_distance(a, b[1:]), edit_distance(a[1:], b[1:]))


@given(
    body=st.lists(st.sampled_from(["C", "P"]), max_size=4),
    other=st.lists(st.sampled_from(["C", "P"]), max_size=4),
)
@settings(max_examples=examples(100), deadline=None)
def test_the_distance_is_levenshteins(body: list[Part], other: list[Part]) -> None:
    analysis = analyze_notation(notation(body), (1, 256, 256))
    skeleton = parse_skeleton(as_text(parts_of(other)))
    assert distance(analysis, skeleton) == edit_distance(parts_of(body), parts_of(other))


def test_the_forms_of_assignments() -> None:
    plain = parse_skeleton("C C 1x1 P C C C 1x1 P C C C G 1x1")
    assert parse_skeleton("C1 C2 c3 P1 C4 C5 C6 c7 P2 C8 C9 C10 GAP c11") == plain
    assert parse_skeleton("C1,C2 -> c3 / P1 C4 C5 C6 c7 P2 C8 C9 C10 GAP c11") == plain
    with pytest.raises(ValueError, match="unknown part 'X'"):
        parse_skeleton("C X")
    with pytest.raises(ValueError, match="an empty skeleton"):
        parse_skeleton(" ")


def test_a_shortcut_is_no_part_of_the_skeleton() -> None:
    """The 1x1 convolution that projects the input of the residual is beside the longest path."""
    analysis = analysis_of("C4 +(C8 C8:s2) C8 / G P10")
    assert [row.operation for row in analysis.rows].count("Conv2d") == 6
    assert departure(analysis, parse_skeleton("C C C C G 1x1")) is None


def test_a_separable_convolution_stands_for_one_or_two() -> None:
    analysis = analysis_of("C4 S8 C8 / G F10")
    for text in ("C C C G F", "C C 1x1 C G F"):
        assert departure(analysis, parse_skeleton(text)) is None
        assert len(reading_of(analysis, parse_skeleton(text))) == len(text.split())
    assert departure(analysis, parse_skeleton("C C C C G F")) is not None


def test_after_global_pooling_a_linear_layer_is_a_1x1_convolution() -> None:
    assert departure(analysis_of("C4 / G F10"), parse_skeleton("C G 1x1")) is None
    assert departure(analysis_of("C4 / G P10"), parse_skeleton("C G F")) is None
    # On a map of many positions it is not.
    assert departure(analysis_of("C4 / F10"), parse_skeleton("C 1x1")) is not None
    assert departure(analysis_of("C4 P10 / G"), parse_skeleton("C F G")) is not None


def test_pools_without_effect_are_no_part() -> None:
    assert departure(analysis_of("C4 M1 A1 C4 / G F10"), parse_skeleton("C C G F")) is None


A6 = "C1 C2 c3 P1 C4 C5 C6 c7 P2 C8 C9 C10 GAP c11"


def skeleton_check(net: str, text: str = A6) -> tuple[str, str]:
    (check,) = judge(Brief(skeleton=text), Subject(analysis=analysis_of(net)))
    return check.actual, check.fix


def test_the_departure_and_its_fix_in_words() -> None:
    actual, fix = skeleton_check("C16 C32 M2 C32 C32 C32 P16 M2 C16 C16 C16 / G P10")
    assert (
        actual
        == "place 3 is MaxPool2d 2x2 on a map of 32x32 (M2, block1.maxpool1); expected a 1x1 convolution"
    )
    assert fix == "insert P32 at character 8"
    actual, fix = skeleton_check("C16 C32 P16 M2 C32 C32 C32 P16 M2 C16 C16 C16 / G")
    assert actual.startswith("ends after 13 places; expected a 1x1 convolution")
    actual, fix = skeleton_check("C16 P16 / G P10", "C G 1x1")
    assert (actual, fix) == (
        "place 2 is Conv2d 1x1 (P16, block1.conv2); expected global average pooling",
        "remove P16 at character 5",
    )


@pytest.mark.parametrize(
    ("net", "skeleton"),
    [
        ("C16 C16 M2 / G F10", "C C 1x1 P G F"),
        ("C16 C16 P8 M2 / G F10", "C 1x1 P G F"),
        ("C16 C16 A2 / G F10", "C C P G F"),
        ("C16 P16 M2 / G F10", "C C P G F"),
        ("C16 C16 M2 / F10", "C C P G 1x1"),
        ("C16 M2 / G F10", "C C P C C G F"),
        ("C16 C16 M2 C32 M2 +(C32 C32) / G P10", "C1 C2 c3 P1 C4 C5 P2 C8 C9 GAP c11"),
    ],
)
def test_the_fix_in_the_notation_has_the_skeleton(net: str, skeleton: str) -> None:
    _, fix = skeleton_check(net, skeleton)
    repaired = changed(net, fix)
    assert repaired != net
    assert departure(analysis_of(repaired), parse_skeleton(skeleton)) is None


def test_the_departure_of_a_module_names_its_layer() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )
    (check,) = judge(Brief(skeleton="C 1x1 C G 1x1"), Subject(analysis=trace(net, (3, 32, 32))))
    assert check.actual == "place 2 is Conv2d 3x3 (1); expected a 1x1 convolution"
    assert check.layer == "1"
    assert check.fix == "insert a 1x1 convolution before 1"
    (check,) = judge(Brief(skeleton="C C"), Subject(analysis=trace(net, (3, 32, 32))))
    assert (check.actual, check.fix) == (
        "place 3 is AdaptiveAvgPool2d on a map of 28x28 (2); expected the end",
        "remove 2",
    )


def test_a_window_that_leaves_pixels_out_is_no_global_pool() -> None:
    """As in a public hand-in: an average of 6x6 positions of a map of 8x8."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(8, 10))
    (check,) = judge(Brief(skeleton="C G F"), Subject(analysis=trace(net, (3, 10, 10))))
    assert check.actual == "place 2 is AvgPool2d 6x6 on a map of 8x8 (1); expected global average pooling"


def test_an_end_that_is_missing() -> None:
    found = departure(analysis_of("C4 / G F10"), ("C", "G", "F", "F"))
    assert found == Departure(number=4, expected="F", place=None)
