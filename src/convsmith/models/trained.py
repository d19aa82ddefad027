"""A trained net that others ask, from wherever it is kept: a run, a bundle, or the zoo."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, TrainingData
from convsmith.errors import RunError
from convsmith.evaluation.schema import Results
from convsmith.models import bundle
from convsmith.models.bundle_schema import Origin
from convsmith.models.zoo import find_bundle, zoo_name
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.module import build
from convsmith.recipes.schema import ModelConfig
from convsmith.runs.folder import WEIGHTS, RunFolder
from convsmith.runs.schema import FILES, DataRecord, TeacherRecord
from convsmith.system import reading


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A net, and what is known of it.

    Attributes:
        place: A name of the zoo, or the folder.
        model: It in the notation, with its settings.
        net: On the CPU, in evaluation mode, its parameters without gradients.
        labels: The names of its classes, in the order of the logits.
        image_shape: `(C, H, W)`.
        mean: Of the images that it learned from, per channel, of pixels scaled to 0..1; `std` likewise.
        accuracy: What it reached on its own test set, from 0 to 1.
        sha256: Of its weights and of all that decides what they compute.
        unseen: Which splits of the data that was asked about it surely did not learn from.
        notes: What a reader of its accuracy must know, if it was taught.
    """

    place: str
    model: ModelConfig
    net: nn.Module
    labels: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    accuracy: float
    sha256: str
    unseen: frozenset[str]
    notes: tuple[str, ...]


def teacher_notes(folder: RunFolder) -> tuple[str, ...]:
    """What a run's report says of who taught: a sentence, and what a reader of the accuracy must know.

    Nothing where nobody did.
    """
    record = folder.find(TeacherRecord)
    return () if record is None else (record.sentence, *record.notes)


def trained_net(text: str, data: TrainingData, config: DataConfig) -> TrainedModel:
    """The net that a text means; it is compared with its manifest before anything in it is used.

    Args:
        text: A name of the zoo, a bundle's folder, or a run's.
        data: Which splits of it are unseen is asked.
        config: The `[data]` table that the data are of.

    Raises:
        RunError: A run that is not finished, or a damaged one.
        BundleError: No such place, a damaged bundle, or one of another version.

    Example:
        >>> from convsmith.data.dataset import load
        >>> config = DataConfig(source="digits", test_fraction=0.3333)
        >>> found = trained_net("digits", load(config), config)
        >>> found.model.net, sorted(found.unseen)
        ('C16 C16 / C24:s2 C24 / G F10', ['test', 'validation'])
    """
    folder = find_bundle(text)
    if folder is not None:
        return _of_bundle(zoo_name(text) or str(folder), folder, data, config)
    return _of_run(RunFolder.open(Path(text)), data)


def _of_run(folder: RunFolder, student: TrainingData) -> TrainedModel:
    if not folder.is_finished:
        raise RunError(
            "its training is not finished, so that its weights cannot be verified",
            where=str(folder.path),
            fix=f"finish it: `convsmith resume {folder.path}`",
        )
    folder.verify(FILES[Results])
    model = folder.recipe().model
    record = folder.read(DataRecord)
    net = build(analyze_notation(model.net, record.image_shape, model).plan)
    folder.load_weights(net)
    test = folder.read(Results).test
    return TrainedModel(
        place=str(folder.path),
        model=model,
        net=net.eval().requires_grad_(requires_grad=False),
        labels=record.class_names,
        image_shape=record.image_shape,
        mean=record.mean,
        std=record.std,
        accuracy=test.correct / test.total,
        sha256=_digest(reading.sha256(folder.path / WEIGHTS), model, record.mean, record.std),
        unseen=frozenset(_unseen_by_run(record, student)),
        notes=teacher_notes(folder)[1:],
    )


def _unseen_by_run(record: DataRecord, student: TrainingData) -> Iterator[str]:
    """Those of the student's splits that the run held out too."""
    fingerprints = student.split_fingerprints()
    for name in ("validation", "test"):
        held_out = record.splits.get(name)
        if held_out is not None and held_out.fingerprint == fingerprints.get(name):
            yield name


def _of_bundle(place: str, folder: Path, data: TrainingData, config: DataConfig) -> TrainedModel:
    facts, classifier = bundle.read_facts(folder), bundle.load(folder)
    model = ModelConfig(**facts.spec.model_dump())
    mean, std = facts.preprocessing.mean, facts.preprocessing.std
    return TrainedModel(
        place=place,
        model=model,
        net=classifier.net,
        labels=facts.labels,
        image_shape=facts.preprocessing.shape,
        mean=mean,
        std=std,
        accuracy=facts.measured.accuracy,
        sha256=_digest(reading.sha256(folder / bundle.WEIGHTS), model, mean, std),
        unseen=frozenset(_unseen_by_bundle(facts.origin, data, config)),
        notes=facts.origin.taught[1:],
    )


def _unseen_by_bundle(origin: Origin, data: TrainingData, config: DataConfig) -> Iterator[str]:
    """A bundle does not list its splits, but how they were made: the test images first."""
    if origin.fingerprint != data.fingerprint:
        return
    theirs, own = ((each.split_seed, each.test_fraction, each.validation) for each in (origin.data, config))
    if theirs == own:
        yield "validation"
    # The test images that a data set brings along are nobody's to learn from.
    if theirs[:2] == own[:2] or (isinstance(data, ImageDataset) and not data.test_is_split_off):
        yield "test"


def _digest(weights: str, model: ModelConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """Where a net lies does not matter: what it computes does."""
    computed = {"model": model.model_dump(mode="json"), "statistics": (mean, std)}
    return hashlib.sha256(f"{weights} {json.dumps(computed, sort_keys=True)}".encode()).hexdigest()
