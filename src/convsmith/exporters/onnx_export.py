"""From what names a trained net to the content of an ONNX file that was compared with it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from convsmith.errors import BundleError
from convsmith.exporters import onnx_model
from convsmith.exporters.bundle import classifier_of, images_for
from convsmith.exporters.parity import Parity, compared
from convsmith.models import bundle
from convsmith.models.classifier import Classifier
from convsmith.models.zoo import find_bundle


def exported(text: str, *, int8: bool = False, images: Sequence[str] = ()) -> tuple[bytes, Parity]:
    """The content of an ONNX file, and how it compares with PyTorch.

    Args:
        text: A net of the zoo, a bundle's folder, or a run's.
        int8: Numbers of 8 bits, whose ranges are those of training images.
        images: Images to compare on; by default the test images of the net's data set.

    Raises:
        ParityError: The two differ.
        MissingExtraError: The extra `onnx` is not installed.
        BundleError: No such net; or its training images, which 8 bits need, are not known.
        DataError: Its data set cannot be found or read.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        onnx_model.need(package)
    classifier = exact_classifier(text)
    checked = images_for(text, classifier, images)
    model = onnx_model.to_onnx(classifier)
    if int8:
        calibration = checked.calibration
        if calibration is None:
            calibration = images_for(text, classifier).calibration
        if calibration is None:
            raise BundleError("8-bit numbers need training images", where=text, fix="leave --int8 out")
        model = onnx_model.to_int8(model, classifier, np.asarray(calibration))
    parity = compared(
        classifier,
        onnx_model.session(model),
        checked.images,
        checked.names,
        checked.labels,
        int8=int8,
    )
    return model, parity


def exact_classifier(text: str) -> Classifier:
    """The net on the CPU, in fp32."""
    folder = find_bundle(text)
    classifier = classifier_of(Path(text), "cpu") if folder is None else bundle.load(folder, "cpu")
    classifier.dtype = torch.float32
    return classifier
