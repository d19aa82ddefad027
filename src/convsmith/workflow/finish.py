"""After training: the net is asked once, what it said is saved, and the report is made from that."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from convsmith import runtime
from convsmith.arch.build import build
from convsmith.data.images import Split, image_ids
from convsmith.data.normalize import Normalizer, normalized
from convsmith.errors import ModuleError, ShapeError
from convsmith.evaluation import explain, predictions
from convsmith.evaluation.predictions import Indices, Predictions
from convsmith.training.run import RunFolder
from convsmith.training.score import Score, logits_of, outputs_of, score_of
from convsmith.workflow import effective
from convsmith.workflow.prepare import Prepared
from convsmith.workflow.report import Result, facts_for, report
from convsmith.workflow.samples import draw_some

NUM_EXPLAINED, NUM_FIELD = 16, 128
_EXPLAINED = 104


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a net said: its score on the training images, and all of it for the test images."""

    train: Score
    test: Predictions


def finish(folder: RunFolder, prepared: Prepared, log: Callable[[str], None]) -> Result:
    """Evaluate the weights of a run's folder and write all that is made from them.

    Args:
        folder: Holds recipe, log, metrics and weights.
        prepared: The run's recipe with its data.
        log: Takes the closing lines.
    """
    return finished(folder, prepared, ask(folder, prepared), log)


def finished(folder: RunFolder, prepared: Prepared, asked: Asked, log: Callable[[str], None]) -> Result:
    """As `finish`, where the net was asked already."""
    facts = facts_for(prepared, asked.test)
    test = score_of(torch.from_numpy(asked.test.logits), torch.from_numpy(asked.test.labels))
    for line in (asked.train.line("Train"), test.line("Test"), "", *(each.line() for each in facts.classes)):
        log(line)
    return report(folder, prepared, train=asked.train, found=asked.test, facts=facts)


def loaded_net(folder: RunFolder, prepared: Prepared) -> tuple[nn.Module, Normalizer, torch.dtype]:
    """A run's net with its weights on its device, and what its images and outputs are to be."""
    device = runtime.choose_device(prepared.recipe.train.device)
    net = build(prepared.analysis.plan)
    folder.load_weights(net)
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    dtype = runtime.dtype_of(prepared.recipe.train.precision)
    return net, Normalizer.of(prepared.data, device), dtype


def ask(folder: RunFolder, prepared: Prepared) -> Asked:
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
    order = draw_some(len(data.test), len(data.test), prepared.recipe.seed, _EXPLAINED)
    indices = explain.chosen(found, order, NUM_EXPLAINED)
    explanation = explain.explain(
        net, prepared.analysis.plan, _images(data.test, indices, normalize), found, indices
    )
    explain.write(explanation, folder.explanation)
    # Not every net has one: it may flatten the image itself, or be dead in the middle.
    folder.field.unlink(missing_ok=True)
    with contextlib.suppress(ShapeError, ModuleError):
        effective.write(effective.field_of(net, prepared, NUM_FIELD), folder.field)
    return Asked(train=score_of(train_logits, torch.from_numpy(data.train.labels)), test=found)


def _images(split: Split, indices: Indices, normalize: Normalizer) -> torch.Tensor:
    return next(normalized(np.asarray(split.images[indices]), normalize, len(indices)))
