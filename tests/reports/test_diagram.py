"""The picture of a net: which boxes it has, where they stand, and that nothing lies over anything else."""

from collections import OrderedDict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from matplotlib.figure import Figure
from torch import nn

import convsmith as cs
from convsmith.cli import run
from convsmith.net.arithmetic import analyze
from convsmith.net.rows import ReceptiveField
from convsmith.net.settings import NetSettings
from convsmith.reports import diagram
from convsmith.reports.layout import COLUMNS, Box, Kind, arrange, boxes
from convsmith.tracing.trace import trace
from helpers import hand_written, modules
from helpers.nets import legal, net_settings, notations
from helpers.paths import ROOT

RESIDUAL = "C16 +(C16 C16) +(C32:s2 C32) / S32 D A3:s2:p1 U2 / G F10"


def kinds(net: str) -> list[Kind]:
    return [box.kind for box in boxes(cs.summary(net, (3, 32, 32)))]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_every_layer_kind_has_its_box() -> None:
    assert kinds(RESIDUAL) == [
        "image",
        "convolution",
        *("convolution", "convolution", "join"),
        *("pointwise", "convolution", "convolution", "join"),
        *("depthwise", "pointwise"),
        *("depthwise", "pooling", "other"),
        *("pooling", "fully connected"),
    ]
    traced = [box.kind for box in boxes(trace(modules.UNet(), (3, 32, 32)))]
    assert traced.count("transposed") == 2
    assert traced.count("join") == 2
    assert traced.count("pooling") == 2


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8)], ids=repr)
def test_norms_are_merged_into_the_box_before(norm: nn.Module) -> None:
    traced = trace(nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU()), (3, 16, 16))
    assert [box.kind for box in boxes(traced)] == ["image", "convolution"]


def test_box_texts() -> None:
    result = boxes(cs.summary("C16:d2 C16:g4:s2 M3:s2:p1 / G F10", (3, 32, 32)))
    assert [box.text for box in result[1:]] == [
        ("3x3", "d2"),
        ("3x3", "s2", "g4"),
        ("max", "3x3", "s2"),
        ("avg", "all"),
        ("FC",),
    ]
    assert [box.field.sizes for box in result[1:4]] == [(5, 5), (7, 7), (11, 11)]


def test_skip_connections_are_inputs_of_joins() -> None:
    result = boxes(cs.summary(RESIDUAL, (3, 32, 32)))
    assert [box.sources for box in result if box.kind == "join"] == [(1, 3), (5, 7)]


def assert_in_order(drawn: tuple[Box, ...]) -> None:
    places = arrange(drawn)
    spots = [(place.line, place.column, place.lane) for place in places]
    assert len(set(spots)) == len(spots)
    assert max(place.column for place in places) < COLUMNS
    for box, place in zip(drawn, places, strict=True):
        assert all(places[source].rank < place.rank for source in box.sources)
    # The main lane has a box in every column.
    main = sorted(place.rank for place in places if place.lane == 0)
    assert main == list(range(len(main)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations(), net_settings)
def test_places_of_random_nets(text: str, config: NetSettings) -> None:
    assert_in_order(boxes(analyze(legal(text, config))))


@pytest.mark.parametrize("module", modules.ALL, ids=lambda each: each.__name__)
def test_places_of_modules(module: type[nn.Module]) -> None:
    assert_in_order(boxes(trace(module(), (3, 32, 32))))


@pytest.mark.parametrize("module", hand_written.AFFINE, ids=lambda each: each.__name__)
def test_nets_as_people_write_them_are_drawn(module: type[nn.Module]) -> None:
    analysis = trace(module(), (3, 16, 16))
    assert_in_order(boxes(analysis))
    assert diagram.diagram(analysis).axes[0].patches


def test_branches_side_by_side() -> None:
    drawn = boxes(trace(modules.InceptionNet(), (3, 32, 32)))
    assert {place.lane for place in arrange(drawn)} == {0, 1, 2, 3}


def test_lines_end_between_residuals() -> None:
    drawn = boxes(trace(modules.ResNet20(), (3, 32, 32)))
    places = arrange(drawn)
    for line in (1, 2):
        # What a line takes from the one before all comes from one box.
        across = {
            source
            for box, place in zip(drawn, places, strict=True)
            for source in box.sources
            if place.line == line and places[source].line < line
        }
        assert len(across) == 1


@pytest.mark.parametrize("module", modules.ALL, ids=lambda each: each.__name__)
def test_texts_do_not_overlap(module: type[nn.Module]) -> None:
    figure = diagram.diagram(trace(module(), (3, 32, 32)))
    figure.canvas.draw()
    shown = [each for each in figure.axes[0].texts if each.get_text() not in {"", "…"}]
    extents = [(each.get_text(), each.get_window_extent().padded(-1)) for each in shown]
    over = [(a, b) for i, (a, one) in enumerate(extents) for b, other in extents[:i] if one.overlaps(other)]
    assert over == []
    width, height = figure.get_size_inches() * figure.dpi
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for _, box in extents)


def test_the_diagram_shows_the_numbers() -> None:
    shown = texts(diagram.diagram(cs.resolve("cifar10-classic").analysis, "cifar10-classic"))
    assert shown[0] == "cifar10-classic"
    assert "174,352 parameters, 32.3 M MACs per image, receptive field 51 pixels" in shown
    fields = [int(text) for text in shown if text.isdigit()]
    assert fields == [1, 3, 5, 9, 11, 13, 15, 19, 19, 23, 27, 35, 43, 51]
    assert all(a <= b for a, b in pairwise(fields))
    assert "48x8x8" in shown


def test_unknown_receptive_fields_are_marked() -> None:
    analysis = cs.summary("C16 C16 / G F10", (3, 32, 32))
    lost = [
        replace(row, out_field=ReceptiveField(unknown="it sorts")) if row.layer == "C16" else row
        for row in analysis.rows
    ]
    shown = texts(diagram.diagram(replace(analysis, rows=tuple(lost))))
    assert shown.count("?") == 2
    assert any("receptive field unknown: it sorts" in text for text in shown)


def test_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new"
    assert run(["draw", RESIDUAL, "--input", "3x32x32", "norm=none", "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out / "net.svg"), str(out / "net.png")]
    assert (out / "net.png").read_bytes().startswith(b"\x89PNG")
    first = (out / "net.svg").read_bytes()
    assert b"<svg" in first
    assert run(["draw", RESIDUAL, "--input", "3x32x32", "norm=none", "--out", str(out)]) == 0
    assert (out / "net.svg").read_bytes() == first


def test_the_diagram_in_the_docs_is_current() -> None:
    root = ET.parse(ROOT / "docs" / "images" / "cifar10-classic.svg")  # noqa: S314 - our own file
    figure = diagram.diagram(cs.resolve("cifar10-classic").analysis, "cifar10-classic")
    written = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(written) == sorted(line for text in texts(figure) for line in text.splitlines())


def test_draw_without_input_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["draw", "C16 / G F10"]) == 2
    assert "the input's shape is missing" in capsys.readouterr().err


def test_equal_beginnings_of_names_stay_apart() -> None:
    def block() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())

    names = [f"a_long_convolution_block_{number}" for number in range(1, 5)] + ["convblock1", "convblock2"]
    net = nn.Sequential(OrderedDict((name, block()) for name in names))
    shown = texts(diagram.diagram(trace(net, (3, 8, 8))))
    labels = [text for text in shown if "bl" in text or "_" in text]
    assert len(set(labels)) == len(names)
    assert labels[-2:] == ["convblock1", "convblock2"]


def test_a_long_line_of_totals_is_broken() -> None:
    blocks = [
        (f"a_long_name_of_block_{number}", nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.GroupNorm(1, 3)))
        for number in range(5)
    ]
    figure = diagram.diagram(trace(nn.Sequential(OrderedDict(blocks)), (3, 8, 8)))
    figure.canvas.draw()
    width = figure.get_size_inches()[0] * figure.dpi
    assert "and 2 more operations" in " ".join(texts(figure))
    assert all(each.get_window_extent().x1 <= width for each in figure.axes[0].texts)
