"""The outline of a net: groups, folding of equal parts, shares, and tables for spreadsheets."""

import csv
import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convsmith.cli import run
from convsmith.net.cells import share_cell
from convsmith.net.outline import Group, fold, outline, outline_cells
from convsmith.net.spreadsheet import outline_csv, rows_csv
from convsmith.net.tables import totals
from convsmith.text import size_text
from convsmith.tracing.trace import trace
from helpers import modules
from helpers.nets import analysis_of

IMAGE = (3, 32, 32)
ROW = analysis_of("C8 / G F10").rows[0]


def stages(*depths: int) -> nn.Sequential:
    """Stages of equal blocks; each stage begins with a stride."""

    def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU())

    parts = nn.Sequential()
    for number, depth in enumerate(depths):
        width = 4 * 2**number
        blocks = [
            block(width if index else max(3, width // 2), width, 1 if index else 2) for index in range(depth)
        ]
        parts.add_module(f"stage{number}", nn.Sequential(*blocks))
    return parts


def test_equal_blocks_are_folded() -> None:
    net = stages(3, 19)
    analysis = trace(net, IMAGE)
    groups = outline(analysis.rows, 2)
    assert [(group.name, group.last_name, group.times) for group in groups] == [
        ("stage0.0", "stage0.0", 1),
        ("stage0.1", "stage0.2", 2),
        ("stage1.0", "stage1.0", 1),
        ("stage1.1", "stage1.18", 18),
    ]
    block = sum(each.numel() for each in net.get_submodule("stage1.1").parameters())
    assert groups[-1].parameters == 18 * block
    lines = outline_cells(analysis.rows, analysis.parameters, 2)
    assert lines[-1][:3] == ["stage1.1 to stage1.18", "3 operations", "x18"]
    assert lines[-1][4] == str(analysis.receptive_field)


def test_rows_of_equal_blocks_are_folded_together() -> None:
    groups = outline(trace(stages(5), IMAGE).rows)
    assert [(group.name, group.times) for group in groups] == [
        ("stage0.0.0", 1), ("stage0.0.1", 1), ("stage0.0.2", 1),
        ("stage0.1.0", 4), ("stage0.1.1", 4), ("stage0.1.2", 4),
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [1, 2, 3, None])
@pytest.mark.parametrize(
    "make", [modules.ResNet20, modules.InceptionNet, modules.UNet, modules.SharedWeights]
)
def test_the_outline_has_every_row_once(make: type[nn.Module], depth: int | None) -> None:
    net = make()
    analysis = trace(net, IMAGE)
    groups = outline(analysis.rows, depth)
    assert sorted(map(id, (row for group in groups for row in group.rows))) == sorted(map(id, analysis.rows))
    assert sum(group.parameters for group in groups) == sum(each.numel() for each in net.parameters())
    assert sum(group.macs or 0 for group in groups) == analysis.macs


@given(st.lists(st.integers(0, 2), max_size=24))
def test_folding_keeps_the_sequence(kinds: list[int]) -> None:
    """Unfolded again, the groups are the ones before; and no line repeats its neighbour."""
    rows = [replace(ROW, name=f"{'abc'[kind]}.{index}") for index, kind in enumerate(kinds)]
    folded = fold([Group(name=row.name, last_name=row.name, rows=(row,)) for row in rows])
    assert sorted(row.name for group in folded for row in group.rows) == sorted(row.name for row in rows)
    assert sum(group.times for group in folded) == len(rows)
    assert all(len(group.rows) == group.times for group in folded)
    assert all(len({row.name[0] for row in group.rows}) == 1 for group in folded)
    single = [group.rows[0].name[0] for group in folded if group.times == 1]
    if len(single) == len(folded):
        assert all(one != other for one, other in pairwise(single))


def test_unknown_macs_make_those_of_a_group_unknown() -> None:
    unknown = Group(name="a", last_name="a", rows=(ROW, replace(ROW, macs=None)))
    assert unknown.macs is None
    assert outline_cells([replace(ROW, macs=None)], 10)[-1][-1] == "?"


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_as_csv() -> None:
    analysis = trace(modules.ResNet20(), IMAGE)
    lines = table(rows_csv(analysis))
    assert [line["name"] for line in lines] == [row.name for row in analysis.rows]
    assert sum(int(line["parameters"]) for line in lines) == 272_474
    assert sum(int(line["macs"]) for line in lines) == analysis.macs
    assert sum(float(line["share"]) for line in lines) == pytest.approx(1, abs=1e-4)
    assert (lines[0]["input"], lines[0]["output"], lines[0]["kernel"]) == ("3x32x32", "16x32x32", "3x3")
    assert lines[-1]["receptive_field"] == "all"


def test_outline_as_csv() -> None:
    lines = table(outline_csv(trace(stages(3, 19), IMAGE), 2))
    assert [(line["layer"], line["last"], line["times"]) for line in lines][-1] == (
        "stage1.1",
        "stage1.18",
        "18",
    )
    assert sum(int(line["operations"]) for line in lines) == 22 * 3


def test_csv_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = ["summary", "C16 C16*3 / G F10", "--input", "3x32x32"]
    assert run([*net, "--csv", "-"]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "net.csv"
    assert run([*net, "--csv", str(file), "--view", "totals"]) == 0
    assert file.read_text() == printed
    assert capsys.readouterr().out.startswith("Parameters: ")
    assert (
        sum(int(line["parameters"]) for line in table(printed)) == analysis_of("C16 C16*3 / G F10").parameters
    )


def test_depth_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["summary", "cifar10-classic", "--depth", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Parameters: 174,352")
    assert "| layer  | operation" in out
    assert "Layer (type)" not in out
    shares = [
        float(line.split("|")[-3].strip(" %<"))
        for line in out.splitlines()
        if line.count("%") == 1 and "|" in line
    ]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_totals_come_first_in_long_views(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["summary", "C16 / G F10", "--input", "3x32x32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Parameters: ")
    assert any("Layer (type)" in line for line in lines)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (1023, "1,023 bytes"), (1024, "1.0 KiB"), (2**20 - 1, "1.0 MiB"),
     (2**20, "1.0 MiB"), (26_310_554, "25.1 MiB"), (2**30, "1.0 GiB"), (5 * 2**40, "5,120.0 GiB")],
)  # fmt: skip
def test_sizes_have_their_unit(size: int, text: str) -> None:
    assert size_text(size) == text


def test_totals_of_a_large_net_are_in_mebibytes() -> None:
    lines = totals(trace(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2141)), IMAGE))
    assert "Weights in a file: 25.1 MiB in fp32, 12.5 MiB in fp16, 6.3 MiB in int8" in lines


def test_one_pixel_one_row_one_column() -> None:
    assert "Receptive field: 1 pixel" in totals(analysis_of("C8:k1 / G F10"))
    lines = totals(trace(nn.Conv2d(3, 8, 2, stride=2), (3, 33, 33)))
    assert "Coverage of the image: no output depends on 1 row and 1 column" in lines


def test_shares() -> None:
    assert [share_cell(count, 1000) for count in (1000, 333, 1, 0)] == ["100.0 %", "33.3 %", "0.1 %", ""]
    assert share_cell(0, 0) == ""
