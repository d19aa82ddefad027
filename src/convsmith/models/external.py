"""Weights that were trained elsewhere as a run: a folder like that of a training, without epochs."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convsmith.data.dataset import ImageDataset, Split
from convsmith.data.labels import canonical_name
from convsmith.errors import RecipeError
from convsmith.evaluation.assumptions import chance_note, input_note, order_note
from convsmith.models.arguments import ModelArguments
from convsmith.models.resolve import locate
from convsmith.models.run_model import RunModel
from convsmith.modules.access import CodeAccess
from convsmith.modules.architecture import architecture_of
from convsmith.modules.fitting import fit_weights
from convsmith.modules.instance import loaded_instance
from convsmith.modules.reference import parse_reference
from convsmith.modules.weights import Weights, read_state_dict
from convsmith.recipes.loader import from_table, load, load_data_config
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.runs.code import write_code
from convsmith.runs.evaluation import Evaluation, predict_test
from convsmith.runs.folder import RunFolder
from convsmith.runs.log import LogFile
from convsmith.runs.schema import DataRecord, Environment, WeightsRecord
from convsmith.system import folders, locks, paths, progress
from convsmith.system.rng import new_generator
from convsmith.text import in_line
from convsmith.training.metrics import compute_logits

# Of the training images, to check what is assumed about the weights.
_NUM_CHECKED, _CHECKED = 1000, 105
# Fields of [train] that have a meaning without a training.
_RUNTIME = ("train.device", "train.precision")
_MAX_NAME, _MAX_CLASSES, _MAX_LETTERS = 60, 10, 40


def external_recipe(arguments: ModelArguments, module: nn.Module | None = None) -> Recipe:
    """Return the recipe of a run whose weights come from a file, which has no training.

    Args:
        arguments: With weights from a file.
        module: An instance of the net, in place of the target.

    Raises:
        RecipeError: The target has weights of its own, the data are missing, or an override is invalid.
    """
    _check_overrides(arguments.overrides)
    table = _base(arguments) if module is None else _base_of_instance(module)
    if arguments.data is not None:
        table["data"] = load_data_config(arguments.data).model_dump(mode="json", exclude_none=True)
    elif "data" not in table:
        raise RecipeError(
            "the weights need the data that they were trained on: its classes, its size, its test images",
            where="--data",
            fix="name a data set or a folder, for example --data cifar10, in Python data='cifar10'",
        )
    device = table.get("train", {}).get("device", "auto")
    table["train"] = {"epochs": 0, "precision": "fp32", "device": device}
    table["description"] = f"Weights from {_file_name(str(arguments.weights))}, trained elsewhere"
    return from_table(table, arguments.overrides)


def _check_overrides(overrides: Sequence[str]) -> None:
    for each in overrides:
        key = each.partition("=")[0].strip()
        if key.partition(".")[0] in {"train", "augment"} and key not in _RUNTIME:
            raise RecipeError(
                "no effect: the weights are trained already",
                where=each,
                fix="leave it out; fields of data, model and brief have an effect",
            )


def _base(arguments: ModelArguments) -> dict[str, Any]:
    """Return the recipe's fields that the target determines."""
    target, named = arguments.target, locate(arguments.target, "recipe")
    if named.kind == "recipe":
        # The recipe may be incomplete without them.
        needed = [each for each in arguments.overrides if each.startswith(("model.", "data."))]
        table = load(named.text, needed).table()
        return {name: value for name, value in table.items() if name not in {"augment", "result"}}
    if named.kind == "module":
        return {"name": recipe_name(parse_reference(target).name), "model": {"module": target}}
    if named.kind == "notation":
        return {"name": "net", "model": {"net": target}}
    if named.kind != "zoo" and not paths.is_folder(Path(target)):
        fix = "name a recipe, a module such as model.py:Net, or a net in the notation"
        raise RecipeError("no such recipe, module or folder", where=target, fix=fix)
    kind = "model of the zoo" if named.kind == "zoo" else named.kind
    net = f"{target}/recipe.toml" if kind == "run" else "a recipe, model.py:Net or notation"
    raise RecipeError(
        f"this {kind} has weights of its own",
        where=target,
        fix=f"leave --weights out, or name the net alone: {net}",
    )


def _base_of_instance(module: nn.Module) -> dict[str, Any]:
    loaded = loaded_instance(module)
    return {"name": recipe_name(loaded.reference.name), "model": {"module": str(loaded.reference)}}


@contextlib.contextmanager
def external_run(
    arguments: ModelArguments, runs: Path, *, refresh: bool = False, module: nn.Module | None = None
) -> Iterator[tuple[RunFolder, Session]]:
    """Make a run folder of weights that were trained elsewhere; it is removed if the block fails.

    Args:
        arguments: With weights from a file.
        runs: The parent of the folder.
        refresh: Decode the images again, even if the cache has them.
        module: An instance of the net, in place of the target.

    Raises:
        RecipeError: As `external_recipe`.
        FileError: The weights cannot be read, or the folder cannot be written.
        ModuleError: The net cannot be loaded, or the weights do not fit it.
        DataError: The data set does not exist or cannot be read.
    """
    recipe = external_recipe(arguments, module)
    folders.check_destination(runs)
    weights = read_state_dict(str(arguments.weights))
    architecture = architecture_of(recipe.model, module)
    session = Session.load(
        recipe,
        architecture=architecture,
        load_weights=lambda net: fit_weights(net, weights),
        refresh=refresh,
    )
    net = session.build_net()
    fitted = fit_weights(net, weights)
    folders.check_destination(runs, session.space())
    with session.threads():
        record = _record(session, net, str(arguments.weights), weights, fitted)
        folder = RunFolder.create(runs, recipe.name)
        try:
            with locks.lock_folder(folder.path):
                _write(folder, session, net, record, is_instance=module is not None)
                yield folder, session
        except BaseException:
            shutil.rmtree(folder.path, ignore_errors=True)
            raise


@contextlib.contextmanager
def external_model(arguments: ModelArguments, prefix: str, parent: Path | None = None) -> Iterator[RunModel]:
    """Return weights that were trained elsewhere as a model, whose run folder lasts as long as the block.

    Args:
        arguments: With weights from a file.
        prefix: The first letters of the name of a temporary folder that it is in.
        parent: Of that folder; by default the one for temporary files.

    Raises:
        ConvsmithError: As `external_run`.
    """
    with (
        tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as runs,
        external_run(arguments, Path(runs)) as (folder, session),
    ):
        metrics = predict_test(folder, session)
        model = RunModel(folder.path, access=CodeAccess(trust=True), architecture=session.architecture)
        model.notes = evaluation_notes(folder.read(WeightsRecord), metrics.accuracy, len(model.labels))
        yield model


def evaluation_notes(record: WeightsRecord, accuracy: float, num_classes: int) -> tuple[str, ...]:
    """Return what a user should know about an evaluation of such weights, the most important first."""
    chance = chance_note(accuracy, num_classes)
    return *([chance] if chance else []), *sorted(
        record.notes, key=lambda note: not note.startswith("warning")
    )


def log_evaluation(folder: RunFolder, evaluation: Evaluation) -> None:
    """Write the metrics of an evaluation to the log, as a training does, with a warning near chance."""
    log = LogFile(folder)
    metrics = evaluation.metrics
    for line in (*evaluation.lines(), chance_note(metrics.accuracy, len(metrics.classes))):
        if line:
            log(line)


def _write(
    folder: RunFolder, session: Session, net: nn.Module, record: WeightsRecord, *, is_instance: bool
) -> None:
    folder.write_start(
        recipe=session.resolved_recipe,
        environment=Environment.current(),
        data=DataRecord.of(session.data, session.recipe.data),
        summary=session.summary(),
    )
    folder.write(record)
    write_code(folder, session.architecture, is_instance=is_instance)
    folder.write_weights(net)
    folder.write_metrics(())
    log = LogFile(folder)
    title = f"{record.title[:1].upper()}{record.title[1:]}, SHA-256 {record.sha256[:12]}"
    for line in session.describe(title, *(f"Note: {note}" for note in record.notes)):
        log(line)


def _record(
    session: Session, net: nn.Module, file: str, weights: Weights, fitted: Sequence[str]
) -> WeightsRecord:
    notes = [
        *weights.notes,
        *fitted,
        *_assumptions(session.recipe, session.data),
        _class_note(weights.class_names, session.data.class_names),
        *_checks(session, net),
    ]
    return WeightsRecord(
        file=_file_name(file), entry=weights.entry, sha256=weights.sha256, notes=tuple(notes)
    )


def _assumptions(recipe: Recipe, data: ImageDataset) -> Iterator[str]:
    """Say what is assumed about the images, since a file of weights does not hold it."""
    mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (data.mean, data.std))
    config = recipe.data
    if config.mean and config.std:
        yield f"images are normalised with the mean ({mean}) and the standard deviation ({std}), as named"
    else:
        named = {"data.mean": config.mean, "data.std": config.std}
        measured = " and ".join(name for name, value in named.items() if not value)
        yield (
            f"images are normalised with the mean ({mean}) and the standard deviation ({std}), as measured "
            f"on the training images; if the weights were trained with others, name {measured}"
        )
    if data.image_shape[0] == 3:
        yield "the channels are taken in the order red, green, blue"
    if data.test_is_split_off:
        yield (
            "convsmith split the test images off the data: the weights may have been trained on some of "
            "them, and the accuracy is then too high"
        )


def _class_note(theirs: Sequence[str], names: Sequence[str]) -> str:
    if not theirs:
        shown = [in_line(name)[:_MAX_LETTERS] for name in names[:_MAX_CLASSES]]
        listed = ", ".join([*shown, *(["..."] if len(names) > _MAX_CLASSES else [])])
        return f"the outputs are taken in the order of the data's classes: {listed}"
    if changed := _first_difference(theirs, names):
        return (
            f"warning: the classes in the file and in the data differ: {changed}; the outputs are taken in "
            "the order of the data's classes"
        )
    return "the classes in the file are those of the data, in the same order"


def _first_difference(theirs: Sequence[str], names: Sequence[str]) -> str:
    if len(theirs) != len(names):
        return f"{len(theirs):,} there, {len(names):,} here"
    for index, pair in enumerate(zip(theirs, names, strict=True)):
        their, own = (canonical_name(name) for name in pair)
        if their != own:
            return f"class {index} is {in_line(their)!r} there, {in_line(own)!r} here"
    return ""


def _checks(session: Session, net: nn.Module) -> list[str]:
    """Check the assumptions about images and classes on some training images."""
    train = session.data.train
    chosen = torch.randperm(len(train), generator=new_generator(session.recipe.seed, _CHECKED))[:_NUM_CHECKED]
    sample: Split = train.select(chosen.numpy())
    on_device = session.to_device(net)
    with progress.waiting("Checking the weights on training images"):
        logits = compute_logits(on_device, sample, session.normalizer, session.dtype)
        notes = [
            input_note(on_device, sample, session.normalizer, session.dtype),
            order_note(logits, sample.labels, session.data.class_names),
        ]
    return [note for note in notes if note]


def _file_name(file: str) -> str:
    """Return the name of a file and the choice in it, without the folder that it is in."""
    return Path(file).name


def recipe_name(name: str) -> str:
    """Return the name of a class as that of a recipe.

    Example:
        >>> recipe_name("Model_1"), recipe_name("Netz für Ziffern")
        ('Model_1', 'NetzfrZiffern')
    """
    return re.sub(r"[^A-Za-z0-9._-]+|^[._-]+", "", name)[:_MAX_NAME] or "net"
