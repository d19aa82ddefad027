"""The comparison of runs: record and pages."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import convsmith as cs
from convsmith.cli import run as run_command
from convsmith.errors import RunError
from convsmith.recipes.loader import load
from convsmith.reports.comparison import Comparison
from helpers.browser import CHROMIUM, browser

SMALL = ["train.epochs=1", "model.net=C4 C8:s2 / G F10", "name=small"]
WIDE = ["train.epochs=2", "model.net=C8 C16:s2 / G F10", "name=wide"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    runs = tmp_path_factory.mktemp("runs")
    return [
        cs.train(load("digits", overrides), runs=runs).folder
        for overrides in (
            [*SMALL, "seed=1"],
            [*SMALL, "seed=2"],
            WIDE,
            [*SMALL[:2], "name=other", "data.split_seed=1"],
        )
    ]


@pytest.fixture(scope="module")
def compared(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return cs.compare(folders, tmp_path_factory.mktemp("comparison"))


def test_the_record_agrees_with_the_runs(compared: Comparison, folders: list[Path]) -> None:
    record = json.loads((compared.page.parent / "compare.json").read_text())
    for row, folder in zip(record["runs"], folders, strict=True):
        results = json.loads((folder / "results.json").read_text())["test"]
        assert row["accuracy"] == results["accuracy"]
        assert row["ece"] == results["calibration"]["ece"]
        assert row["name"] == folder.name
    assert [group["runs"] for group in record["groups"]] == [["small-1", "small-2"], ["wide-1"], ["other-1"]]
    group = record["groups"][0]["accuracy"]
    assert group["mean"] == pytest.approx(np.mean([row["accuracy"] for row in record["runs"][:2]]))
    assert {each["field"] for each in record["differences"]} == {
        "data.split_seed",
        "images",
        "model.net",
        "train.epochs",
    }
    pairs = [(pair["first"], pair["second"]) for pair in record["pairs"]]
    # Seeds of one recipe come last.
    assert pairs == [("small-1", "wide-1"), ("small-2", "wide-1"), ("small-1", "small-2")]
    assert len(record["not_comparable"]) == 3
    saved = [np.load(folder / "predictions.npz") for folder in folders]
    for pair in record["pairs"]:
        first, second = (
            saved[[folder.name for folder in folders].index(pair[side])] for side in ("first", "second")
        )
        right = [each["logits"].argmax(1) == each["labels"] for each in (first, second)]
        assert pair["only_first_right"] == (right[0] & ~right[1]).sum()
        assert pair["only_second_right"] == (~right[0] & right[1]).sum()


def test_the_pages_say_so(compared: Comparison) -> None:
    page, text = compared.page.read_text(), compared.markdown.read_text()
    for name in ("small-1", "small-2", "wide-1", "model.net"):
        assert name in page
        assert name in text
    assert len(page) < 5_000_000
    assert "McNemar" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) > 15
    assert re.search(r"^\| small \| 2 \| ", text, flags=re.MULTILINE)


def test_runs_on_different_test_sets_are_kept_apart(compared: Comparison) -> None:
    first, second = compared.record["test_sets"]
    assert not compared.record["comparable"]
    groups = compared.record["groups"]
    names = [[run for place in each["groups"] for run in groups[place]["runs"]] for each in (first, second)]
    assert names == [["small-1", "small-2", "wide-1"], ["other-1"]]
    page, text = compared.page.read_text(), compared.markdown.read_text()
    for content in (page, text):
        assert "These runs have 2 different test sets" in content
        one, two = content.split("Test set 2: ")
        assert "wide-1" in one.split("Test set 1: ")[1]
        assert "other-1" not in one.split("Test set 1: ")[1].split("</table>")[0].split("## ")[0]
        assert "other-1" in two
    # No chart has lines of both test sets.
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 8
    assert not [each for each in charts if ">other" in each and (">small" in each or ">wide" in each)]


def test_equal_pixels_with_other_class_names_are_another_test_set(
    folders: list[Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders[0], tmp_path / "renamed")
    record = json.loads((copy / "data.json").read_text())
    record["class_names"][0] = "nought"
    (copy / "data.json").write_text(json.dumps(record))
    (copy / "manifest.json").unlink()
    found = cs.compare([folders[0], copy], tmp_path / "out")
    assert not found.record["comparable"]
    assert found.record["pairs"] == []
    assert "classes" in {each["field"] for each in found.record["differences"]}


def test_the_page_in_a_browser(compared: Comparison) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium to look at pages with")
    with browser() as page:
        for width in (360, 1280):
            page.open(compared.page, width=width, height=900)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("document.querySelectorAll('.of-examples').length") > 0
            assert [each for each in page.requests if not each.startswith("data:")] == [
                compared.page.resolve().as_uri()
            ]
            assert page.messages == []


def test_the_data_may_be_gone(folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convsmith.errors import DataError

    def gone(_: object) -> None:
        raise DataError("gone")

    monkeypatch.setattr("convsmith.reports.comparison.load_data", gone)
    found = cs.compare(folders[:2], tmp_path)
    assert len(found.record["pairs"]) == 1
    assert "of-examples" not in found.page.read_text()


def test_what_cannot_be_compared(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected at least two"):
        cs.compare(folders[:1], tmp_path)
    with pytest.raises(RunError, match="listed twice"):
        cs.compare([folders[0], folders[0]], tmp_path)
    copy = shutil.copytree(folders[0], tmp_path / "copy")
    (copy / "predictions.npz").unlink()
    with pytest.raises(RunError, match=r"predictions\.npz: damaged: missing"):
        cs.compare([folders[0], copy], tmp_path)


def test_the_command(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(folder) for folder in folders[:3]]
    assert run_command(["compare", *names, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^small +2 runs +\d+\.\d\d%, deviation", out, flags=re.MULTILINE)
    assert "small-1 against small-2: " in out
    assert run_command(["compare", *names, "--out", str(tmp_path / "out"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (len(record["runs"]), record["comparable"]) == (3, True)
    assert run_command(["compare", *map(str, folders), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "These runs have 2 different test sets, whose accuracies cannot be compared" in out
    assert re.search(r"Test set 1: .*\nsmall .*\nwide .*\n\nTest set 2: .*\nother ", out)
