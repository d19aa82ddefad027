"""What the shipped nets give as PyTorch, ONNX and 8-bit ONNX: accuracy, size, and milliseconds on the CPU.

`python -m benchmarks shipping`. What was measured stays in `runs/shipping/found.json`; a second call goes on
from there, and measures anew what is removed from it. Latency is the median of rounds in which the three take
turns, each with as many threads as PyTorch has: of one image, and of 256. Sizes are those of the files: the
bundle's weights are fp16, ONNX has fp32.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import kept
from convsmith.exporters.onnx_model import logits_of, session, to_int8, to_onnx
from convsmith.exporters.reference_images import ReferenceImages, from_dataset
from convsmith.models.classifier import Classifier
from convsmith.models.resolve import resolve_trained
from convsmith.models.zoo import zoo_folder, zoo_names

FOUND = Path("runs") / "shipping" / "found.json"
COUNTS = {1: 200, 256: 20}
FORMS = ("PyTorch eager", "ONNX", "ONNX int8")
Ask = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def main() -> str:
    head = f"{'':<18} {'':<14} {'accuracy':>9} {'KiB':>7} {'1 image, ms':>22} {'256 images, ms':>24}"
    lines = [f"{torch.get_num_threads()} threads", head]
    for name in zoo_names():
        net = _Net(name)
        lines += [_row(name, form, net) for form in FORMS]
    return "\n".join(lines)


class _Net:
    """A net of the zoo in its three forms, each made when it is first asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.made: dict[str, Any] = {}

    def once(self, what: str, make: Callable[[], Any]) -> Any:
        if what not in self.made:
            self.made[what] = make()
        return self.made[what]

    @property
    def classifier(self) -> Classifier:
        found: Classifier = self.once("classifier", lambda: resolve_trained(self.name).classifier("cpu"))
        return found

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

    def ask(self, form: str) -> Ask:
        """From images to logits."""
        if form == "PyTorch eager":
            return lambda images: self.classifier.logits(images, len(images))
        running = self.once(f"{form} running", lambda: session(self.model(form), torch.get_num_threads()))
        return lambda images: logits_of(running, images)[0]

    def accuracy(self, form: str) -> float:
        images, labels, ask = self.reference.images, self.reference.labels, self.ask(form)
        starts = range(0, len(images), 250)
        right = [ask(np.asarray(images[at : at + 250])).argmax(1) for at in starts]
        return float((np.concatenate(right) == labels).mean())

    def kibibytes(self, form: str) -> float:
        if form == "PyTorch eager":
            return (zoo_folder(self.name) / "model.safetensors").stat().st_size / 1024
        return len(self.model(form)) / 1024

    def percentile(self, form: str, count: int, share: int) -> float:
        took = self.once(f"milliseconds {count}", lambda: self.milliseconds(count))
        return float(np.percentile(took[form], share))

    def milliseconds(self, count: int) -> dict[str, list[float]]:
        """Of each form, in turns, after a few that do not count."""
        images = np.asarray(self.reference.images[:count])
        asks = {form: self.ask(form) for form in FORMS}
        took: dict[str, list[float]] = {form: [] for form in FORMS}
        for number in range(COUNTS[count] + 5):
            for form, ask in asks.items():
                began = time.perf_counter()
                ask(images)
                if number >= 5:
                    took[form].append(1000 * (time.perf_counter() - began))
        return took


def _row(name: str, form: str, net: _Net) -> str:
    accuracy = kept(FOUND, f"{name} {form} accuracy", lambda: net.accuracy(form))
    size = kept(FOUND, f"{name} {form} KiB", lambda: net.kibibytes(form))
    cells = []
    for count in COUNTS:
        low, middle, high = (
            kept(
                FOUND, f"{name} {form} {count} images {share} %", partial(net.percentile, form, count, share)
            )
            for share in (5, 50, 95)
        )
        cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
    return f"{name:<18} {form:<14} {100 * accuracy:>7.2f} % {size:>7,.0f} {cells[0]:>22} {cells[1]:>24}"
