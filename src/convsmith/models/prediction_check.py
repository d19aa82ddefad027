"""Compare `predict` with the evaluation of a run, on some files of its test set."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np
import torch

from convsmith.data.dataset import image_ids
from convsmith.data.images.decode import Encoded, UnusableImageError
from convsmith.data.images.input_rule import InputRule, Pixels, read_pixels
from convsmith.data.raw import RawSplit
from convsmith.data.sources import read_source
from convsmith.errors import DataError, FileError
from convsmith.evaluation.predictions import Predictions
from convsmith.evaluation.schema import PredictionCheck
from convsmith.models.classifier import Classifier
from convsmith.models.run_model import RunModel
from convsmith.recipes.session import Session
from convsmith.runs.evaluation import Evaluation, load_net, read_confidence
from convsmith.runs.folder import RunFolder
from convsmith.runs.log import LogFile

NUM_FILES = 4
# Of a test set that was split off, so many more files are read that not finding one has a chance of e^-32.
_TRIES = 32
# Differences relative to the largest logit that batches of another size can cause.
_TOLERANCE = {torch.float32: 1e-3}
_COARSE_TOLERANCE = 0.05


def with_prediction_check(folder: RunFolder, session: Session, evaluation: Evaluation) -> Evaluation:
    """Return an evaluation with the result of the comparison; the log warns if they differ."""
    log = LogFile(folder)
    try:
        check = _check(folder, session, evaluation.predictions)
    except (DataError, FileError) as error:
        log(f"Note: predict was not compared with the evaluation: {error.problems[0].what}")
        return evaluation
    if check is not None and not check.agrees:
        log(check.line())
    return dataclasses.replace(evaluation, prediction_check=check)


def _check(folder: RunFolder, session: Session, saved: Predictions) -> PredictionCheck | None:
    """Predict some test files; None if the source has none at hand."""
    data, config = session.data, session.recipe.data
    source = data.source
    if source is None or source.kind == "hub" or saved.ids is None:
        return None
    raw = read_source(source, config)
    own = not data.test_is_split_off
    split = raw.splits["test" if own else "train"]
    share = 1 / data.fold.count if data.fold else config.test_fraction
    tries = _TRIES if own else math.ceil(_TRIES / share)
    model = RunModel(folder.path, architecture=session.architecture)
    places = {bytes(each): place for place, each in enumerate(saved.ids)}
    missing, found = 0, dict[int, Pixels]()
    for pixels in _pixels(_some(split, NUM_FILES if own else tries, tries), model.preprocessing.rule):
        place = places.get(bytes(image_ids(pixels[None])[0]))
        if place is not None:
            found[place] = pixels
        # Of images that are split by convsmith, most are in the training set.
        elif own:
            missing += 1
        if len(found) + missing >= NUM_FILES:
            break
    if not found:
        return PredictionCheck(files=0, missing=max(missing, 1), largest_difference=None, agrees=False)
    net, _, dtype = load_net(folder, session)
    classifier = Classifier(
        name=model.name,
        net=net,
        analysis=session.analysis,
        labels=model.labels,
        preprocessing=model.preprocessing,
        confidence=read_confidence(folder),
        device=session.device,
        dtype=dtype,
    )
    expected = saved.logits[list(found)]
    difference = float(np.abs(classifier.logits(np.stack(list(found.values()))) - expected).max())
    allowed = _TOLERANCE.get(dtype, _COARSE_TOLERANCE) * max(1.0, float(np.abs(expected).max()))
    return PredictionCheck(
        files=len(found),
        missing=missing,
        largest_difference=difference,
        agrees=difference <= allowed and not missing,
    )


def _some(split: RawSplit, spread: int, tries: int) -> Iterator[Encoded | UnusableImageError]:
    """Yield some images of a split: spread over it if they are files, else the first ones."""
    every = split.images
    if not isinstance(every, Sequence):
        return islice(every, tries)
    step = max(1, len(every) // spread)
    return islice(chain.from_iterable(every[start::step] for start in range(step)), tries)


def _pixels(images: Iterable[Encoded | UnusableImageError], rule: InputRule) -> Iterator[Pixels]:
    """Yield the pixels of the usable images."""
    for image in images:
        if not isinstance(image, UnusableImageError):
            try:
                yield read_pixels(image, rule)
            except UnusableImageError:
                continue
