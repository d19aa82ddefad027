"""A trained net as one uses it: images in, classes with calibrated probabilities out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convsmith.data.decode import UnusableImageError
from convsmith.data.memory_mapped import Images
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.errors import BundleError, ImageError, Problem
from convsmith.models.bundle_schema import Confidence, Preprocessing
from convsmith.models.image_inputs import Given, Item, items_of
from convsmith.models.preprocessing import Pixels
from convsmith.net.plan import Plan
from convsmith.system.device import autocast, threads_for

BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the net says of one image.

    Attributes:
        image: Its path or address, `-`, or its number among the images that were given.
        label: The likeliest class.
        confidence: Its calibrated probability, 0 to 1.
        unsure: Whether the confidence is lower than that of nearly all right answers; then the image may be
            of none of the classes.
        top: The likeliest classes with their probabilities, at most `top_k`, the likeliest first.
    """

    image: str
    label: str
    confidence: float
    unsure: bool
    top: tuple[tuple[str, float], ...]

    def record(self) -> dict[str, Any]:
        """As a plain table."""
        return {
            "image": self.image,
            "label": self.label,
            "confidence": self.confidence,
            "unsure": self.unsure,
            "top": [{"label": label, "probability": probability} for label, probability in self.top],
        }


@dataclass(frozen=True, kw_only=True)
class UnreadableImage:
    """An image that cannot be read, and why."""

    image: str
    reason: str

    def record(self) -> dict[str, Any]:
        """As a plain table."""
        return {"image": self.image, "error": self.reason}


class Classifier:
    """A net with all that its use needs.

    Attributes:
        name: Of the bundle, or of the run's recipe.
        labels: The names of the classes, in the order of the logits.
        preprocessing: Size, channels, mean and deviation of its images.
        confidence: Temperature, and the confidence below which an answer is unsure.
        plan: The net's, by which it can be built and counted.
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
        plan: Plan,
        labels: tuple[str, ...],
        preprocessing: Preprocessing,
        confidence: Confidence,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name, self.labels, self.plan = name, labels, plan
        self.preprocessing, self.confidence = preprocessing, confidence
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net.eval()
        self.dtype = dtype
        self.normalize = Normalizer.of(preprocessing, device)
        self.macs = sum(operation.macs for operation in plan.operations())

    @torch.inference_mode()
    def logits(self, images_NHWC: Images, batch_size: int = BATCH) -> NDArray[np.float32]:  # noqa: N803
        """The logits `(N, num_classes)` of images `(N, H, W, C)` uint8 of the net's size.

        They are those of a run's evaluation to the last bit, whatever the batches, on the same machine.

        Raises:
            BundleError: They are not finite.
        """
        parts = []
        with threads_for(self.macs * batch_size):
            for batch in normalized_batches(images_NHWC, self.normalize, batch_size):
                # One image alone goes through other routines, whose sums differ in the last bit.
                pair = batch.expand(2, -1, -1, -1) if len(batch) == 1 else batch
                pair = pair.contiguous(memory_format=torch.channels_last)
                with autocast(self.normalize.device, self.dtype):
                    parts.append(self.net(pair).float().cpu()[: len(batch)])
        found: NDArray[np.float32] = torch.cat(parts).numpy()
        if not np.isfinite(found).all():
            raise BundleError("the net's answers are no finite numbers", where=self.name)
        return found

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities `(N, num_classes)`: the softmax of the logits over the temperature."""
        scaled = torch.from_numpy(logits).double() / self.confidence.temperature
        found: NDArray[np.float64] = torch.softmax(scaled, dim=1).numpy()
        return found

    def predict(
        self, images: Given | Iterable[Given], *, top_k: int = 3, batch_size: int = BATCH
    ) -> list[Prediction]:
        """Classify images.

        Args:
            images: One or several of: paths of files and folders, patterns, http(s) addresses, Pillow images,
                and uint8 arrays `(H, W)`, `(H, W, C)` or `(N, H, W, C)`, of any size.
            top_k: How many of the likeliest classes to tell, at least 1.
            batch_size: Images that go through the net together, at least 1.

        Returns:
            One prediction an image, in their order.

        Raises:
            FileError: Nothing is at a path.
            ImageError: Naming all images that cannot be read; `stream` goes on beyond them.
        """
        every = list(self.stream(images, top_k=top_k, batch_size=batch_size))
        if unreadable := [each for each in every if isinstance(each, UnreadableImage)]:
            raise unreadable_error(unreadable)
        return [each for each in every if isinstance(each, Prediction)]

    def stream(
        self, images: Given | Iterable[Given], *, top_k: int = 3, batch_size: int = BATCH
    ) -> Iterator[Prediction | UnreadableImage]:
        """As `predict`, one by one, with one batch in memory; what cannot be read comes as `Unreadable`."""
        return self.answers(items_of(images), top_k=top_k, batch_size=batch_size)

    def answers(
        self, items: Iterable[Item], *, top_k: int = 3, batch_size: int = BATCH
    ) -> Iterator[Prediction | UnreadableImage]:
        """As `stream`, for images that were found already."""
        if top_k < 1 or batch_size < 1:
            raise ImageError("top_k and batch_size are at least 1", where=f"{top_k=}, {batch_size=}")
        rest = iter(items)
        while batch := list(islice(rest, batch_size)):
            yield from self._batch(batch, top_k, batch_size)

    def _batch(
        self, batch: list[Item], top_k: int, batch_size: int
    ) -> Iterator[Prediction | UnreadableImage]:
        read = [(item.name, self.read(item)) for item in batch]
        whole = [pixels for _, pixels in read if isinstance(pixels, np.ndarray)]
        rows = iter(self.probabilities(self.logits(np.stack(whole), batch_size)) if whole else ())
        for name, found in read:
            yield found if isinstance(found, UnreadableImage) else self._prediction(name, next(rows), top_k)

    def read(self, item: Item) -> Pixels | UnreadableImage:
        """The net's input `(H, W, C)` uint8, or why there is none."""
        try:
            return item.read(self.preprocessing)
        except UnusableImageError as error:
            return UnreadableImage(image=item.name, reason=str(error))
        except OSError as error:
            return UnreadableImage(image=item.name, reason=error.strerror or str(error))

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
    """One error that names all images that cannot be read."""
    return ImageError.of(
        Problem(what=f"unreadable image: {each.reason}", where=each.image) for each in unreadable
    )
