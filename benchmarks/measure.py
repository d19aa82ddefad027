"""Shared by the benchmarks: timing in turns, medians, ranges and ratios; trainings; cached results."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from convsmith.cluster.engine import Engine, connect
from convsmith.data.dataset import load_training_data
from convsmith.models.start import with_start
from convsmith.models.teacher import load_teacher
from convsmith.recipes.loader import load
from convsmith.recipes.session import TrainingSession
from convsmith.system import files, reading
from convsmith.system.device import machine_record
from convsmith.training.metrics import EpochMetrics


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The rates of every round, in units per second."""

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def ratio_to(self, other: "Rates") -> str:
        """Return the median and the range of the ratios within each round."""
        ratios = [mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)]
        return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def in_turns(candidates: Mapping[str, Callable[[], int]], rounds: int) -> list[Rates]:
    """Run each candidate once per round, after a warm-up run.

    A candidate returns the number of units that it processed.
    """
    for run in candidates.values():
        run()
    values: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            began = time.perf_counter()
            units = run()
            values[name].append(units / (time.perf_counter() - began))
    return [Rates(name=name, values=tuple(rates)) for name, rates in values.items()]


def cached(path: Path, key: str, measure: Callable[[], float]) -> float:
    """Return the value under a key of a JSON file; measure and save it if it is missing."""
    files.make_folder(path.parent)
    done = reading.read_json(path) if path.is_file() else {}
    if key not in done:
        done[key] = measure()
        files.write_json(path, done)
    value: float = done[key]
    return value


def held_out_accuracy(recipe: str, overrides: tuple[str, ...]) -> float:
    """Return the accuracy after the last epoch on the held-out images; the test set is not read."""
    loaded = load(recipe, overrides)
    data = load_training_data(loaded.data)
    session = TrainingSession.of(loaded, data)
    metrics = whole_training(session)[-1]
    assert metrics.validation is not None
    return metrics.validation.accuracy


@dataclass(frozen=True, kw_only=True)
class _Case:
    recipe: str
    overrides: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.recipe} {' '.join(self.overrides)}"


def held_out_by_seed(
    path: Path, recipe: str, variants: Mapping[str, tuple[str, ...]], seeds: Sequence[int]
) -> dict[str, list[float]]:
    """Return the held-out accuracy of each variant with each seed, measured on the workers of an engine.

    `ON`, a variable of the environment, names the engine as `--on` of `convsmith grid`; by default the cores
    of this machine. What a JSON file has already is not measured again.

    Args:
        path: The JSON file.
        recipe: The name of the recipe.
        variants: The overrides of each variant.
        seeds: Of each variant.
    """
    files.make_folder(path.parent)
    # Seed by seed, so that an interrupted benchmark has as many seeds of each as possible.
    cases = {
        (name, seed): _Case(recipe=recipe, overrides=(*fields, f"seed={seed}"))
        for seed in seeds
        for name, fields in variants.items()
    }
    done = reading.read_json(path) if path.is_file() else {}
    missing = [case for case in cases.values() if case.key not in done]
    with connect(Engine.parse(os.environ.get("ON", "loky")), path.parent) as pool:
        for case, accuracy in pool.run_all(_measure_held_out, missing):
            done[case.key] = accuracy
            files.write_json(path, done)
            print(f"{accuracy:.2%}  {case.key}", flush=True)
    return {name: [done[cases[name, seed].key] for seed in seeds] for name in variants}


def _measure_held_out(case: _Case) -> float:
    return held_out_accuracy(case.recipe, case.overrides)


def whole_training(session: TrainingSession) -> tuple[EpochMetrics, ...]:
    """Train the net of a recipe without writing any file."""
    started = with_start(session)
    session = started.session if started else session
    loaded = load_teacher(session.recipe, session.data)
    return session.fit(session.build_net(), teacher=loaded.teacher if loaded else None)


def table(rates: list[Rates], unit: str) -> str:
    """Return one row per candidate; ratios are to the first."""
    head = f"{'':<44} {unit:>12} {'range':>22} {'ratio to the first':>24}"
    rows = [
        f"{each.name:<44} {each.median:>12,.1f} {f'{min(each.values):,.1f} to {max(each.values):,.1f}':>22} "
        f"{each.ratio_to(rates[0]):>24}"
        for each in rates
    ]
    return "\n".join([head, *rows])


def machine() -> str:
    record = machine_record()
    return (
        f"{record['processor']}, {record['cores']} cores, {torch.get_num_threads()} threads, "
        f"{platform.system()}, Python {record['python']}, PyTorch {torch.__version__}"
    )
