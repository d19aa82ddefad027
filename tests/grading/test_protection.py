"""What is said about the protections of a system follows from what was measured."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

from convsmith.grading.outcome import Limits
from convsmith.grading.protection import Protection, container_line, detect, protection_lines

FIELDS = ("other_user", "no_network", "no_reading", "no_writing", "no_signals", "hard_end", "all_counted")


def test_each_measurement_changes_what_is_said() -> None:
    texts = set()
    for values in itertools.product((False, True), repeat=len(FIELDS)):
        values_by_name: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
        protection = replace(Protection(), **values_by_name)
        lines = protection_lines(protection, Limits())
        texts.add("\n".join(lines))
        assert (" has no network" in lines[0]) == protection.no_network
        missing = [line for line in lines if line.startswith("NOT prevented on this system")]
        assert bool(missing) == (not all(values) and not (protection.complete and not values[0]))
        assert lines[-1].startswith("Not prevented anywhere: faults of the kernel, and a net that lies")
    assert len(texts) == 2 ** len(FIELDS)


def test_limits_are_named() -> None:
    line = protection_lines(Protection(), Limits(time=90, memory=2**31, disk=2**29, processes=7))[0]
    for each in ("90 s", "2.0 GiB of memory", "512.0 MiB on disk", "7 processes", "16.0 MiB of output"):
        assert each in line


def test_the_measurement_is_of_this_system() -> None:
    protection = detect()
    assert protection.complete == all(getattr(protection, name) for name in FIELDS[1:])
    if "network" in protection.isolation.parts:
        assert protection.no_network
    if "files" in protection.isolation.parts:
        assert protection.no_reading
        assert protection.no_writing


def test_the_container_line(tmp_path: Path) -> None:
    place = tmp_path / "class of 26"
    place.mkdir()
    files = {"--brief": "my.toml", "--recipe": "mnist-5k"}
    line = container_line(place, tmp_path / "graded", files, Limits(memory=2**31), 3, cache=tmp_path)
    for each in ("--network none", "--memory 6g", "--pids-limit", "--read-only", f"'{place}':/class:ro"):
        assert each in line
    assert f"{Path.cwd()}/my.toml:/brief.toml:ro" in line
    assert line.endswith("convsmith grade /class --brief /brief.toml --recipe mnist-5k --out /graded")
    table = place / "class.csv"
    table.touch()
    line = container_line(table, tmp_path / "graded", {"--brief": "b"}, Limits(), 1, cache=tmp_path)
    assert f"'{place}':/class:ro" in line
    assert "convsmith grade /class/class.csv --brief b" in line
