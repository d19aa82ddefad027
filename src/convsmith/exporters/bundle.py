"""Write the bundle of a run: weights in fp16 if that costs no accuracy, metrics, calibration, card, code."""

from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from pydantic import ValidationError
from torch import Tensor

import convsmith
from convsmith.data.dataset import Split
from convsmith.errors import RunError
from convsmith.evaluation import predictions
from convsmith.evaluation.imbalance import ClassBalance, is_imbalanced
from convsmith.evaluation.predictions import Predictions
from convsmith.exporters.card import card
from convsmith.models import bundle
from convsmith.models.bundle_model import BundleModel
from convsmith.models.bundle_schema import (
    MAX_LABEL,
    MAX_NOTES,
    BundleMetadata,
    ModuleSpec,
    Origin,
    Spec,
    Weights,
    WeightsFile,
)
from convsmith.models.bundle_weights import Format, in_format, serialize
from convsmith.models.classifier import Classifier
from convsmith.models.confidence import compute_test_metrics
from convsmith.models.model import TrainedModel
from convsmith.models.run_model import RunModel, start_notes
from convsmith.modules.architecture import Architecture, ModuleArchitecture
from convsmith.recipes.loader import load as load_recipe
from convsmith.recipes.loader import recipe_names
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.runs.code import read_code
from convsmith.runs.folder import EVALUATION
from convsmith.runs.kept import kept_weights
from convsmith.runs.schema import CodeRecord, Environment, WeightsRecord
from convsmith.text import percent
from convsmith.tracing.copies import copy_module
from convsmith.training.metrics import EVALUATION_BATCH

# Weights are stored in fp16 if that costs less than this share of the test images.
MAX_FP16_LOSS = 0.0005
# Of a run that was evaluated in bf16 and is predicted in fp32.
_MIN_AGREEMENT = 0.99


def bundle_contents(model: TrainedModel) -> dict[str, bytes]:
    """Return the files of a model's bundle; the metrics are those of the weights in the bundle.

    Raises:
        RunError: The run is damaged or was not evaluated, its data set has changed, or its net was an
            instance that its code does not make again.
        DataError: The data set cannot be found or read.
    """
    if isinstance(model, BundleModel):
        return bundle.with_manifest(model.bundle.contents)
    assert isinstance(model, RunModel), "the other kind of trained model"
    model.folder.verify(*EVALUATION)
    session = model.session()
    saved = predictions.read(model.folder.predictions)
    classifier = model.classifier("cpu", torch.float32)
    outputs = {name: _predict(classifier, name, session.data.test) for name in _FORMATS}
    agreement = {name: float((each.predicted == saved.predicted).mean()) for name, each in outputs.items()}
    _check_instance(model, agreement["fp32"])
    correct = {name: int((~each.wrong).sum()) for name, each in outputs.items()}
    keeps_fp16 = correct["fp32"] - correct["fp16"] < MAX_FP16_LOSS * len(saved)
    weights_format: Format = "fp16" if keeps_fp16 else "fp32"
    recipe = session.recipe
    metadata = _checked(
        model.place,
        name=recipe.name,
        description=recipe.description,
        labels=model.labels,
        **_net(model.architecture),
        preprocessing=model.preprocessing,
        confidence=model.confidence,
        weights=Weights(
            format=weights_format,
            correct_fp32=correct["fp32"],
            correct_fp16=correct["fp16"],
            agreement=agreement[weights_format],
        ),
        measured=compute_test_metrics(outputs[weights_format], model.labels, model.confidence),
        origin=_origin(model, session),
    )
    page = card(metadata, classifier.analysis, is_library_recipe=_is_library_recipe(recipe))
    weights = serialize(classifier.net.state_dict(), weights_format)
    return bundle.contents_of(metadata, weights, page, read_code(model.folder))


_FORMATS: tuple[Format, ...] = ("fp32", "fp16")


def _net(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of the net, and the first format that has them."""
    if isinstance(architecture, ModuleArchitecture):
        config, package = architecture.recorded_config, architecture.loaded.package
        return {"format": 3, "spec": ModuleSpec(**config.model_dump(), package=package)}
    return {"spec": Spec(**architecture.config.model_dump())}


def _check_instance(model: RunModel, agreement: float) -> None:
    """Raise RunError if the code of a run makes another net than the instance that was trained."""
    record = model.folder.find(CodeRecord)
    if record is not None and record.is_instance and agreement < _MIN_AGREEMENT:
        raise RunError(
            f"it was trained with an instance, and its code makes another net: the same prediction for "
            f"{percent(agreement)} of the test images",
            where=model.place,
            fix="write the class with its arguments in a recipe, model.module='model.py:Net(width=32)', and "
            "train again",
        )


def _checked(place: str, **fields: Any) -> BundleMetadata:
    """Raise RunError for what no bundle may hold, such as a label of 10,000 letters."""
    try:
        return BundleMetadata(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(
            f"cannot be a bundle: {where}: {first['msg'][:200]}",
            where=place,
            fix="train with other names or another size",
        ) from error


def _predict(classifier: Classifier, weights_format: Format, split: Split) -> Predictions:
    """Predict a split with weights in a format, in fp32 arithmetic."""
    weights = in_format(classifier.net.state_dict(), weights_format)
    trained = classifier.net.state_dict()
    if not all(_stays_finite(weights[name], tensor) for name, tensor in trained.items()):
        # Weights out of the range of fp16: every prediction counts as wrong.
        wrong = np.eye(len(classifier.labels), dtype=np.float32)[split.labels - 1]
        return Predictions(logits=wrong, labels=split.labels)
    net = copy_module(classifier.net)
    net.load_state_dict(weights)
    rounded = Classifier(
        name=classifier.name,
        net=net,
        analysis=classifier.analysis,
        labels=classifier.labels,
        preprocessing=classifier.preprocessing,
        confidence=classifier.confidence,
        device=torch.device("cpu"),
    )
    return Predictions(logits=rounded.logits(split.images, EVALUATION_BATCH), labels=split.labels)


def _stays_finite(rounded: Tensor, tensor: Tensor) -> bool:
    """Whether no value became infinite; a mask of a module may hold infinities from the beginning."""
    return bool((torch.isfinite(rounded) | ~torch.isfinite(tensor)).all())


def _origin(model: RunModel, session: Session) -> Origin:
    folder = model.folder
    recipe, environment = session.recipe, folder.read(Environment)
    rows, packages, cores = folder.metrics(), environment.packages, environment.cores
    # Absolute paths mean nothing on other machines, and are private.
    data = recipe.data.model_copy(update={"source": _public(recipe.data.source)})
    train = recipe.train
    if train.teacher is not None:
        train = train.model_copy(update={"teacher": _public(train.teacher)})
    if train.start_from is not None:
        train = train.model_copy(update={"start_from": _public(train.start_from)})
    # The recipe's result was measured on other runs.
    net = model.architecture.recorded_config
    table = recipe.model_copy(update={"data": data, "train": train, "model": net, "result": ""}).table()
    record = folder.find(WeightsRecord)
    notes = (*start_notes(folder), *model.resumption_notes) if record is None else record.notes
    if folder.best_epoch() is not None:
        notes = (*notes, kept_weights(folder).removesuffix("."))
    splits = model.data.splits
    if is_imbalanced(splits["train"].per_class):
        balance = ClassBalance.of(recipe.train, splits["train"].per_class, splits["test"].per_class)
        notes = (*notes, balance.prior_sentence(model.labels).removesuffix("."))
    return Origin(
        recipe=recipe.name,
        seed=recipe.seed,
        epochs=len(rows),
        seconds=round(sum(row.seconds for row in rows), 1),
        data=data,
        data_title=model.data.verified_title,
        fingerprint=model.data.fingerprint,
        train_images=len(session.data.train),
        convsmith=packages.get("convsmith", convsmith.__version__),
        torch=packages.get("torch", "?"),
        processor=f"{environment.processor}, {cores} core{'' if cores == 1 else 's'}",
        weights=None if record is None else _weights_file(record),
        taught=model.taught,
        notes=tuple(note[:MAX_LABEL] for note in notes[:MAX_NOTES]),
        recipe_toml=tomli_w.dumps(table),
    )


def _weights_file(record: WeightsRecord) -> WeightsFile:
    return WeightsFile(file=record.file[:MAX_LABEL], entry=record.entry[:MAX_LABEL], sha256=record.sha256)


def _public(source: str) -> str:
    return Path(source).name if Path(source).is_absolute() else source


def _is_library_recipe(recipe: Recipe) -> bool:
    """Whether the recipe is one that ships with convsmith, up to the seed and the precision."""
    if recipe.name not in recipe_names():
        return False
    shipped = load_recipe(recipe.name)
    texts = {"description": shipped.description, "result": shipped.result, "seed": shipped.seed}
    train = recipe.train.model_copy(update={"precision": shipped.train.precision})
    return recipe.model_copy(update={**texts, "train": train, "brief": shipped.brief}) == shipped
