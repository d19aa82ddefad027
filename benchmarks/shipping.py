"""The nets of the zoo as PyTorch, ONNX and int8 ONNX: accuracy, size, and milliseconds on the CPU.

`python -m benchmarks shipping`. Measurements are cached in `runs/shipping/results.json`; remove an
entry to measure it again. Latency, of one image and of 256, is the median of rounds in which the three take
turns, each with as many threads as PyTorch uses. Sizes are those of the files: the bundle's weights are fp16,
ONNX has fp32.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import cached
from convsmith.exporters.onnx_model import compute_logits, session, to_int8, to_onnx
from convsmith.exporters.reference_images import ReferenceImages, from_dataset
from convsmith.models.classifier import Classifier
from convsmith.models.resolve import resolve_trained
from convsmith.models.zoo import zoo_folder, zoo_names

RESULTS = Path("runs") / "shipping" / "results.json"
COUNTS = {1: 200, 256: 20}
FORMS = ("PyTorch eager", "ONNX", "ONNX int8")
Forward = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def main() -> str:
    head = f"{'':<18} {'':<14} {'accuracy':>9} {'KiB':>7} {'1 image, ms':>22} {'256 images, ms':>24}"
    lines = [f"{torch.get_num_threads()} threads", head]
    for name in zoo_names():
        net = _Net(name)
        lines += [_row(name, form, net) for form in FORMS]
    return "\n".join(lines)


class _Net:
    """A net of the zoo in its three forms, each built on first use."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cache: dict[str, Any] = {}

    def once(self, key: str, create: Callable[[], Any]) -> Any:
        if key not in self.cache:
            self.cache[key] = create()
        return self.cache[key]

    @property
    def classifier(self) -> Classifier:
        classifier: Classifier = self.once("classifier", lambda: resolve_trained(self.name).classifier("cpu"))
        return classifier

    @property
    def reference(self) -> ReferenceImages:
        reference: ReferenceImages = self.once("reference", lambda: from_dataset(resolve_trained(self.name)))
        return reference

    def model(self, form: str) -> bytes:
        plain: bytes = self.once("ONNX", lambda: to_onnx(self.classifier))
        if form == "ONNX":
            return plain
        calibration = np.asarray(self.reference.calibration)
        small: bytes = self.once(form, lambda: to_int8(plain, self.classifier, calibration))
        return small

    def forward(self, form: str) -> Forward:
        """Return the function from images to logits."""
        if form == "PyTorch eager":
            return lambda images: self.classifier.logits(images, len(images))
        running = self.once(f"{form} running", lambda: session(self.model(form), torch.get_num_threads()))
        return lambda images: compute_logits(running, images)[0]

    def accuracy(self, form: str) -> float:
        images, labels, forward = self.reference.images, self.reference.labels, self.forward(form)
        starts = range(0, len(images), 250)
        predictions = [forward(np.asarray(images[at : at + 250])).argmax(1) for at in starts]
        return float((np.concatenate(predictions) == labels).mean())

    def kibibytes(self, form: str) -> float:
        if form == "PyTorch eager":
            return (zoo_folder(self.name) / "model.safetensors").stat().st_size / 1024
        return len(self.model(form)) / 1024

    def percentile(self, form: str, count: int, share: int) -> float:
        times = self.once(f"milliseconds {count}", lambda: self.milliseconds(count))
        return float(np.percentile(times[form], share))

    def milliseconds(self, count: int) -> dict[str, list[float]]:
        """Return the times of each form, measured in turns, after a few warm-up rounds."""
        images = np.asarray(self.reference.images[:count])
        forwards = {form: self.forward(form) for form in FORMS}
        times: dict[str, list[float]] = {form: [] for form in FORMS}
        for number in range(COUNTS[count] + 5):
            for form, forward in forwards.items():
                began = time.perf_counter()
                forward(images)
                if number >= 5:
                    times[form].append(1000 * (time.perf_counter() - began))
        return times


def _row(name: str, form: str, net: _Net) -> str:
    accuracy = cached(RESULTS, f"{name} {form} accuracy", lambda: net.accuracy(form))
    size = cached(RESULTS, f"{name} {form} KiB", lambda: net.kibibytes(form))
    cells = []
    for count in COUNTS:
        low, middle, high = (
            cached(
                RESULTS,
                f"{name} {form} {count} images {share} %",
                partial(net.percentile, form, count, share),
            )
            for share in (5, 50, 95)
        )
        cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
    return f"{name:<18} {form:<14} {100 * accuracy:>7.2f} % {size:>7,.0f} {cells[0]:>22} {cells[1]:>24}"
