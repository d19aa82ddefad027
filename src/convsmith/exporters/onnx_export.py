"""Export a trained model to ONNX, verified against PyTorch."""

from collections.abc import Sequence

import numpy as np
import torch

from convsmith.errors import BundleError
from convsmith.exporters import onnx_model, reference_images
from convsmith.exporters.parity import Parity, compare
from convsmith.models.model import TrainedModel
from convsmith.system import progress


def verified_onnx(
    model: TrainedModel, *, int8: bool = False, images: Sequence[str] = ()
) -> tuple[bytes, Parity]:
    """Return an ONNX file, and how it compares with PyTorch.

    Args:
        model: A model with trained weights.
        int8: Quantize to 8 bits, calibrated on training images.
        images: Images to compare on; by default the test images of the model's data set.

    Raises:
        ParityError: The outputs differ.
        MissingExtraError: The extra `onnx` is not installed.
        BundleError: The training images, which int8 needs, are not known.
        DataError: The data set cannot be found or read.
    """
    classifier = model.classifier("cpu", torch.float32)
    reference = (
        reference_images.from_files(images, classifier) if images else reference_images.from_dataset(model)
    )
    with progress.waiting("Converting to ONNX"):
        content = onnx_model.to_onnx(classifier)
    if int8:
        calibration = reference.calibration
        if calibration is None:
            calibration = reference_images.from_dataset(model).calibration
        if calibration is None:
            raise BundleError("8-bit numbers need training images", where=model.place, fix="leave --int8 out")
        with progress.waiting("Quantizing to 8 bits"):
            content = onnx_model.to_int8(content, classifier, np.asarray(calibration))
    runtime = onnx_model.session(content)
    return content, compare(
        classifier, runtime, reference.images, reference.names, reference.labels, int8=int8
    )
