"""Export a trained model to ONNX, verified against PyTorch."""

import contextlib
import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from convsmith.errors import BundleError, ConvsmithError, ModuleError
from convsmith.exporters import onnx_model, reference_images
from convsmith.exporters.parity import Parity, compare
from convsmith.models.model import TrainedModel
from convsmith.modules.architecture import ModuleArchitecture
from convsmith.modules.limits import raising_place
from convsmith.system import progress
from convsmith.text import one_line

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def verified_onnx(
    model: TrainedModel, *, int8: bool = False, images: Sequence[str] = ()
) -> tuple[bytes, Parity]:
    """Return an ONNX file, and how it compares with PyTorch.

    Args:
        model: A model with trained weights.
        int8: Quantize to 8 bits, calibrated on training images.
        images: Images to compare on; by default the test images of the model's data set.

    Raises:
        ModuleError: The net cannot be converted, because its code branches on the values of tensors or uses
            an operation that ONNX does not have.
        ParityError: The outputs differ.
        MissingExtraError: The extra `onnx` is not installed.
        BundleError: The training images, which int8 needs, are not known.
        DataError: The data set cannot be found or read.
    """
    classifier = model.classifier("cpu", torch.float32)
    reference = (
        reference_images.from_files(images, classifier) if images else reference_images.from_dataset(model)
    )
    with progress.waiting("Converting to ONNX"), _converting(model, "converted to ONNX"):
        content = onnx_model.to_onnx(classifier)
    if int8:
        calibration = reference.calibration
        if calibration is None:
            calibration = reference_images.from_dataset(model).calibration
        if calibration is None:
            raise BundleError("8-bit numbers need training images", where=model.place, fix="leave --int8 out")
        with progress.waiting("Quantizing to 8 bits"), _converting(model, "quantized"):
            content = onnx_model.to_int8(content, classifier, np.asarray(calibration))
    with _converting(model, "run by ONNX Runtime"):
        runtime = onnx_model.session(content)
        parity = compare(classifier, runtime, reference.images, reference.names, reference.labels, int8=int8)
    return content, parity


@contextlib.contextmanager
def _converting(model: TrainedModel, action: str) -> Iterator[None]:
    """Turn the errors of PyTorch and ONNX into a ModuleError, with the line of the user's file."""
    try:
        yield
    except (ConvsmithError, OSError, MemoryError):
        raise
    # PyTorch and ONNX raise errors of any kind.
    except Exception as error:
        causes = list(_causes(error))
        architecture = model.architecture
        places = []
        if isinstance(architecture, ModuleArchitecture):
            places = [raising_place(each, architecture.loaded.locate) for each in causes]
        # Terminal colours, and advice for developers of PyTorch.
        line = next(iter(_COLOUR.sub("", str(causes[-1])).strip().splitlines()), "")
        what = f"{type(causes[-1]).__name__}: {one_line(line)}"
        fix = "write this part with other operations of PyTorch, or name another net"
        if any("DataDependent" in type(each).__name__ for each in causes):
            what = "its code branches on the values of tensors"
            fix = "decide by shapes or arguments, or compute both and choose with torch.where"
        raise ModuleError(
            f"the net cannot be {action}: {what}",
            where=next(filter(None, places), architecture.text),
            fix=f"{fix}; nothing was written",
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
