"""What all tests share: a cache of their own, small data made on the spot, the real data if there."""

import functools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from PIL import Image
from sklearn.datasets import load_digits

import convsmith as cs
from convsmith.data.dataset import load as load_data
from convsmith.evaluation.metrics import Metrics
from convsmith.net.analysis import Analysis
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.reports import drawings
from convsmith.reports.charts import History
from convsmith.reports.style import Drawing
from convsmith.runs.folder import RunFolder
from convsmith.system.progress import show_progress
from convsmith.system.signals import STOP_SIGNALS
from helpers.own_nets import train_net

if TYPE_CHECKING:
    from torch._dynamo.testing import CompileCounterWithBackend

# Tests of commands compare standard error. `tests/system/test_progress.py` tests the lines.
# For processes that tests start, and for this one, which has read the variable.
os.environ["CONVSMITH_PROGRESS"] = "0"
show_progress(show=False)

# Each worker of pytest-xdist computes on one core: threads of several workers would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

# `make test` tries the same random examples each time, so that a failure can be repeated; `make test-all`
# tries others.
# Without the phase that explains a failure: it traces every line of PyTorch and may take hours.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile("repeatable", derandomize=True, deadline=None, phases=PHASES)
settings.register_profile("random", deadline=None, phases=PHASES)
settings.load_profile("random" if os.environ.get("CONVSMITH_ALL_TESTS") else "repeatable")

# The longest slow test trains for about ten minutes on a machine without bf16.
SLOW_SECONDS = 2400

REAL_DATA = Path(os.environ.get("CONVSMITH_DATA") or Path(__file__).parents[2] / "shared" / "datasets")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first; what needs the real data sets is skipped, with a reason, where there are none."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
    if not (REAL_DATA / "cifar10").is_dir() or not (REAL_DATA / "mnist").is_dir():
        skip = pytest.mark.skip(reason=f"no CIFAR-10 and MNIST in {REAL_DATA}")
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVSMITH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("CONVSMITH_DATA", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _charts_are_drawn_once() -> Iterator[None]:
    """In `make test`, reports share one set of charts: drawing them is most of the time of a short training.

    Modules with the marker `charts` draw their own, as all do in `make test-all`.
    """
    if os.environ.get("CONVSMITH_ALL_TESTS"):
        yield
        return
    draw = drawings.draw_charts
    drawn: dict[tuple[bool, ...], dict[str, Drawing]] = {}

    @functools.wraps(draw)
    def draw_once(
        metrics: Metrics, history: History, analysis: Analysis, *measured: Any, selected: int | None = None
    ) -> dict[str, Drawing]:
        # What decides which charts there are.
        has_rate = any(row.lr for row in history)
        key = (bool(history), has_rate, metrics.confusion is None, *(each is None for each in measured))
        if key not in drawn:
            drawn[key] = draw(metrics, history, analysis, *measured, selected=selected)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawings, "draw_charts", draw_once)
        yield


@pytest.fixture(scope="module", autouse=True)
def _own_charts(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("charts"):
            draw = getattr(drawings.draw_charts, "__wrapped__", drawings.draw_charts)
            patch.setattr(drawings, "draw_charts", draw)
        yield


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSMITH_DATA", str(REAL_DATA))
    return REAL_DATA


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small net on digits, to be read only."""
    recipe = load("digits", ["train.epochs=3", "model.net=C8 C16:s2 / G F10", "name=tiny"])
    return cs.train(recipe, runs=tmp_path_factory.mktemp("runs")).folder


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `tiny_run`, to be read only."""
    return cs.export_bundle(tiny_run, tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_bundle`, to be changed."""
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


@pytest.fixture(scope="session")
def module_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a hand-written net that ends in log-softmax, to be read only."""
    return train_net(tmp_path_factory.mktemp("modules"), "own", "Net(width=6)")


@pytest.fixture(scope="session")
def softmax_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a hand-written net that ends in softmax, to be read only."""
    return train_net(tmp_path_factory.mktemp("modules"), "softmax", "Softmax")


@pytest.fixture(scope="session")
def module_bundle(module_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `module_run`, to be read only."""
    return cs.export_bundle(module_run, tmp_path_factory.mktemp("bundles") / "own", trust_code=True)


@pytest.fixture
def module_bundle_copy(module_bundle: Path, tmp_path: Path) -> Path:
    """A copy of `module_bundle`, to be changed."""
    return shutil.copytree(module_bundle, tmp_path / "copy")


@pytest.fixture(scope="session")
def digits_test_images() -> np.ndarray:
    """The test images of digits `(N, 8, 8, 1)`."""
    return np.asarray(load_data(load("digits").data).test.images)


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write digits as PNG files: `root/<split>/<class>/<n>.png`, or `root/<class>/...` for the split ''."""

    def write(
        splits: dict[str, int],
        *,
        classes: tuple[str, ...] = ("zero", "one", "two"),
        size: int = 8,
        colour: bool = False,
        name: str = "pictures",
    ) -> Path:
        digits = load_digits()
        taken = dict.fromkeys(range(10), 0)
        for split, per_class in splits.items():
            for label, class_name in enumerate(classes):
                folder = tmp_path / name / split / class_name
                folder.mkdir(parents=True)
                images = digits.images[digits.target == label % 10]
                for number in range(per_class):
                    pixels = images[taken[label % 10]]
                    taken[label % 10] += 1
                    picture = Image.fromarray(np.rint(pixels * 15.9375).astype(np.uint8))
                    picture = picture.resize((size, size), Image.Resampling.BILINEAR)
                    (picture.convert("RGB") if colour else picture).save(folder / f"{number}.png")
        return tmp_path / name

    return write


@pytest.fixture
def tiny() -> Recipe:
    """A recipe that trains in a second."""
    return load("digits", ["train.epochs=2", "model.net=C4 C8:s2 / G F10", "name=tiny"])


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings end with the manifest, without evaluation and report, which take seconds."""

    def write_report(folder: RunFolder, *_: object) -> Mock:
        folder.write_manifest()
        return Mock(folder=folder.path)

    monkeypatch.setattr("convsmith.runs.training.evaluate_run", lambda *_: Mock(lines=list))
    monkeypatch.setattr("convsmith.api.train.write_report", write_report)
    monkeypatch.setattr("convsmith.api.resume.write_report", write_report)
    for command in ("train", "resume"):
        monkeypatch.setattr(f"convsmith.api.{command}.with_prediction_check", lambda *given: given[-1])
    monkeypatch.setattr("convsmith.cli.runs._print_result", lambda result: None)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> "CompileCounterWithBackend":
    """A compiler that leaves what PyTorch has traced as it is, and counts how often it is asked."""
    # Two seconds that no other test needs to wait for.
    from torch._dynamo.testing import CompileCounterWithBackend

    counter, compile_with = CompileCounterWithBackend("aot_eager"), torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **given: compile_with(net, backend=counter, **given))
    return counter


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """As a terminal hands signals down: `nohup` and shells in the background let some be ignored."""
    usual: dict[signal.Signals, Any] = {
        **dict.fromkeys(STOP_SIGNALS, signal.SIG_DFL),
        signal.SIGINT: signal.default_int_handler,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
