"""Outputs: devices, pipes and links as files; outputs that are inputs; interrupted replacements."""

import csv
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import convsmith as cs
from convsmith.models import bundle
from convsmith.system import folders
from helpers.fast import few_fast
from helpers.images import saved
from helpers.killed import killed_before
from helpers.oracle import Oracle, in_process

ROWS = ("--csv", "--jsonl")


@pytest.fixture
def image(tmp_path: Path) -> str:
    return saved(tmp_path / "image.png", np.zeros((8, 8), np.uint8))


def expected_rows(image: str, option: str) -> str:
    prediction = cs.predict("digits", image)[0]
    if option == "--jsonl":
        return json.dumps(prediction.record()) + "\n"
    ranking = "; ".join(f"{label} {share:.4f}" for label, share in prediction.top)
    unsure = str(prediction.unsure).lower()
    cells = f"{image},{prediction.label},{prediction.confidence:.6f},{unsure},{ranking},"
    return f"image,label,confidence,unsure,top,error\n{cells}\n"


@pytest.mark.parametrize("option", ROWS)
def test_predictions_flow_into_a_pipe_and_through_a_link(option: str, image: str, tmp_path: Path) -> None:
    pipe, target = tmp_path / "pipe", tmp_path / "rows"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(target)
    parts: list[str] = []
    # A command that fails before it opens the pipe leaves the reader waiting.
    reader = threading.Thread(target=lambda: parts.append(pipe.read_text()), daemon=True)
    reader.start()
    ended = in_process("predict", "digits", image, option, str(pipe))
    reader.join(timeout=60)
    # No name of a file follows: what flows into a pipe is read by a program.
    assert (ended.code, ended.out) == (0, "")
    assert parts == [expected_rows(image, option)]
    assert pipe.is_fifo()
    assert in_process("predict", "digits", image, option, str(tmp_path / "link")).code == 0
    assert target.read_text() == parts[0]


@pytest.mark.parametrize("option", few_fast([*ROWS], 1))
def test_standard_output_as_a_file(option: str, image: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "convsmith", "predict", "digits", image, option, "/dev/stdout"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == expected_rows(
        image, option
    )
    with (tmp_path / "out").open("w") as file:
        file.write("before\n")
        file.flush()
        subprocess.run(command, check=True, stdout=file)
        file.write("after\n")
    assert (tmp_path / "out").read_text() == f"before\n{expected_rows(image, option)}after\n"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_outputs_that_are_one_file_or_an_input_are_refused(
    image: str, bundle_copy: Path, tmp_path: Path
) -> None:
    same = str(tmp_path / "same")
    oracle = Oracle(tmp_path)
    oracle.expect_error(
        "predict", "digits", image, "--csv", same, "--jsonl", same, code="E010", names=(same, "one file")
    )
    (tmp_path / "link.png").symlink_to(image)
    for option, path in (("--csv", image), ("--jsonl", str(tmp_path / "link.png"))):
        oracle.expect_error(
            "predict", "digits", str(tmp_path), option, path, code="E010", names=(path, "the command reads")
        )
    for name in ("bundle.json", "model.safetensors", "README.md", "manifest.json"):
        path = str(bundle_copy / name)
        oracle.expect_error("predict", str(bundle_copy), image, "--csv", path, code="E010", names=(path,))
        oracle.expect_error("export", str(bundle_copy), "--onnx", path, "--force", code="E010", names=(path,))
    oracle.expect_error(
        "export",
        str(bundle_copy),
        "--code",
        "--out",
        str(bundle_copy),
        "--force",
        code="E010",
        names=("reads",),
    )


def test_file_names_that_are_not_utf8_are_spelled_out(tmp_path: Path) -> None:
    path = f"{tmp_path}/caf\udce9\n.png"
    shutil.copy(saved(tmp_path / "image.png", np.zeros((8, 8), np.uint8)), path)
    rows, lines = tmp_path / "rows.csv", tmp_path / "rows.jsonl"
    ended = in_process("predict", "digits", path, "--csv", str(rows), "--jsonl", str(lines))
    assert ended.code == 0, ended.err
    spelled = f"{tmp_path}/caf\\udce9?.png"
    (row,) = csv.DictReader(rows.read_text(encoding="utf-8").splitlines())
    assert row["image"] == spelled
    assert row["label"]
    # JSON gives the name back.
    assert json.loads(lines.read_text())["image"] == path
    assert json.loads(in_process("predict", "digits", path, "--json").out)[0]["image"] == path
    assert in_process("predict", "digits", path).out.startswith(f"{spelled}: ")


def test_an_exported_bundle_replaces_links_targets_and_keeps_other_files(
    bundle_copy: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    cs.export_bundle("digits", other)
    (tmp_path / "link").symlink_to("other")
    assert in_process("export", str(bundle_copy), "--bundle", str(tmp_path / "link"), "--force").code == 0
    assert (tmp_path / "link").is_symlink()
    assert bundle.read(other).metadata == bundle.read(bundle_copy).metadata
    (other / "notes.txt").write_text("mine")
    Oracle(other).expect_error(
        "export", "digits", "--bundle", str(other), "--force", code="E010", names=("notes.txt", str(other))
    )
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("exchanges", [True, False])
def test_a_bundle_survives_a_kill_at_any_call(
    exchanges: bool, bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    before = {path.name: path.read_bytes() for path in bundle_copy.iterdir()}
    new = bundle.with_manifest({**bundle.read(bundle_copy).contents, "README.md": b"new\n"})
    found = set()
    for call in range(1, 200):
        bundle.write(bundle_copy, before, replace=True)
        killed = killed_before(call, lambda: bundle.write(bundle_copy, new, replace=True))
        # The next start finds the old bundle or the new one, whole.
        assert cs.load(bundle_copy).labels == tuple("0123456789"), call
        found.add(bundle.read(bundle_copy).contents["README.md"] == b"new\n")
        if not killed:
            break
    assert found == {True, False}
    bundle.write(bundle_copy, before, replace=True)
    assert list(tmp_path.iterdir()) == [bundle_copy]


@pytest.mark.slow
def test_an_ejected_project_is_whole_or_can_be_ejected_again(tiny_run: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    expected = {
        path.relative_to(tmp_path / "first") for path in cs.eject(tiny_run, tmp_path / "first", execute=False)
    }
    shutil.rmtree(tmp_path / "first")
    outcomes = set()
    for call in range(1, 2000, 15):
        killed = killed_before(call, lambda: cs.eject(tiny_run, project, execute=False))
        outcomes.add(project.exists())
        if project.exists():
            assert {path.relative_to(project) for path in project.rglob("*") if path.is_file()} == expected
            shutil.rmtree(project)
        if not killed:
            break
    assert outcomes == {True, False}
    project.mkdir()
    cs.eject(tiny_run, project, execute=False)
    assert list(tmp_path.iterdir()) == [project]
