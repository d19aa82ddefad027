"""What benchmarks share: timing in turns, as medians, ranges and ratios; trainings; results that are kept."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from convsmith.data.dataset import load_training_data
from convsmith.models.teacher import load_teacher
from convsmith.recipes.fit import fitted
from convsmith.recipes.loader import load
from convsmith.recipes.session import TrainingSession
from convsmith.system import files, reading
from convsmith.system.device import machine_record
from convsmith.training.metrics import EpochMetrics


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What each round measured, in units a second."""

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def ratio_to(self, other: "Rates") -> str:
        """The median over the rounds of the ratio within a round, and its range."""
        ratios = [mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)]
        return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def in_turns(candidates: Mapping[str, Callable[[], int]], rounds: int) -> list[Rates]:
    """Run each candidate once per round, after one that does not count.

    A candidate returns how many units it worked through.
    """
    for run in candidates.values():
        run()
    values: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            began = time.perf_counter()
            units = run()
            values[name].append(units / (time.perf_counter() - began))
    return [Rates(name=name, values=tuple(found)) for name, found in values.items()]


def kept(path: Path, key: str, measure: Callable[[], float]) -> float:
    """What was measured before under this key, as a JSON file has it; else measured now, and kept there."""
    files.make_folder(path.parent)
    done = reading.read_json(path) if path.is_file() else {}
    if key not in done:
        done[key] = measure()
        files.write_json(path, done)
    found: float = done[key]
    return found


def held_out_accuracy(recipe: str, overrides: tuple[str, ...]) -> float:
    """After the last epoch, on the images that were held out; the test set is not read."""
    loaded = load(recipe, overrides)
    data = load_training_data(loaded.data)
    session = TrainingSession(recipe=loaded, data=data, analysis=fitted(loaded, data.info))
    metrics = whole_training(session)[-1]
    assert metrics.validation is not None
    return metrics.validation.accuracy


def whole_training(session: TrainingSession) -> tuple[EpochMetrics, ...]:
    """Train the net of a recipe without writing any file."""
    known = load_teacher(session.recipe, session.data)
    return session.fit(session.build_net(), teacher=known.teacher if known else None)


def table(rates: list[Rates], unit: str) -> str:
    """A row a candidate; ratios are to the first."""
    head = f"{'':<44} {unit:>12} {'range':>22} {'ratio to the first':>24}"
    rows = [
        f"{each.name:<44} {each.median:>12,.1f} {f'{min(each.values):,.1f} to {max(each.values):,.1f}':>22} "
        f"{each.ratio_to(rates[0]):>24}"
        for each in rates
    ]
    return "\n".join([head, *rows])


def machine() -> str:
    found = machine_record()
    return (
        f"{found['processor']}, {found['cores']} cores, {torch.get_num_threads()} threads, "
        f"{platform.system()}, Python {found['python']}, PyTorch {torch.__version__}"
    )
