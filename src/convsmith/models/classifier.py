"""The classifier: a trained net with its preprocessing, labels and calibrated confidence."""

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convsmith.data.images.decode import UnusableImageError
from convsmith.data.images.input_rule import Pixels, read_pixels
from convsmith.data.images.memory_mapped import Images
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.errors import BundleError, ImageError, Problem
from convsmith.evaluation.confidence import Confidence
from convsmith.models.bundle_schema import Preprocessing
from convsmith.models.image_blocks import ImageSource
from convsmith.models.image_inputs import ImageInput, image_sources
from convsmith.net.analysis import Analysis
from convsmith.system import progress
from convsmith.system.device import autocast, threads_for
from convsmith.system.memory_format import to_device
from convsmith.text import in_line, one_line

BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True, repr=False)
class Prediction:
    """The prediction for one image.

    Attributes:
        image: Its path or URL, `-`, or its index among the images.
        label: The class with the highest probability.
        confidence: The calibrated probability of this class, from 0 to 1.
        unsure: Whether the confidence is below the threshold: that of nearly all correct predictions, or that
            above which 95 % of the predictions are correct. The image may be of none of the classes.
        top: The most probable classes with their probabilities, in descending order, at most `top_k`.
    """

    image: str
    label: str
    confidence: float
    unsure: bool
    top: tuple[tuple[str, float], ...]

    def __repr__(self) -> str:
        """Return the classes with their probabilities, as in 'a.png: cat 90.0 %, dog 6.0 %'."""
        ranking = ", ".join(f"{one_line(label)} {100 * probability:.1f} %" for label, probability in self.top)
        return f"{in_line(self.image)}: {'unsure: ' if self.unsure else ''}{ranking}"

    def record(self) -> dict[str, Any]:
        """Return a table of plain values."""
        return {
            "image": self.image,
            "label": self.label,
            "confidence": self.confidence,
            "unsure": self.unsure,
            "top": [{"label": label, "probability": probability} for label, probability in self.top],
        }


@dataclass(frozen=True, kw_only=True)
class UnreadableImage:
    """An image that cannot be read, and the reason."""

    image: str
    reason: str

    def record(self) -> dict[str, Any]:
        """Return a table of plain values."""
        return {"image": self.image, "error": self.reason}


class Classifier:
    """A trained net, ready to predict.

    Attributes:
        name: The name of the bundle, or of the run's recipe.
        labels: The names of the classes, in the order of the logits.
        preprocessing: Size, channels, mean and standard deviation of the images.
        confidence: Temperature, and the low-confidence threshold.
        analysis: Of the net.
        net: The module, in evaluation mode.

    Example:
        >>> import convsmith as cs
        >>> digits = cs.load("digits")
        >>> image = np.zeros((8, 8, 1), dtype=np.uint8)
        >>> image[:, 3:5] = 255
        >>> digits.predict(image)[0].label
        '1'
    """

    def __init__(
        self,
        *,
        name: str,
        net: nn.Module,
        analysis: Analysis,
        labels: tuple[str, ...],
        preprocessing: Preprocessing,
        confidence: Confidence,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name, self.labels, self.analysis = name, labels, analysis
        self.preprocessing, self.confidence = preprocessing, confidence
        self.net = to_device(net, device)
        self.net.eval()
        self.dtype = dtype
        self.normalize = Normalizer.of(preprocessing, device)
        self.macs = analysis.known_macs

    @torch.inference_mode()
    def logits(self, images_NHWC: Images, batch_size: int = BATCH_SIZE) -> NDArray[np.float32]:  # noqa: N803
        """Compute the logits `(N, num_classes)` of images `(N, H, W, C)` uint8 of the net's size.

        On the same machine they are bit-identical to those of a run's evaluation. Only in batches of fewer
        than about 16 images, such as a last one, PyTorch rounds the logits of some nets differently.

        Raises:
            BundleError: A logit is not finite.
        """
        parts = []
        with threads_for(self.macs * batch_size):
            for batch in normalized_batches(images_NHWC, self.normalize, batch_size):
                # PyTorch computes a batch of one by other routines, which round differently.
                pair = batch.expand(2, -1, -1, -1) if len(batch) == 1 else batch
                pair = pair.contiguous(memory_format=torch.channels_last)
                with autocast(self.normalize.device, self.dtype):
                    parts.append(self.net(pair).float().cpu()[: len(batch)])
                progress.report("Computing predictions", sum(map(len, parts)), len(images_NHWC))
        logits: NDArray[np.float32] = torch.cat(parts).numpy()
        if not np.isfinite(logits).all():
            raise BundleError("the logits are not finite", where=self.name)
        return logits

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return calibrated probabilities `(N, num_classes)`: the softmax at the temperature."""
        scaled = torch.from_numpy(logits).double() / self.confidence.temperature
        probabilities: NDArray[np.float64] = torch.softmax(scaled, dim=1).numpy()
        return probabilities

    def predict(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        top_k: int = 3,
        batch_size: int = BATCH_SIZE,
        image_column: str | None = None,
    ) -> list[Prediction]:
        """Classify images.

        Args:
            images: One or several of: paths of files and folders, archives, parquet files, patterns, http(s)
                URLs, Pillow images, and uint8 arrays `(H, W)`, `(H, W, C)` or `(N, H, W, C)`, of any size.
            top_k: The number of classes to return with their probabilities, at least 1.
            batch_size: Images per forward pass, at least 1.
            image_column: Of parquet files; by default the only one with images.

        Returns:
            One prediction per image, in order.

        Raises:
            FileError: A path does not exist.
            ImageError: Images cannot be read, one problem for each; `stream` skips them.
        """
        results = list(self.stream(images, top_k=top_k, batch_size=batch_size, image_column=image_column))
        if unreadable := [each for each in results if isinstance(each, UnreadableImage)]:
            raise unreadable_error(unreadable)
        return [each for each in results if isinstance(each, Prediction)]

    def stream(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        top_k: int = 3,
        batch_size: int = BATCH_SIZE,
        image_column: str | None = None,
    ) -> Iterator[Prediction | UnreadableImage]:
        """Classify images lazily, with one batch in memory.

        As `predict`, but an image that cannot be read yields an `UnreadableImage`.
        """
        sources = image_sources(images, column=image_column)
        return self.classify(sources, top_k=top_k, batch_size=batch_size)

    def classify(
        self, sources: Iterable[ImageSource], *, top_k: int = 3, batch_size: int = BATCH_SIZE
    ) -> Iterator[Prediction | UnreadableImage]:
        """Classify the images of sources lazily; see `stream`."""
        if top_k < 1 or batch_size < 1:
            raise ImageError("top_k and batch_size are at least 1", where=f"{top_k=}, {batch_size=}")
        rest, done = iter(sources), 0
        while batch := list(islice(rest, batch_size)):
            yield from self._classify_batch(batch, top_k, batch_size)
            done += len(batch)
            progress.report("Classifying images", done, len(sources) if isinstance(sources, Sized) else 0)

    def _classify_batch(
        self, batch: list[ImageSource], top_k: int, batch_size: int
    ) -> Iterator[Prediction | UnreadableImage]:
        inputs = [(source.name, self.read(source)) for source in batch]
        pixels = [each for _, each in inputs if isinstance(each, np.ndarray)]
        rows = iter(self.probabilities(self.logits(np.stack(pixels), batch_size)) if pixels else ())
        for name, each in inputs:
            yield each if isinstance(each, UnreadableImage) else self._prediction(name, next(rows), top_k)

    def read(self, source: ImageSource) -> Pixels | UnreadableImage:
        """Read the net's input `(H, W, C)` uint8 from a source."""
        try:
            return read_pixels(source.read(), self.preprocessing.rule)
        except UnusableImageError as error:
            return UnreadableImage(image=source.name, reason=str(error))
        except OSError as error:
            return UnreadableImage(image=source.name, reason=error.strerror or str(error))

    def _prediction(self, name: str, probabilities: NDArray[np.float64], top_k: int) -> Prediction:
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        top = tuple((self.labels[index], float(probabilities[index])) for index in order)
        (label, confidence), *_ = top
        return Prediction(
            image=name,
            label=label,
            confidence=confidence,
            unsure=confidence < self.confidence.unsure_below,
            top=top,
        )


def unreadable_error(unreadable: Iterable[UnreadableImage]) -> ImageError:
    """Return one error with a problem for each image that cannot be read."""
    return ImageError.of(
        Problem(what=f"unreadable image: {each.reason}", where=each.image) for each in unreadable
    )
