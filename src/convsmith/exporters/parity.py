"""Compare the outputs of an exported model with those of PyTorch, on real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convsmith.data.images.memory_mapped import Images
from convsmith.errors import ParityError, Problem
from convsmith.exporters.onnx_model import compute_logits
from convsmith.models.classifier import Classifier
from convsmith.system.progress import track
from convsmith.text import plural

if TYPE_CHECKING:
    import onnxruntime

# Relative to the largest logit. Other kernels sum in another order, which changes the sixth digit.
LOGIT_TOLERANCE = 1e-4
PROBABILITY_TOLERANCE = 1e-4
# Shares of the images: two classes with nearly equal logits may swap.
MIN_AGREEMENT, MIN_AGREEMENT_INT8 = 0.999, 0.95
# Shares of the test images.
MAX_ACCURACY_LOSS, MAX_ACCURACY_LOSS_INT8 = 0.0005, 0.01
BATCH_SIZE = 250


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How an exported model compares with PyTorch.

    Attributes:
        images: The number of images.
        difference: The largest difference of a logit.
        allowed: The limit of this difference; None for int8, which is compared by its predictions only.
        probability_difference: The largest difference of a probability.
        agreement: The share of images with the same prediction.
        accuracy: That of PyTorch, and that of the exported model; None without labels.
    """

    images: int
    difference: float
    allowed: float | None
    probability_difference: float
    agreement: float
    accuracy: tuple[float, float] | None

    def lines(self) -> list[str]:
        """Return the comparison as text."""
        limit = "" if self.allowed is None else f" (at most {self.allowed:.2g})"
        largest = f"{self.difference:.2g}{limit}, of a probability {self.probability_difference:.2g}"
        lines = [
            f"Compared on {plural(self.images, 'image')} with PyTorch: logits differ by at most {largest}",
            f"Same prediction for {100 * self.agreement:.2f} % of them",
        ]
        if self.accuracy:
            pytorch, exported = self.accuracy
            lines.append(f"Accuracy: PyTorch {100 * pytorch:.2f} %, ONNX {100 * exported:.2f} %")
        return lines


def compare(
    classifier: Classifier,
    runtime: "onnxruntime.InferenceSession",
    images: Images,
    names: Sequence[str],
    labels: NDArray[np.int64] | None = None,
    *,
    int8: bool = False,
) -> Parity:
    """Compare an exported model with PyTorch on each image.

    Args:
        classifier: The classifier in fp32.
        runtime: The exported model.
        images: `(N, H, W, C)` uint8.
        names: The names of the images.
        labels: `(N,)`; without them the accuracy is not compared.
        int8: Whether the model is quantized: its logits may differ, its predictions hardly.

    Raises:
        ParityError: The outputs differ by more than the tolerance; the error names the first such image.
    """
    # Batches of several sizes, 1 included: the file must accept any.
    starts = [0, 1, 3, *range(10, len(images), BATCH_SIZE), len(images)]
    ranges = [(a, b) for a, b in pairwise(starts) if min(b, len(images)) > a]
    parts = [
        compute_logits(runtime, np.asarray(images[a:b]))
        for a, b in track(ranges, "Comparing ONNX with PyTorch, batches", len(ranges))
    ]
    logits, probabilities = (np.concatenate(each)[: len(images)] for each in zip(*parts, strict=True))
    expected = classifier.logits(images)
    differences = np.abs(logits - expected).max(1)
    probability_differences = np.abs(probabilities - classifier.probabilities(expected)).max(1)
    disagrees = logits.argmax(1) != expected.argmax(1)
    parity = Parity(
        images=len(images),
        difference=float(differences.max()),
        allowed=None if int8 else LOGIT_TOLERANCE * max(1.0, float(np.abs(expected).max())),
        probability_difference=float(probability_differences.max()),
        agreement=float(1 - disagrees.mean()),
        accuracy=None
        if labels is None
        else (float((expected.argmax(1) == labels).mean()), float((logits.argmax(1) == labels).mean())),
    )
    if violations := _violations(parity, int8=int8):
        within = (differences <= (parity.allowed or 0.0)) & (probability_differences <= PROBABILITY_TOLERANCE)
        first = int((disagrees if int8 else ~within | disagrees).argmax())
        context = f"first at {names[first]}: logits {_row(logits[first])}, expected {_row(expected[first])}"
        raise ParityError.of(
            Problem(what=each, where="ONNX against PyTorch", context=context, fix="nothing was written")
            for each in violations
        )
    return parity


def _violations(parity: Parity, *, int8: bool) -> list[str]:
    """Return the violated tolerances; NaN violates each."""
    violations = []
    if parity.allowed is not None and not parity.difference <= parity.allowed:
        violations.append(
            f"a logit differs by {parity.difference:.3g}, expected at most {parity.allowed:.3g}"
        )
    if not int8 and not parity.probability_difference <= PROBABILITY_TOLERANCE:
        violations.append(
            f"a probability differs by {parity.probability_difference:.3g}, "
            f"expected at most {PROBABILITY_TOLERANCE:g}"
        )
    min_agreement = MIN_AGREEMENT_INT8 if int8 else MIN_AGREEMENT
    if not parity.agreement >= min_agreement:
        violations.append(
            f"the same prediction for {parity.agreement:.2%} of the images, expected {min_agreement:.2%}"
        )
    if parity.accuracy:
        pytorch, exported = parity.accuracy
        max_loss = MAX_ACCURACY_LOSS_INT8 if int8 else MAX_ACCURACY_LOSS
        if not abs(pytorch - exported) <= max_loss and (exported < pytorch or not int8):
            violations.append(
                f"accuracy {exported:.2%} instead of {pytorch:.2%}, expected within {max_loss:.2%}"
            )
    return violations


def _row(values: NDArray[np.float32]) -> str:
    text = ", ".join(f"{value:.4g}" for value in values[:10])
    return f"({text}{', ...' if len(values) > 10 else ''})"
