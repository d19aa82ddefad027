"""A first recipe as TOML, with the reasons of its choices as comments."""

import math
import shlex
from typing import Any

import convsmith
from convsmith.data.checks.description import Description, balance_text
from convsmith.net.analysis import Analysis
from convsmith.recipes.fit import analyze_recipe
from convsmith.recipes.starter.schedule import learning_rate
from convsmith.recipes.starter.starter import FEWEST_IMAGES, FEWEST_OF_A_CLASS, Choices
from convsmith.recipes.starter.timing import machine
from convsmith.recipes.starter.toml import CommentedToml
from convsmith.text import format_duration, in_line, one_line, percent, plural


def recipe_text(choices: Choices) -> str:
    """Return the file."""
    toml = CommentedToml()
    analysis = analyze_recipe(choices.recipe(), choices.dataset.info, len(choices.dataset.train))
    _heading(toml, choices)
    _data(toml, choices)
    _model(toml, choices, analysis)
    _augment(toml, choices)
    _train(toml, choices)
    _brief(toml, choices, analysis)
    return toml.text()


def estimate(choices: Choices) -> str:
    """Return the estimated time of the training on this machine in words."""
    pace = choices.pace
    seconds = choices.epochs * pace.epoch
    busy = f"; other programs use the processor: without them 1/{pace.load:.2g} of it" if pace.is_busy else ""
    return (
        f"about {format_duration(seconds)} for {plural(choices.epochs, 'epoch')} of "
        f"{plural(pace.steps, 'step')}, {1000 * pace.step:,.0f} ms each, on this machine: {machine()}{busy}"
    )


def _heading(toml: CommentedToml, choices: Choices) -> None:
    data = choices.dataset
    splits = ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())
    toml.comment(
        f"A first recipe for {one_line(data.title)}: {splits} images, "
        f"{plural(len(data.class_names), 'class')}. Written by convsmith {convsmith.__version__} init."
    )
    budget = "1 minute" if choices.minutes == 1 else f"{choices.minutes:g} minutes"
    toml.comment(f"Time: {estimate(choices)}. The budget was {budget} (--minutes).")
    toml.comment("Save it as mine.toml, then: convsmith train mine.toml")


def _data(toml: CommentedToml, choices: Choices) -> None:
    config, description = choices.data, choices.description
    toml.table("data")
    if description.layout:
        toml.comment(f"Layout: {one_line(description.layout)}.")
    for note in description.verification.notes:
        toml.comment(f"Note: {one_line(note)}.")
    if description.balance:
        toml.comment(f"Classes: {balance_text(description.balance, len(choices.dataset.class_names))}.")
    table: dict[str, Any] = config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    for key in ("resize", "resize_policy", "validation", "skip_damaged"):
        table.pop(key, None)
    toml.values(table)
    if choices.resizing:
        toml.comment(f"Sizes: {choices.resizing.reason}.")
    if config.resize:
        toml.values({"resize": config.resize})
    if config.resize_policy:
        toml.comment('"pad" keeps the whole image and its aspect ratio; "crop" and "stretch" are others.')
        toml.values({"resize_policy": config.resize_policy})
    _validation(toml, choices)
    if config.skip_damaged:
        toml.comment(
            f"{plural(len(choices.dataset.dropped), 'image')} cannot be used; without this the training "
            f"stops. `convsmith data verify {shlex.quote(in_line(description.source))}` names them."
        )
        toml.values({"skip_damaged": True})


def _validation(toml: CommentedToml, choices: Choices) -> None:
    if choices.data.own_validation:
        toml.comment("The validation split of the source, for every choice; the test set selects nothing.")
    elif choices.data.validation:
        toml.comment("Held out of the training images, for every choice; the test set selects nothing.")
    else:
        toml.comment(why_no_validation(choices.description))
        toml.unused({"validation": 0.1})
        return
    toml.values({"validation": choices.data.validation})


def why_no_validation(description: Description) -> str:
    """Return why no images are held out: there are few, or few of one class."""
    balance = description.balance
    if balance is None or description.splits["train"] < FEWEST_IMAGES:
        return "Few images: none are held out for validation. With more, write for example 0.1."
    name, count = balance.smallest
    return (
        f"None are held out for validation: {one_line(name)!r} has {plural(count, 'image')} only. With "
        f"{FEWEST_OF_A_CLASS} or more of each class, or without that class, write for example 0.1."
    )


def _model(toml: CommentedToml, choices: Choices, analysis: Analysis) -> None:
    toml.table("model")
    _, height, width = choices.dataset.image_shape
    toml.comment(
        f"{plural(analysis.parameters, 'parameter')}, {analysis.known_macs / 1e6:.3g} million "
        f"multiply-accumulates an image; the receptive field is {analysis.receptive_field} of "
        f"{height}x{width} pixels. Each stage between / halves the map and doubles the channels. "
        "`convsmith summary mine.toml` shows every layer."
    )
    toml.values({"net": choices.net})


def _augment(toml: CommentedToml, choices: Choices) -> None:
    judged = choices.mirroring
    toml.lines.append("")
    said = f"{judged.reason[0].upper()}{judged.reason[1:]}."
    if judged.allowed and not judged.certain:
        said += " Assumed: a mirrored image is still one of its class. If not, remove the next table."
    elif not judged.allowed and not judged.certain:
        said += " Assumed: no. If a mirrored image is still one of its class, remove the # of the next lines."
    toml.comment(f"Flips: {said}")
    if not judged.allowed and not judged.certain:
        toml.lines.append("# [[augment.transforms]]")
        toml.unused({"name": "HorizontalFlip", "p": 0.5})
    for number, table in enumerate(choices.augment):
        if number == 0 and judged.allowed:
            toml.lines.append("[[augment.transforms]]")
        else:
            toml.table("augment.transforms", many=True)
        if table["name"] == "Cutout":
            toml.comment("For photos: a covered square makes the net use more than one part of an object.")
        toml.values(table)


def _train(toml: CommentedToml, choices: Choices) -> None:
    table = choices.train
    optimizer, schedule = table.pop("optimizer"), table.pop("schedule")
    toml.table("train")
    if choices.epochs < choices.pace.enough:
        toml.comment(
            f"The budget allows few epochs: {choices.pace.enough} or more are better; see --minutes and "
            "data.resize."
        )
    weights = table.pop("class_weights", None)
    selection = {key: table.pop(key) for key in choices.selection}
    toml.values(table)
    if selection:
        assert choices.dataset.validation is not None
        toml.comment(
            f"The epoch that is best on the {len(choices.dataset.validation):,} validation images is kept. "
            "Nothing stops early: one-cycle needs all its epochs, since the last ones have the lowest rates."
        )
        toml.values(selection)
    if weights:
        toml.comment("The classes are unbalanced: in the loss each counts the same, whatever its images.")
        toml.values({"class_weights": weights})
    toml.table("train.optimizer")
    test = choices.range_test
    if test is None:
        toml.comment("Not measured. `convsmith lr-find mine.toml` measures it.")
    elif test.suggestion is None:
        toml.comment("The range test found no falling loss, so this is the default.")
    else:
        toml.comment(
            f"By a range test of {plural(len(test.rates), 'step')}: the loss falls fastest at "
            f"{test.suggestion:.2g} and is lowest at {test.best:.2g}."
        )
    toml.values({**optimizer, "lr": learning_rate(test)})
    toml.table("train.schedule")
    toml.values(schedule)


def _brief(toml: CommentedToml, choices: Choices, analysis: Analysis) -> None:
    toml.table("brief")
    toml.comment("Requirements that `convsmith check mine.toml` and every training judge.")
    toml.values({"max_parameters": _rounded(analysis.parameters)})
    if balance := choices.description.balance:
        toml.comment(
            f"Always predicting {one_line(balance.largest[0])!r} is right for {percent(balance.majority, 1)} "
            "of the training images. This halves its errors, as a start: remove the # to use it."
        )
        toml.unused({"min_accuracy": round((1 + balance.majority) / 2, 2)})


def _rounded(count: int) -> int:
    """Return a count rounded up to two digits.

    >>> _rounded(41_234), _rounded(990)
    (42000, 990)
    """
    unit = int(10 ** max(math.floor(math.log10(max(count, 1))) - 1, 0))
    return -(-count // unit) * unit
