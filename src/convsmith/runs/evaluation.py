"""Evaluate a run's weights: run inference once and save the predictions."""

import contextlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from convsmith.data.dataset import Split, image_ids
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.errors import ModuleError, ShapeError
from convsmith.evaluation import explanation, predictions, receptive_field
from convsmith.evaluation.calibration import fit_confidence
from convsmith.evaluation.confidence import Confidence
from convsmith.evaluation.metrics import Metrics, compute_metrics
from convsmith.evaluation.predictions import Indices, Predictions
from convsmith.evaluation.schema import PredictionCheck
from convsmith.recipes.session import Session
from convsmith.runs.folder import RunFolder
from convsmith.runs.inference import Inference, LocalInference
from convsmith.system import files
from convsmith.system.rng import new_generator
from convsmith.training.class_weights import class_counts
from convsmith.training.metrics import SplitMetrics, split_metrics

# Test images with explanations, and test images that the receptive field is measured on.
NUM_EXPLAINED, NUM_FIELD = 16, 128
_EXPLAINED = 104


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics on the training images; predictions for the test images, with their metrics.

    `prediction_check` compares `predict` with them; None if that was not done.
    """

    train: SplitMetrics
    predictions: Predictions
    metrics: Metrics
    prediction_check: PredictionCheck | None = None

    @cached_property
    def test(self) -> SplitMetrics:
        """Loss and accuracy on the test images."""
        logits, labels = self.predictions.logits, self.predictions.labels
        return split_metrics(torch.from_numpy(logits), torch.from_numpy(labels))

    def lines(self) -> list[str]:
        """Format the metrics as the last lines of a run's log."""
        return self.metrics.lines(self.train, self.test)


def load_net(folder: RunFolder, session: Session) -> tuple[nn.Module, Normalizer, torch.dtype]:
    """Return a run's trained net on its device, the normalization of its images, and its precision."""
    net = session.build_net()
    folder.load_weights(net)
    return session.to_device(net), session.normalizer, session.dtype


def evaluate_run(folder: RunFolder, session: Session, inference: Inference | None = None) -> Evaluation:
    """Run inference on the training and test images; save the test predictions and their explanations.

    Args:
        folder: Of the run.
        session: Of the run.
        inference: What computes the outputs for all images; by default this process.
    """
    net, normalize, _ = load_net(folder, session)
    inference = inference or LocalInference(net=net, session=session)
    train = inference.metrics("train")
    test, metrics = _predict(folder, session, inference)
    _write_explanations(folder, session, net, normalize, test)
    _write_receptive_field(folder, session, net)
    return Evaluation(train=train, predictions=test, metrics=metrics)


def predict_test(folder: RunFolder, session: Session) -> Metrics:
    """Run inference on the test images, and save what `predict` and exports need of an evaluation."""
    inference = LocalInference(net=load_net(folder, session)[0], session=session)
    return _predict(folder, session, inference)[1]


def _predict(folder: RunFolder, session: Session, inference: Inference) -> tuple[Predictions, Metrics]:
    """Save the predictions for the test images, with temperature and threshold."""
    data = session.data
    outputs = inference.outputs("test")
    test = Predictions(
        logits=outputs.logits.numpy(),
        labels=data.test.labels,
        ids=image_ids(data.test.images),
        features=None if outputs.features is None else outputs.features.numpy(),
    )
    predictions.write(test, folder.predictions)
    confidence = _fit_confidence(session, inference, test)
    folder.write(confidence)
    metrics = compute_metrics(
        test,
        data.class_names,
        confidence,
        config=session.recipe.train,
        train_counts=class_counts(data.train.labels, data.class_names),
        evaluated=data.evaluation_set,
    )
    return test, metrics


def read_confidence(folder: RunFolder) -> Confidence:
    """Read the temperature and the threshold of a run. Those of runs of version 0.1.0 fit the test images.

    Raises:
        RunError: The file is damaged, or the run has neither it nor predictions.
    """
    return folder.find(Confidence) or fit_confidence(predictions.read(folder.predictions), "test")


def _fit_confidence(session: Session, inference: Inference, test: Predictions) -> Confidence:
    """Fit temperature and threshold to the validation images; to the test images if there are none."""
    validation = session.data.validation
    if validation is None:
        return fit_confidence(test, "test")
    logits = inference.logits("validation").numpy()
    return fit_confidence(Predictions(logits=logits, labels=validation.labels), "validation")


def _write_explanations(
    folder: RunFolder, session: Session, net: nn.Module, normalize: Normalizer, test: Predictions
) -> None:
    split = session.data.test
    order = torch.randperm(len(split), generator=new_generator(session.recipe.seed, _EXPLAINED)).numpy()
    indices = explanation.choose_images(test, order, NUM_EXPLAINED)
    images = _images(split, indices, normalize)
    maps = explanation.explain(net, session.analysis, images, test, indices)
    explanation.write(maps, folder.explanation)


def _write_receptive_field(folder: RunFolder, session: Session, net: nn.Module) -> None:
    files.remove(folder.receptive_field)
    # There is no field if the net flattens the image itself, or if no gradient reaches the image.
    with contextlib.suppress(ShapeError, ModuleError):
        field = receptive_field.measure(
            net, session.analysis, session.data, seed=session.recipe.seed, num_images=NUM_FIELD
        )
        receptive_field.write(field, folder.receptive_field)


def _images(split: Split, indices: Indices, normalize: Normalizer) -> torch.Tensor:
    return next(normalized_batches(np.asarray(split.images[indices]), normalize, len(indices)))
