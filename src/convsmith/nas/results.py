"""The results of a search as a page, a table, JSON and recipes."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

from convsmith.evaluation.metrics import wilson_interval
from convsmith.models.teacher import with_absolute_paths
from convsmith.nas.pareto import pareto_front
from convsmith.nas.settings import SearchSettings
from convsmith.nas.study import Trial
from convsmith.nas.worker import TrialRunner
from convsmith.reports.page import save
from convsmith.reports.search_page import SearchData, TrialRow, draw_charts, html
from convsmith.system import files
from convsmith.text import percent, plural

# The number of recipes that are written, the most accurate ones of the Pareto front.
_MAX_RECIPES = 8


def summarize(
    settings: SearchSettings, runner: TrialRunner, trials: Sequence[Trial], notes: Sequence[str] = ()
) -> SearchData:
    """Collect the data of the page and the table."""
    complete = [trial for trial in trials if trial.state == "complete"]
    points = [point for trial in complete if (point := trial.point(runner.held_out))]
    front = {point.number for point in pareto_front(points)}
    by_accuracy = sorted(
        (point for point in points if point.number in front), key=lambda point: (-point.correct, point.number)
    )
    written = {point.number for point in by_accuracy[:_MAX_RECIPES] if point.number}
    rows = tuple(_row(trial, settings, runner, front, written) for trial in trials)
    return SearchData(
        recipe=settings.recipe.name,
        brief=settings.brief_name,
        data=runner.data.identity,
        trained_on=len(runner.data.train),
        held_out=runner.held_out,
        epochs=settings.epochs,
        rungs=settings.rungs,
        factor=settings.factor,
        max_macs=runner.space.max_macs,
        seed=settings.seed,
        refused=sum(trial.rejected for trial in trials),
        seconds=sum(trial.seconds for trial in trials),
        notes=tuple(notes),
        trials=rows,
        commands=tuple(
            (number, f"convsmith train {shlex.quote(str(runner.folder / _file(settings, number)))}")
            for number in [point.number for point in by_accuracy if point.number in written]
        ),
    )


def write_report(
    data: SearchData, settings: SearchSettings, runner: TrialRunner, trials: Sequence[Trial]
) -> Path:
    """Write search.html, its charts, search.json and the best recipes into the study's folder.

    Returns:
        The path of search.html.
    """
    by_number = {trial.number: trial for trial in trials}
    for row in data.trials:
        if row.recipe:
            files.make_folder((runner.folder / row.recipe).parent)
            files.write_text(
                runner.folder / row.recipe, _recipe_text(data, settings, runner, by_number[row.number])
            )
    files.write_json(runner.folder / "search.json", record(data))
    charts = draw_charts(data)
    save("Accuracy on held-out images", charts, runner.folder)
    page = runner.folder / "search.html"
    files.write_text(page, html(data, charts))
    return page


def record(data: SearchData) -> dict[str, Any]:
    """Return plain tables for JSON."""
    tables = asdict(data)
    for trial in tables["trials"]:
        interval = trial.pop("interval")
        trial["accuracy_95"] = None if interval is None else [interval["low"], interval["high"]]
    tables["frontier"] = [row.number for row in data.frontier]
    tables["commands"] = [command for _, command in data.commands]
    return tables


def table(data: SearchData) -> list[str]:
    """Format the Pareto front as lines of text, with the starting point marked."""
    if not data.frontier:
        return [f"No trial has been trained for {plural(data.epochs, 'epoch')} yet."]
    rows = list(data.frontier)
    start = data.start
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
    return [*lines, *_comparison(data)]


def _comparison(data: SearchData) -> list[str]:
    """Compare the starting point with the best net that is not larger."""
    start = data.start
    if start is None or start.accuracy is None or start.state != "complete":
        return []
    others = [
        row
        for row in data.trials
        if row.state == "complete" and row.number and row.parameters <= start.parameters
    ]
    if not others:
        return ["", "No other trial with at most as many parameters is complete."]
    best = max(others, key=lambda row: row.accuracy or 0.0)
    assert best.accuracy is not None
    points = 100 * (best.accuracy - start.accuracy)
    line = (
        f"With at most as many parameters as the starting point ({start.parameters:,}), trial {best.number} "
        f"is best: {percent(best.accuracy)}, {points:+.2f} points, {best.parameters:,} parameters"
    )
    return ["", line]


def _row(
    trial: Trial, settings: SearchSettings, runner: TrialRunner, front: set[int], written: set[int]
) -> TrialRow:
    point = trial.point(runner.held_out)
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
        best=trial.number in front,
        recipe=_file(settings, trial.number) if trial.number in written else "",
        seconds=trial.seconds,
    )


def _file(settings: SearchSettings, number: int) -> str:
    return f"best/{_name(settings, number)}.toml"


def _name(settings: SearchSettings, number: int) -> str:
    return f"{settings.recipe.name[:50]}-s{number}"


def _recipe_text(data: SearchData, settings: SearchSettings, runner: TrialRunner, trial: Trial) -> str:
    """Return the recipe of a complete training: all training images, all epochs of the starting recipe."""
    point = trial.point(data.held_out)
    assert point is not None
    description = (
        f"Found by `convsmith search` from {data.recipe}: {percent(point.accuracy)} of {data.held_out:,} "
        f"held-out training images after {plural(point.epochs, 'epoch')}, {trial.parameters:,} parameters"
    )
    recipe = runner.space.recipe_of(trial.candidate)
    changed = {"name": _name(settings, trial.number), "description": description, "result": ""}
    complete = recipe.model_copy(update={**changed, "data": settings.recipe.data})
    return tomli_w.dumps(with_absolute_paths(complete).table())
