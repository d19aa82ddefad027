"""Run commands while a file or folder that they need has no permissions; print what they answered, as JSON.

    python tests/helpers/permissions.py FOLDER

`FOLDER` has what `prepare` made, and belongs to the user of this process, which is not the superuser.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.oracle import in_process

FILE_MODES, FOLDER_MODES = (0o000,), (0o000, 0o400, 0o500)
Case = tuple[Path, int, tuple[str, ...]]


def prepare(base: Path, run: Path, bundle: Path) -> None:
    """Copy a run and a bundle, and write images, a recipe, a brief and a module."""
    shutil.copytree(run, base / "run")
    shutil.copytree(bundle, base / "bundle")
    random = np.random.default_rng(0)
    for label in ("one", "two"):
        (base / "data" / label).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(base / "data" / label / f"{number}.png")
    source = base / "data"
    (base / "mine.toml").write_text(
        f'[data]\nsource = "{source}"\n[model]\nnet = "C4 / G F2"\n[train]\nepochs = 1\n'
        '[train.optimizer]\nname = "sgd"\nlr = 0.1\n',
        encoding="utf-8",
    )
    (base / "brief.toml").write_text("max_parameters = 100\n", encoding="utf-8")
    (base / "net.py").write_text("import torch\nNet = torch.nn.Flatten\n", encoding="utf-8")
    for name in ("out", "cache", "tmp"):
        (base / name).mkdir()
    (base / "out" / "rows").write_text("old", encoding="utf-8")


def cases(base: Path) -> Iterator[Case]:
    """Yield a path, its mode, and a command."""
    run, bundle, data, out = (base / name for name in ("run", "bundle", "data", "out"))
    recipe, image = str(base / "mine.toml"), str(data / "one" / "0.png")
    of_run = [
        ("check", str(run)), ("summary", str(run)), ("watch", str(run), "--once"), ("resume", str(run)),
        ("predict", str(run), image), ("export", str(run), "--code", "--out", str(out / "code")),
    ]  # fmt: skip
    of_bundle = [
        ("check", str(bundle)), ("predict", str(bundle), image),
        ("export", str(bundle), "--bundle", str(out / "bundle")),
        ("export", str(bundle), "--code", "--out", str(out / "code")),
    ]  # fmt: skip
    of_data = [
        ("data", "verify", str(data)), ("predict", "digits", str(data)),
        ("preview", recipe, "--out", str(out)), ("train", recipe, "--runs", str(out / "runs")),
    ]  # fmt: skip
    of_output = [
        ("predict", "digits", image, "--csv", str(out / "rows")),
        ("draw", "digits", "--out", str(out / "new")),
        ("train", recipe, "--runs", str(out)), ("lr-find", recipe, "--out", str(out), "--steps", "20"),
        ("export", "digits", "--bundle", str(out / "bundle")), ("eject", str(run), str(out / "project")),
        ("compare", str(run), str(run), "--out", str(out)), ("preview", recipe, "--out", str(out)),
        ("search", str(base / "brief.toml"), "--recipe", recipe, "--trials", "1", "--study", str(out)),
    ]  # fmt: skip
    yield from _each([run, *sorted(run.rglob("*"))], of_run)
    yield from _each([bundle, *sorted(bundle.rglob("*"))], of_bundle)
    yield from _each([data, data / "two", data / "two" / "3.png"], of_data)
    yield from _each([out, out / "rows"], of_output)
    yield from _each([base / "mine.toml"], [("check", recipe), ("train", recipe), ("data", "verify", recipe)])
    yield from _each([base / "brief.toml"], [("check", "digits", "--brief", str(base / "brief.toml"))])
    yield from _each([base / "net.py"], [("summary", f"{base / 'net.py'}:Net", "--input", "1x8x8")])
    yield from _each([base / "cache"], of_data[2:])
    for name in ("report", "evaluate", "eject"):
        for place in (run, run / "plots", run / "README.md", run / "results.json", run / "predictions.npz"):
            folder = str(out / f"project {place.name}")
            yield from _each([place], [(name, str(run), *([folder] if name == "eject" else []))])


def _each(places: list[Path], commands: list[tuple[str, ...]]) -> Iterator[Case]:
    for path in places:
        for mode in FOLDER_MODES if path.is_dir() else FILE_MODES:
            for command in commands:
                yield path, mode, command


def main(base: Path) -> None:
    """Print a list of path, mode, command, exit code and error text."""
    assert os.geteuid(), "the superuser may read everything"
    answers = []
    for path, mode, command in list(cases(base)):
        before = path.stat().st_mode
        path.chmod(mode)
        try:
            ended = in_process(*command)
        finally:
            path.chmod(before)
        shutil.rmtree(base / "out" / "project plots", ignore_errors=True)
        answers.append([str(path), mode, command, ended.code, ended.err])
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
