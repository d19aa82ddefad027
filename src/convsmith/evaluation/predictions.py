"""The predictions for a split, and predictions.npz, the file that holds them.

All metrics and pages are computed from this file, without inference. It holds plain arrays, and nothing in it
is unpickled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convsmith.errors import FileError, RunError
from convsmith.system import files, paths, reading

Indices = NDArray[np.int64]
# The fix for a damaged file that an evaluation writes.
EVALUATE_AGAIN = "write it again by `convsmith evaluate` on the run's folder"
# Logits that are converted to float64 at once, few enough for a processor's cache.
_BLOCK_VALUES = 2**17


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The outputs for one split, in the order of the split.

    Attributes:
        logits: `(N, num_classes)` float32.
        labels: `(N,)` int64, each below `num_classes`.
        ids: `(N,)`, 16 hexadecimal digits of the pixels of each image; None in runs of older versions.
        features: `(N, F)` float16, the input of the last layer with weights, averaged over a map; None in
            runs of older versions, and for F above 2,048.

    What follows from the logits is computed once, in blocks of images. The arrays must not be modified.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.bytes_] | None = None
    features: NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return int(self.logits.shape[1])

    @cached_property
    def predicted(self) -> Indices:
        """The class of the largest logit, `(N,)`."""
        result: Indices = self.logits.argmax(1)
        return result

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the predicted class differs from the label, `(N,)`."""
        result: NDArray[np.bool_] = self.predicted != self.labels
        return result

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Softmax of the logits, `(N, num_classes)`; computed anew each time, since it can be large.

        In blocks in double precision, and rounded: it takes the memory of the logits.
        """
        result = np.empty(self.logits.shape, dtype=np.float32)
        for rows, scaled, log_sums in self._below_largest(1.0):
            result[rows] = np.exp(scaled - log_sums[:, None])
        return result

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class, `(N,)`."""
        return self.confidence_at(1.0)

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """The cross-entropy of each image in nats, `(N,)`."""
        return self.losses_at(1.0)

    def confidence_at(self, temperature: float) -> NDArray[np.float64]:
        """The probability of the predicted class with the logits divided by a temperature, `(N,)`."""
        parts = [np.exp(-log_sums) for _, _, log_sums in self._below_largest(temperature)]
        return np.concatenate(parts)

    def losses_at(self, temperature: float) -> NDArray[np.float64]:
        """The cross-entropy of each image in nats with the logits divided by a temperature, `(N,)`."""
        parts = [
            log_sums - scaled[np.arange(len(scaled)), self.labels[rows]]
            for rows, scaled, log_sums in self._below_largest(temperature)
        ]
        return np.concatenate(parts)

    def row_blocks(self) -> Iterator[slice]:
        """Yield slices of images whose logits are few enough to be converted at once."""
        size = max(_BLOCK_VALUES // self.num_classes, 1)
        for start in range(0, len(self), size):
            yield slice(start, start + size)

    def _below_largest(
        self, temperature: float
    ) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
        """Yield blocks of the logits minus the largest of each image, and the log of the sum of their powers.

        Both are those of the logits divided by the temperature.
        """
        for rows in self.row_blocks():
            scaled = self.logits[rows].astype(np.float64)
            scaled -= scaled.max(1, keepdims=True)
            scaled /= temperature
            yield rows, scaled, np.log(np.exp(scaled).sum(1))


def write(predictions: Predictions, path: Path) -> None:
    """Write predictions as a compressed NumPy archive; equal predictions give equal bytes."""
    arrays = {
        "ids": predictions.ids,
        "labels": predictions.labels,
        "logits": predictions.logits,
        "features": predictions.features,
    }
    files.write_arrays(path, arrays)


def read(path: Path) -> Predictions:
    """Read predictions that this version or an older one wrote.

    Raises:
        RunError: The file is missing or damaged, or its arrays do not match.
    """
    if not paths.is_file(path):
        raise RunError("the run has no saved predictions", where=str(path), fix=EVALUATE_AGAIN)
    try:
        arrays = reading.read_arrays(path)
        predictions = Predictions(
            logits=arrays["logits"],
            labels=arrays["labels"],
            ids=arrays.get("ids"),
            features=arrays.get("features"),
        )
        _check(predictions)
    except (FileError, ValueError, KeyError) as error:
        raise RunError(f"damaged: {_first_line(error)}", where=str(path), fix=EVALUATE_AGAIN) from error
    return predictions


def _check(predictions: Predictions) -> None:
    logits, labels = predictions.logits, predictions.labels
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not match")
    if logits.dtype not in {np.dtype(np.float16), np.dtype(np.float32)} or labels.dtype.kind != "i":
        raise ValueError(f"logits are {logits.dtype} and labels {labels.dtype}, expected float32 and int64")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, expected 0 to {logits.shape[1] - 1}")
    if not all(np.isfinite(logits[rows]).all() for rows in predictions.row_blocks()):
        raise ValueError("some logits are not finite")
    for name, array in (("ids", predictions.ids), ("features", predictions.features)):
        if array is not None and len(array) != len(labels):
            raise ValueError(f"{len(array)} {name} for {len(labels)} labels")


def _first_line(error: Exception) -> str:
    return error.problems[0].what if isinstance(error, FileError) else str(error)
