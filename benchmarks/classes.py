"""Evaluation and report with many classes: CPU seconds and peak memory, each size in a process of its own.

    python -m benchmarks.classes [IMAGES CLASSES]

The images are noise of 8x8 pixels and the net is tiny, so that the classes alone count.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from convsmith.data.dataset import ImageDataset, Split, mean_and_std
from convsmith.data.images.input_rule import InputRule
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.reports.report import write_report
from convsmith.runs.evaluation import evaluate_run
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import DataRecord, Environment

SIZES = ((40_000, 10), (40_000, 100), (40_000, 1000), (40_000, 5000))


def session_of(images: int, classes: int) -> Session:
    """Return a session on as many training images as test images, all of them noise."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (2, images, 8, 8, 1), dtype=np.uint8)
    labels = generator.permutation(np.arange(images) % classes)
    recipe = load(
        "digits", [f"model.net=C8:s2 / G F{classes}", "train.epochs=1", "name=classes", "brief=false"]
    )
    mean, std = mean_and_std(pixels[0])
    data = ImageDataset(
        title="noise",
        location="none",
        identity="noise",
        fingerprint="0" * 64,
        class_names=tuple(f"class {number}" for number in range(classes)),
        train=Split(images=pixels[0], labels=labels),
        validation=None,
        mean=mean,
        std=std,
        rule=InputRule(channels=1, height=8, width=8, resize_policy="crop", background=(0,)),
        dropped=(),
        test=Split(images=pixels[1], labels=labels),
        test_is_split_off=False,
    )
    return Session.of(recipe, data)


def measure(images: int, classes: int) -> str:
    """Evaluate and report an untrained net; return a row of the table."""
    with tempfile.TemporaryDirectory() as name:
        session = session_of(images, classes)
        folder = RunFolder.create(Path(name), "classes")
        folder.write_start(
            recipe=session.recipe,
            environment=Environment.current(),
            data=DataRecord.of(session.data, session.recipe.data),
            summary=session.summary(),
        )
        folder.write_metrics([])
        folder.log.touch()
        folder.write_weights(session.build_net())
        before = _cpu_seconds()
        evaluation = evaluate_run(folder, session)
        evaluated = _cpu_seconds()
        result = write_report(folder, session, evaluation)
        reported = _cpu_seconds()
        size = result.page.stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (
        f"{images:>8,} {classes:>8,} {evaluated - before:>12.1f} {reported - evaluated:>10.1f} "
        f"{memory / 2**20:>10.2f} {images * classes * 4 / 2**30:>10.2f} {size / 2**10:>10,.0f}"
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> str:
    head = "  images  classes  evaluation s   report s   peak GiB logits GiB   page KiB"
    rows = [
        subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.classes", str(images), str(classes)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.rstrip()
        for images, classes in SIZES
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    print(measure(*map(int, sys.argv[1:])) if len(sys.argv) == 3 else main())
