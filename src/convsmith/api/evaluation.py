"""After training: the net is asked once, what it said is saved, and the report is made from that."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from convsmith.data.dataset import Split, image_ids
from convsmith.data.normalize import Normalizer, normalized
from convsmith.errors import ModuleError, ShapeError
from convsmith.evaluation import explanation, predictions, receptive_field
from convsmith.evaluation.predictions import Indices, Predictions
from convsmith.net.module import build
from convsmith.recipes.session import Session
from convsmith.reports.report import Result, metrics_for, report
from convsmith.reports.samples import sample_indices
from convsmith.runs.folder import RunFolder
from convsmith.system.device import choose_device, dtype_of
from convsmith.training.metrics import SplitMetrics, logits_of, outputs_of, score_of

NUM_EXPLAINED, NUM_FIELD = 16, 128
_EXPLAINED = 104


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a net said: its score on the training images, and all of it for the test images."""

    train: SplitMetrics
    test: Predictions


def finish(folder: RunFolder, prepared: Session, log: Callable[[str], None]) -> Result:
    """Evaluate the weights of a run's folder and write all that is made from them.

    Args:
        folder: Holds recipe, log, metrics and weights.
        prepared: The run's recipe with its data.
        log: Takes the closing lines.
    """
    return finished(folder, prepared, ask(folder, prepared), log)


def finished(folder: RunFolder, prepared: Session, asked: Evaluation, log: Callable[[str], None]) -> Result:
    """As `finish`, where the net was asked already."""
    facts = metrics_for(prepared, asked.test)
    test = score_of(torch.from_numpy(asked.test.logits), torch.from_numpy(asked.test.labels))
    for line in (asked.train.line("Train"), test.line("Test"), "", *(each.line() for each in facts.classes)):
        log(line)
    return report(folder, prepared, train=asked.train, predictions=asked.test, metrics=facts)


def loaded_net(folder: RunFolder, prepared: Session) -> tuple[nn.Module, Normalizer, torch.dtype]:
    """A run's net with its weights on its device, and what its images and outputs are to be."""
    device = choose_device(prepared.recipe.train.device)
    net = build(prepared.analysis.plan)
    folder.load_weights(net)
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    dtype = dtype_of(prepared.recipe.train.precision)
    return net, Normalizer.of(prepared.data, device), dtype


def ask(folder: RunFolder, prepared: Session) -> Evaluation:
    """Run the net over the plain images; what it says of the test images is saved, and explained."""
    data = prepared.data
    net, normalize, dtype = loaded_net(folder, prepared)
    train_logits = logits_of(net, data.train, normalize, dtype)
    outputs = outputs_of(net, data.test, normalize, dtype)
    found = Predictions(
        logits=outputs.logits.numpy(),
        labels=data.test.labels,
        ids=image_ids(data.test.images),
        features=None if outputs.features is None else outputs.features.numpy(),
    )
    predictions.write(found, folder.predictions)
    order = sample_indices(len(data.test), len(data.test), prepared.recipe.seed, _EXPLAINED)
    indices = explanation.chosen(found, order, NUM_EXPLAINED)
    maps = explanation.explain(
        net, prepared.analysis.plan, _images(data.test, indices, normalize), found, indices
    )
    explanation.write(maps, folder.explanation)
    # Not every net has one: it may flatten the image itself, or be dead in the middle.
    folder.field.unlink(missing_ok=True)
    with contextlib.suppress(ShapeError, ModuleError):
        field = receptive_field.measure(
            net, prepared.analysis, data, seed=prepared.recipe.seed, num_images=NUM_FIELD
        )
        receptive_field.write(field, folder.field)
    return Evaluation(train=score_of(train_logits, torch.from_numpy(data.train.labels)), test=found)


def _images(split: Split, indices: Indices, normalize: Normalizer) -> torch.Tensor:
    return next(normalized(np.asarray(split.images[indices]), normalize, len(indices)))
