"""Whether an exported model answers as the net that it was made from, on real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convsmith.data.memory_mapped import Images
from convsmith.errors import ParityError, Problem
from convsmith.exporters.onnx_model import logits_of
from convsmith.models.classifier import Classifier

if TYPE_CHECKING:
    import onnxruntime

# Of the largest logit. Other kernels sum in another order; that moves the sixth digit.
LOGITS = 1e-4
PROBABILITIES = 1e-4
# Of the images: two near-equal classes may change places.
AGREEMENT = 0.999
# What exactness may cost, and what 8 bits may, as shares of the test images.
ACCURACY, ACCURACY_INT8 = 0.0005, 0.01
AGREEMENT_INT8 = 0.95
BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How an exported model compares with PyTorch.

    Attributes:
        difference: The largest of all logits; `allowed` is what it may be, None for 8-bit numbers, which are
            judged by their answers alone.
        probability_difference: The largest of all probabilities.
        agreement: The share of images that get the same class.
        accuracy: Of PyTorch, and of the exported model; None without labels.
    """

    images: int
    difference: float
    allowed: float | None
    probability_difference: float
    agreement: float
    accuracy: tuple[float, float] | None

    def lines(self) -> list[str]:
        """As text."""
        limit = "" if self.allowed is None else f" (at most {self.allowed:.2g})"
        largest = f"{self.difference:.2g}{limit}, of a probability {self.probability_difference:.2g}"
        told = [
            f"Compared with PyTorch on {self.images:,} images: largest difference of a logit {largest}",
            f"The same class for {100 * self.agreement:.2f} % of them",
        ]
        if self.accuracy:
            theirs, ours = self.accuracy
            told.append(f"Accuracy: PyTorch {100 * theirs:.2f} %, ONNX {100 * ours:.2f} %")
        return told


def compare(
    classifier: Classifier,
    running: "onnxruntime.InferenceSession",
    images: Images,
    names: Sequence[str],
    labels: NDArray[np.int64] | None = None,
    *,
    int8: bool = False,
) -> Parity:
    """Compare a model with PyTorch, image by image.

    Args:
        classifier: In fp32.
        running: The exported model.
        images: `(N, H, W, C)` uint8.
        names: Of the images.
        labels: `(N,)`; without them accuracy is not compared.
        int8: The model's numbers have 8 bits: its logits may differ, its answers hardly.

    Raises:
        ParityError: They differ by more than they may; the first image that does is named.
    """
    # In batches of several sizes, one among them: the file must take any number.
    starts = [0, 1, 3, *range(10, len(images), BATCH), len(images)]
    parts = [
        logits_of(running, np.asarray(images[a:b])) for a, b in pairwise(starts) if min(b, len(images)) > a
    ]
    logits, probabilities = (np.concatenate(each)[: len(images)] for each in zip(*parts, strict=True))
    wanted = classifier.logits(images)
    apart = np.abs(logits - wanted).max(1)
    apart_probability = np.abs(probabilities - classifier.probabilities(wanted)).max(1)
    other = logits.argmax(1) != wanted.argmax(1)
    parity = Parity(
        images=len(images),
        difference=float(apart.max()),
        allowed=None if int8 else LOGITS * max(1.0, float(np.abs(wanted).max())),
        probability_difference=float(apart_probability.max()),
        agreement=float(1 - other.mean()),
        accuracy=None
        if labels is None
        else (float((wanted.argmax(1) == labels).mean()), float((logits.argmax(1) == labels).mean())),
    )
    strange = (
        other
        if int8
        else ~((apart <= (parity.allowed or 0.0)) & (apart_probability <= PROBABILITIES)) | other
    )
    if found := _faults(parity, int8=int8):
        first = int(strange.argmax())
        where = f"first at {names[first]}: logits {_row(logits[first])}, expected {_row(wanted[first])}"
        raise ParityError.of(
            Problem(what=each, where="ONNX against PyTorch", context=where, fix="nothing was written")
            for each in found
        )
    return parity


def _faults(parity: Parity, *, int8: bool) -> list[str]:
    """What is out of bounds; comparisons are such that what is not a number is."""
    found = []
    if parity.allowed is not None and not parity.difference <= parity.allowed:
        found.append(f"a logit differs by {parity.difference:.3g}, expected at most {parity.allowed:.3g}")
    if not int8 and not parity.probability_difference <= PROBABILITIES:
        found.append(
            f"a probability differs by {parity.probability_difference:.3g}, "
            f"expected at most {PROBABILITIES:g}"
        )
    least = AGREEMENT_INT8 if int8 else AGREEMENT
    if not parity.agreement >= least:
        found.append(f"the same class for {parity.agreement:.2%} of the images, expected {least:.2%}")
    if parity.accuracy:
        theirs, ours = parity.accuracy
        most = ACCURACY_INT8 if int8 else ACCURACY
        if not abs(theirs - ours) <= most and (ours < theirs or not int8):
            found.append(f"accuracy {ours:.2%} instead of {theirs:.2%}, expected within {most:.2%}")
    return found


def _row(values: NDArray[np.float32]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:10])
    return f"({shown}{', ...' if len(values) > 10 else ''})"
