"""Untrusted names: displayed as text everywhere, and used literally as paths."""

import csv
import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import convsmith as cs
from convsmith.errors import FileError
from convsmith.system import folders
from helpers.oracle import CommandResult, Oracle, in_process
from helpers.pages import Page

TINY = ("model.net=C4 / G F10", "train.epochs=1", "name=tiny")
NAMES = (
    "<script>alert(1)</script>",
    '"onerror=alert(1) x="',
    "=cmd()|' /C calc'!A0",
    "\u202egnp.exe",
    "\x1b[31mred\x1b]0;title\x07",
    "two\nlines",
    "x" * 10_000,
    r"$\frac{1",
    "| a | `b` |",
    "</style><!--",
)
Folder = Callable[..., Path]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CommandResult]:
    """A run of a data set whose classes have such names, in a folder of such a name, and what it printed."""
    root = tmp_path_factory.mktemp("names") / "<b>\x1b[31m ü\n'\"$(x)"
    (root / "set").mkdir(parents=True)
    digits = load_digits()
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    for split, first, last in (("train", 0, 200), ("test", 200, 300)):
        cells = []
        for number in range(first, last):
            content = io.BytesIO()
            Image.fromarray(np.rint(digits.images[number] * 15.9).astype(np.uint8)).save(content, "PNG")
            cells.append({"bytes": content.getvalue(), "path": None})
        labels = digits.target[first:last].tolist()
        table = pyarrow.table({"img": cells, "label": labels}, schema=features.arrow_schema)
        pyarrow.parquet.write_table(table, root / "set" / f"{split}-0.parquet")
    ended = in_process("train", "digits", f"data.source={root / 'set'}", *TINY, "--runs", str(root / "runs"))
    Oracle(root / "set").check(ended, exit_code=0)
    return root / "runs" / "tiny-1", ended


@pytest.mark.slow
def test_names_are_text_in_terminal_log_and_tables(hostile: tuple[Path, CommandResult]) -> None:
    run, ended = hostile
    assert json.loads((run / "data.json").read_text())["class_names"] == list(NAMES)
    assert "Accuracy of <script>alert(1)</script> : " in ended.out
    assert "Accuracy of two?lines : " in ended.out
    assert max(map(len, ended.out.splitlines())) < 1000
    for name in ("log.txt", "summary.txt", "README.md"):
        text = (run / name).read_text()
        assert all(char.isprintable() or char == "\n" for char in text), name
    # No name is ever a cell: there is nothing for a spreadsheet to work out.
    for row in csv.reader((run / "metrics.csv").read_text().splitlines()[1:]):
        assert all(not cell or float(cell) is not None for cell in row)
    for command in (("check",), ("evaluate",), ("watch", "--once")):
        result = in_process(command[0], str(run), *command[1:])
        assert result.code in {0, 1}, result.err
        assert all(char.isprintable() or char == "\n" for char in result.out)


@pytest.mark.slow
def test_names_are_text_in_the_page(hostile: tuple[Path, CommandResult]) -> None:
    text = (hostile[0] / "report.html").read_text()
    page = Page(text)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert [tag for tag, _ in page.tags].count("style") <= 1 + text.count("<svg")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for name in NAMES[:3]:
        assert name in page.text
    readme = (hostile[0] / "README.md").read_text()
    outside, inside = "", False
    for line in readme.splitlines():
        inside ^= line.startswith("```")
        outside += "" if inside else line + "\n"
    assert "<script" not in outside
    assert "<b>" not in outside


@pytest.mark.slow
def test_names_cannot_become_code(hostile: tuple[Path, CommandResult], tmp_path: Path) -> None:
    ended = in_process("export", str(hostile[0]), "--code", "--out", str(tmp_path))
    assert ended.code == 0
    # As anybody would use it; a name that left its docstring would be a mistake, or worse.
    scope: dict[str, object] = {}
    exec((tmp_path / "model.py").read_text(), scope)  # noqa: S102
    assert "Net" in scope


@pytest.mark.parametrize(
    "name", ["../out", "a/b", ".hidden", "<script>", "", "x" * 65, "two\nlines", "=cmd()", "\u202egnp"]
)
def test_names_of_runs_are_plain(name: str, tmp_path: Path) -> None:
    oracle = Oracle(tmp_path)
    oracle.expect_error(
        "train", "digits", f"name={name}", "--runs", str(tmp_path / "runs"), code="E030", names=("name",)
    )
    assert list(tmp_path.iterdir()) == []


PLACES = (
    "a file", "below a file", "a dangling link", "a long name", "a long path", "no writable disk",
)  # fmt: skip


def places(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Return unwritable folders, each with the expected message."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "below")
    return {
        "a file": (tmp_path / "file", "Not a directory"),
        "below a file": (tmp_path / "file" / "runs", "Not a directory"),
        "a dangling link": (tmp_path / "dangling", "Not a directory"),
        "a long name": (tmp_path / ("x" * 300), "File name too long"),
        "a long path": (tmp_path.joinpath(*["x" * 200] * 30), "File name too long"),
        "no writable disk": (Path("/proc/nowhere/runs"), "cannot write"),
    }


@pytest.mark.parametrize("place", PLACES)
def test_an_unwritable_folder_is_reported_before_any_work(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, what = places(tmp_path)[place]

    def never(*arguments: object) -> None:
        raise AssertionError("the data was read first")

    monkeypatch.setattr("convsmith.recipes.session.load", never)
    oracle = Oracle(tmp_path)
    for command, option in (("train", "--runs"), ("lr-find", "--out"), ("preview", "--out")):
        oracle.expect_error(command, "digits", *TINY, option, str(path), code="E010", names=(what,))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        Oracle(tmp_path).expect_error(
            "train", "digits", *TINY, "--runs", str(tmp_path), code="E010", names=("denied",)
        )
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_errors_of_the_system_are_reported(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(FileError, match=f"cannot write: {os.strerror(number)}"):
        folders.check_destination(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    folders.check_destination(tmp_path / "new" / "deep", usage.free // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    Oracle(tmp_path).expect_error(
        "train", "digits", *TINY, "--runs", str(tmp_path / "runs"),
        code="E010", names=("not enough disk space: needed ", "free are 1,000,000", str(tmp_path / "runs")),
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_file_names_that_are_not_unicode(image_folder: Folder) -> None:
    root = image_folder({"train": 6, "test": 3})
    (root / "train" / "one").rename(root / "train" / os.fsdecode(b"caf\xe9"))
    (root / "test" / "one").rename(root / "test" / os.fsdecode(b"caf\xe9"))
    (root / "train" / "two" / os.fsdecode(b"\xff.png")).write_text("text")
    verification = cs.verify_data(str(root))
    assert [each.file for each in verification.issues] == [os.fsdecode(b"train/two/\xff.png")]
    ended = in_process("data", "verify", str(root))
    Oracle(root).check(ended, exit_code=1)
    assert r"train/two/\udcff.png" in ended.out
    assert json.loads(in_process("data", "verify", str(root), "--json").out)["clean"] is False
