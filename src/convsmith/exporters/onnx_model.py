"""Convert a classifier to ONNX: one file that takes raw pixels.

The input `images` is uint8 `(N, H, W, C)` with any N, as image decoders return it; normalisation is part of
the graph. The outputs are `logits` and calibrated `probabilities`, float32 `(N, num_classes)` each. The
metadata of the file holds labels, temperature, threshold, and the rule by which images become its input.
"""

import contextlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import convsmith
from convsmith.data.images.input_rule import POLICIES
from convsmith.errors import MissingExtraError, ModuleError
from convsmith.models.classifier import Classifier
from convsmith.text import one_line, plural
from convsmith.tracing.copies import copy_module

if TYPE_CHECKING:
    import onnxruntime

INPUT, OUTPUTS = "images", ("logits", "probabilities")
OPSET = 20
# The operations with nearly all of the work; normalisation and softmax stay in fp32.
_QUANTIZED = ["Conv", "Gemm", "MatMul", "Relu", "Add", "MaxPool", "AveragePool", "ReduceMean", "Reshape"]


class _Mean(nn.AdaptiveAvgPool2d):
    """Global average pooling as a mean; PyTorch exports its own layer as a chain of gathers."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - a module may name it
        return input.mean((-2, -1), keepdim=True)


class _PixelsToProbabilities(nn.Module):
    """Compute logits and probabilities from pixels."""

    factor: Tensor
    offset: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.net = copy_module(classifier.net).cpu()
        for name, module in list(self.net.named_modules()):
            if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in {1, (1, 1)}:
                self.net.set_submodule(name, _Mean(1).eval())
        self.temperature = classifier.confidence.temperature
        mean, std = (values.cpu() for values in (classifier.normalize.mean, classifier.normalize.std))
        self.register_buffer("factor", 1 / (255 * std))
        self.register_buffer("offset", mean / std)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.permute(0, 3, 1, 2).float()
        logits = self.net(pixels * self.factor - self.offset)
        return logits, torch.softmax(logits / self.temperature, dim=1)


def require_packages(*names: str) -> None:
    """Raise MissingExtraError if a package of the extra `onnx` is not installed; all of them by default."""
    from importlib.util import find_spec

    for name in names or ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise MissingExtraError(
                f"ONNX needs {name}, which is not installed",
                where="--onnx",
                fix="pip install 'convsmith[onnx]'",
            )


def to_onnx(classifier: Classifier) -> bytes:
    """Return a classifier as an ONNX file in fp32.

    Raises:
        MissingExtraError: The extra `onnx` is not installed.
        ModuleError: The net computes with one number of images only. PyTorch raises errors of its own for
            nets that it cannot convert.
    """
    require_packages()
    shape = classifier.preprocessing
    example = torch.zeros((2, shape.height, shape.width, shape.channels), dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            _PixelsToProbabilities(classifier).eval(),
            (example,),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    assert program is not None
    batch = program.model_proto.graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.dim_param:
        raise ModuleError(
            f"its code makes the file take {plural(batch.dim_value, 'image')} at once, expected any number",
            where=classifier.name,
            fix="compute with the whole batch: no loop over the images, and no decision by their number",
        )
    return _serialized(program.model_proto, metadata(classifier))


def metadata(classifier: Classifier, numbers: str = "fp32") -> dict[str, str]:
    """Return the metadata of the file; values are JSON or text."""
    shape, confidence = classifier.preprocessing, classifier.confidence
    rule = shape.rule
    return {
        "name": one_line(classifier.name),
        "producer": f"convsmith {convsmith.__version__}",
        "numbers": numbers,
        "labels": json.dumps(classifier.labels),
        "input": f"uint8 (N, {shape.height}, {shape.width}, {shape.channels}), "
        + ("RGB" if shape.channels == 3 else "grey"),
        "normalisation": "in the graph: (pixels / 255 - mean) / std",
        "mean": json.dumps(shape.mean),
        "std": json.dumps(shape.std),
        "resize_policy": rule.resize_policy,
        "background": json.dumps(rule.background),
        "preprocessing": "EXIF orientation applied; 8 bits a channel, the high byte of 16 bits; converted to "
        "RGB or grey (0.299 R + 0.587 G + 0.114 B); composited over the background; of other sizes, "
        f"{POLICIES[rule.resize_policy]}, with Pillow's Lanczos filter",
        "temperature": json.dumps(confidence.temperature),
        "unsure_below": json.dumps(confidence.unsure_below),
    }


def to_int8(model: bytes, classifier: Classifier, images_NHWC: NDArray[np.uint8]) -> bytes:  # noqa: N803
    """Quantize a model to 8 bits, weights and activations, calibrated on training images.

    Static quantisation in the QDQ format, with one scale per channel for weights.

    Args:
        model: From `to_onnx`.
        classifier: The classifier of the model, for the metadata.
        images_NHWC: Some hundred training images `(N, H, W, C)`.
    """
    require_packages("onnxruntime")
    import onnx
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="convsmith-") as scratch, _quiet():
        source, simplified, quantized = (
            Path(scratch) / f"{name}.onnx" for name in ("source", "simplified", "int8")
        )
        source.write_bytes(model)
        quant_pre_process(str(source), str(simplified), skip_symbolic_shape=True)
        q.quantize_static(
            str(simplified),
            str(quantized),
            _reader(images_NHWC),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            op_types_to_quantize=_QUANTIZED,
            calibrate_method=q.CalibrationMethod.MinMax,
        )
        return _serialized(onnx.load(quantized), metadata(classifier, "int8"))


def _reader(images_NHWC: NDArray[np.uint8], batch_size: int = 64) -> Any:  # noqa: N803
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            starts = range(0, len(images_NHWC), batch_size)
            self.batches = iter([images_NHWC[start : start + batch_size] for start in starts])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    return Reader()


def _serialized(model: Any, metadata: Mapping[str, str]) -> bytes:
    """Return a model as bytes with its metadata, without debug information, which names local files."""
    import onnx

    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def session(model: bytes, threads: int = 0) -> "onnxruntime.InferenceSession":
    """Return a session on the CPU; with `threads` 0, onnxruntime chooses their number."""
    require_packages("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def compute_logits(
    runtime: "onnxruntime.InferenceSession",
    images_NHWC: NDArray[np.uint8],  # noqa: N803
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits and probabilities `(N, num_classes)` of images `(N, H, W, C)`."""
    logits, probabilities = runtime.run(list(OUTPUTS), {INPUT: images_NHWC})
    return logits, probabilities


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of the exporters that are not for users."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root", "")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
