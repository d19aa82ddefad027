"""Whether a mirrored image is still one of its class: by the names of the classes, and by the images."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from convsmith.data.checks.thumbnails import thumbnails_of
from convsmith.data.dataset import Split
from convsmith.evaluation.metrics import rank_in_class
from convsmith.text import one_line, percent

# Images of a test of mirroring, images of a class below which it says nothing, and side of a thumbnail.
_MOST_IMAGES, _FEWEST_OF_A_CLASS, _SIDE = 4_000, 8, 16
# A difference by chance is rarer than this, and a real one costs at least this share of what is above chance.
_CHANCE, _LOSS = 1e-3, 0.3
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Words around a digit or letter in the name of its class.
_AROUND = re.compile(r"[\s_.-]+|letter|digit|number|char(acter)?|upper|lower|capital|case", re.IGNORECASE)
_SIDES = {"left", "right", "clockwise", "anticlockwise", "counterclockwise", "leftward", "rightward"}
_WRITING = {
    "letter",
    "digit",
    "character",
    "alphabet",
    "glyph",
    "kanji",
    "hiragana",
    "katakana",
    "handwriting",
}


@dataclass(frozen=True, kw_only=True)
class Mirroring:
    """What speaks for or against horizontal flips.

    Attributes:
        allowed: Whether flips are assumed to be right.
        certain: Whether the names of the classes decide; else it is a question.
        reason: Why, a sentence without its full stop.
    """

    allowed: bool
    certain: bool
    reason: str


def mirroring(split: Split, class_names: Sequence[str], seed: int = 0) -> Mirroring:
    """Judge whether mirrored training images belong to their class.

    Names decide where they are digits, letters, or contain left or right. Otherwise a nearest-mean classifier
    is trained on half of the images and tested on the other half as it is and mirrored: if it recognises far
    fewer mirrored images, they do not look like their class.

    Args:
        split: The training images.
        class_names: In the order of the labels.
        seed: Of the choice of the halves.
    """
    if reason := reason_of_names(class_names):
        return Mirroring(allowed=False, certain=True, reason=reason)
    plain, mirrored = recognised(split, len(class_names), seed)
    count = len(plain)
    if count < _FEWEST_OF_A_CLASS * 2:
        reason = "neither the names of the classes nor the few images speak against mirrored images"
        return Mirroring(allowed=True, certain=False, reason=reason)
    found, left = float(plain.mean()), float(mirrored.mean())
    words = (
        f"a nearest-mean classifier recognises {percent(found, 0)} of the images, {percent(left, 0)} mirrored"
    )
    if _is_worse(plain, mirrored, chance=1 / len(class_names)):
        return Mirroring(
            allowed=False, certain=False, reason=f"{words}: mirrored images look unlike their class"
        )
    return Mirroring(allowed=True, certain=False, reason=f"{words}: nothing speaks against mirrored images")


def reason_of_names(class_names: Sequence[str]) -> str:
    """Return why mirrored images are of no class or of another one, by the names; empty if they do not tell.

    Example:
        >>> reason_of_names(["0", "1", "2"]), reason_of_names(["turn left", "stop"])
        ('the classes are digits or letters', "the name of the class 'turn left' has a side")
        >>> reason_of_names(["cat", "dog"]), reason_of_names([str(number) for number in range(43)])
        ('', '')
    """
    cores = [_AROUND.sub("", name) or name for name in class_names]
    digits = {*map(str, range(10)), *_NUMBERS}
    if all(core.lower() in digits or (len(core) == 1 and core.isalpha()) for core in cores):
        return "the classes are digits or letters"
    for name in class_names:
        words = set(re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()))
        if words & _SIDES:
            return f"the name of the class {one_line(name)!r} has a side"
        if {word.removesuffix("s") for word in words} & _WRITING:
            return f"the name of the class {one_line(name)!r} is that of writing"
    return ""


def recognised(split: Split, num_classes: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which images a nearest-mean classifier recognises, as they are and mirrored: `(N,)` each.

    It is trained on the other half of the images. Of classes with few images none is tested.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(split))[:_MOST_IMAGES]
    labels = split.labels[order]
    counts = np.bincount(labels, minlength=num_classes)
    kept = counts[labels] >= _FEWEST_OF_A_CLASS
    order, labels = order[kept], labels[kept]
    nothing = np.zeros(0, dtype=np.bool_)
    if len(np.unique(labels)) < 2:
        return nothing, nothing
    images = _standard(thumbnails_of(split.select(order).images))
    # Alternate images of each class are in each half.
    rank = rank_in_class(labels)
    first, second = np.flatnonzero(rank % 2 == 0), np.flatnonzero(rank % 2 == 1)
    plain, mirrored = np.zeros(len(labels), dtype=np.bool_), np.zeros(len(labels), dtype=np.bool_)
    for known, tested in ((first, second), (second, first)):
        classes = np.unique(labels[known])
        means = np.stack([images[known][labels[known] == label].mean(0) for label in classes])
        overall = means.mean(0)
        means = _unit((means - overall).reshape(len(means), -1))
        for result, pictures in ((plain, images[tested]), (mirrored, images[tested][:, :, ::-1])):
            scores = _unit((pictures - overall).reshape(len(pictures), -1)) @ means.T
            result[tested] = classes[scores.argmax(1)] == labels[tested]
    return plain, mirrored


def _is_worse(plain: NDArray[np.bool_], mirrored: NDArray[np.bool_], *, chance: float) -> bool:
    """Whether mirrored images are recognised less, beyond chance (McNemar's exact test), and by much."""
    lost, gained = int((plain & ~mirrored).sum()), int((~plain & mirrored).sum())
    if lost <= gained:
        return False
    above = max(float(plain.mean()) - chance, 1e-9)
    is_much = float(plain.mean() - mirrored.mean()) > _LOSS * above
    return is_much and float(binomtest(lost, lost + gained).pvalue) < _CHANCE


def _standard(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails of at most 16x16 pixels with mean 0 and deviation 1 each."""
    factor = max(thumbnails.shape[1] // _SIDE, 1)
    side = thumbnails.shape[1] // factor
    cut = thumbnails[:, : side * factor, : side * factor].astype(np.float32)
    small = cut.reshape(len(cut), side, factor, side, factor, -1).mean((2, 4))
    flat = small.reshape(len(small), -1)
    scaled = (flat - flat.mean(1, keepdims=True)) / np.maximum(flat.std(1, keepdims=True), 1.0)
    result: NDArray[np.float32] = scaled.reshape(small.shape)
    return result


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return result
