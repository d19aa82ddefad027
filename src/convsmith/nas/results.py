"""What a search has found, put together for a page, a table, JSON and recipes."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

from convsmith.evaluation.metrics import wilson_interval
from convsmith.nas.pareto import frontier
from convsmith.nas.settings import Settings
from convsmith.nas.study import Trial
from convsmith.nas.worker import TrialRunner
from convsmith.recipes.session import with_absolute_places
from convsmith.reports.search_page import SearchData, TrialRow, html, picture
from convsmith.reports.style import save
from convsmith.system import files
from convsmith.text import percent

# Recipes that are written, the most accurate of the frontier.
_MOST_RECIPES = 8


def facts_of(
    settings: Settings, bench: TrialRunner, trials: Sequence[Trial], notes: Sequence[str] = ()
) -> SearchData:
    """All that the page and the table say."""
    whole = [trial for trial in trials if trial.state == "complete"]
    points = [point for trial in whole if (point := trial.point(bench.held_out))]
    best = {point.number for point in frontier(points)}
    most = sorted(
        (point for point in points if point.number in best), key=lambda point: (-point.correct, point.number)
    )
    written = {point.number for point in most[:_MOST_RECIPES] if point.number}
    rows = tuple(_row(trial, settings, bench, best, written) for trial in trials)
    by_accuracy = [point.number for point in most if point.number in written]
    return SearchData(
        recipe=settings.recipe.name,
        brief=settings.brief_name,
        data=bench.data.identity,
        trained_on=len(bench.data.train),
        held_out=bench.held_out,
        epochs=settings.epochs,
        rungs=settings.rungs,
        factor=settings.factor,
        max_macs=bench.space.max_macs,
        seed=settings.seed,
        refused=sum(trial.refused for trial in trials),
        seconds=sum(trial.seconds for trial in trials),
        notes=tuple(notes),
        trials=rows,
        commands=tuple(
            (number, f"convsmith train {shlex.quote(str(bench.folder / _file(settings, number)))}")
            for number in by_accuracy
        ),
    )


def write(facts: SearchData, settings: Settings, bench: TrialRunner, trials: Sequence[Trial]) -> Path:
    """search.html, search.png, search.json and the best as recipes, into the study's folder.

    Returns:
        The page.
    """
    by_number = {trial.number: trial for trial in trials}
    for row in facts.trials:
        if row.recipe:
            files.make_folder((bench.folder / row.recipe).parent)
            files.write_text(
                bench.folder / row.recipe, _recipe_text(facts, settings, bench, by_number[row.number])
            )
    files.write_json(bench.folder / "search.json", record(facts))
    save(picture(facts), bench.folder / "search.png")
    page = bench.folder / "search.html"
    files.write_text(page, html(facts))
    return page


def record(facts: SearchData) -> dict[str, Any]:
    """All of it as plain tables, for programs."""
    told = asdict(facts)
    for trial in told["trials"]:
        interval = trial.pop("interval")
        trial["accuracy_95"] = None if interval is None else [interval["low"], interval["high"]]
    told["frontier"] = [row.number for row in facts.frontier]
    told["commands"] = [command for _, command in facts.commands]
    return told


def table(facts: SearchData) -> list[str]:
    """The frontier as lines of text, the starting point marked."""
    if not facts.frontier:
        return [f"No trial was trained for all {facts.epochs} epochs yet."]
    rows = list(facts.frontier)
    start = facts.start
    if start is not None and start.accuracy is not None and start not in rows:
        rows = sorted([start, *rows], key=lambda row: row.parameters)
    lines = [f"{'trial':>5}  {'accuracy':>8}  {'95 % interval':<16}  {'parameters':>10}  {'MACs':>12}  net"]
    for row in rows:
        interval = row.interval.text() if row.interval else ""
        mark = "  <- starting point" if row.number == 0 else ""
        lines.append(
            f"{row.number:>5}  {percent(row.accuracy):>8}  {interval:<16}  {row.parameters:>10,}  "
            f"{row.macs:>12,}  {row.net}{mark}"
        )
    return [*lines, *_verdict(facts)]


def _verdict(facts: SearchData) -> list[str]:
    """How the best that is no larger than the starting point compares with it."""
    start = facts.start
    if start is None or start.accuracy is None or start.state != "complete":
        return []
    rivals = [
        row
        for row in facts.trials
        if row.state == "complete" and row.number and row.parameters <= start.parameters
    ]
    if not rivals:
        return ["", "No other trial with at most as many parameters was trained whole."]
    best = max(rivals, key=lambda row: row.accuracy or 0.0)
    assert best.accuracy is not None
    points = 100 * (best.accuracy - start.accuracy)
    told = (
        f"With at most as many parameters as the starting point ({start.parameters:,}), trial {best.number} "
        f"is best: {percent(best.accuracy)}, {points:+.2f} points, {best.parameters:,} parameters"
    )
    return ["", told]


def _row(trial: Trial, settings: Settings, bench: TrialRunner, best: set[int], written: set[int]) -> TrialRow:
    point = trial.point(bench.held_out)
    return TrialRow(
        number=trial.number,
        parent=trial.candidate.parent,
        changes=trial.candidate.changes,
        net=trial.candidate.net,
        fields=dict(trial.candidate.fields),
        state="waits" if trial.state == "open" else trial.state,
        reason=trial.reason,
        epochs=point.epochs if point else 0,
        accuracy=point.accuracy if point else None,
        interval=wilson_interval(point.correct, point.total) if point else None,
        parameters=trial.parameters,
        macs=trial.macs,
        receptive_field=trial.receptive_field,
        best=trial.number in best,
        recipe=_file(settings, trial.number) if trial.number in written else "",
        seconds=trial.seconds,
    )


def _file(settings: Settings, number: int) -> str:
    return f"best/{_name(settings, number)}.toml"


def _name(settings: Settings, number: int) -> str:
    return f"{settings.recipe.name[:50]}-s{number}"


def _recipe_text(facts: SearchData, settings: Settings, bench: TrialRunner, trial: Trial) -> str:
    """A whole recipe: all training images, and as many epochs as the starting recipe has."""
    point = trial.point(facts.held_out)
    assert point is not None
    told = (
        f"Found by `convsmith search` from {facts.recipe}: {percent(point.accuracy)} of {facts.held_out:,} "
        f"held-out training images after {point.epochs} epochs, {trial.parameters:,} parameters"
    )
    recipe = bench.space.recipe_of(trial.candidate)
    changed = {"name": _name(settings, trial.number), "description": told, "result": ""}
    whole = recipe.model_copy(update={**changed, "data": settings.recipe.data})
    return tomli_w.dumps(with_absolute_places(whole).table())
