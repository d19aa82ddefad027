"""Classes with different numbers of images: when a data set is imbalanced, and which prior a net assumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from convsmith.text import from_least_to_most, in_line, percent
from convsmith.training.config import TrainConfig

# The largest class of an imbalanced split has at least so many times the images of the smallest.
RATIO = 2.0
_MAX_LISTED = 10
Prior = Literal["training", "equal", "weighted", "equal weighted", "unknown"]


@dataclass(frozen=True, kw_only=True)
class ClassBalance:
    """The images of each class that a net was trained and evaluated on.

    Attributes:
        train: Of the training set; None if it is not known.
        test: Of the test set.
        prior: The class frequencies that the training presents to the net: those of the training set, equal
            ones (balanced weights or sampling), or either of these times a table of weights; "unknown" for
            weights that were trained elsewhere.
        kind: Of the images that the net was evaluated on: "test", or "held-out" if they are a fold.
    """

    train: tuple[int, ...] | None
    test: tuple[int, ...]
    prior: Prior = "training"
    kind: str = "test"

    @classmethod
    def of(
        cls,
        config: TrainConfig | None,
        train: Sequence[int] | None,
        test: Sequence[int],
        kind: str = "test",
    ) -> "ClassBalance":
        """Return the balance of a training by its recipe; None if that is not known."""
        prior: Prior = "training"
        if config is None or not config.epochs:
            prior = "unknown"
        elif isinstance(config.class_weights, dict):
            prior = "equal weighted" if config.sampling == "balanced" else "weighted"
        elif config.class_weights == "balanced" or config.sampling == "balanced":
            prior = "equal"
        return cls(train=None if train is None else tuple(train), test=tuple(test), prior=prior, kind=kind)

    @property
    def is_imbalanced(self) -> bool:
        """Whether the training or the test set is imbalanced."""
        return any(is_imbalanced(counts) for counts in (self.train, self.test) if counts)

    def text(self) -> str:
        """Describe the range of the classes in a part of a sentence.

        Example:
            >>> ClassBalance(train=(5000, 50), test=(1000, 1000)).text()
            'the classes have 50 to 5,000 training images and 1,000 test images'
        """
        splits = (("training", self.train), (self.kind, self.test))
        parts = [f"{_range(counts)} {name} images" for name, counts in splits if counts]
        return f"the classes have {' and '.join(parts)}"

    def prior_sentence(self, class_names: Sequence[str]) -> str:
        """Say which class frequencies the confidences assume, and for which the calibration is measured.

        Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
        probabilities", Neural Computation 14 (2002), 21-41.
        """
        trained = {
            "training": "those of the training images",
            "equal": "equal ones, since the training gives every class the same weight",
            "weighted": "those of the training images times the weights of the classes",
            "equal weighted": "equal ones, of balanced sampling, times the weights of the classes",
            "unknown": "those of the images that the net was trained on, which are not known",
        }[self.prior]
        if self.prior in ("training", "weighted") and self.train:
            trained += f" ({frequencies(self.train, class_names)})"
        return (
            f"The confidences assume class frequencies: {trained}. The calibration error is measured at "
            f"those of the {self.kind} images ({frequencies(self.test, class_names)}). Where the classes "
            "have other frequencies, multiply each probability by the ratio of the new to the assumed "
            "frequency, and divide by the sum."
        )


def is_imbalanced(counts: Sequence[int]) -> bool:
    """Whether the largest class has at least twice the images of the smallest.

    Example:
        >>> is_imbalanced((5421, 6742)), is_imbalanced((50, 100)), is_imbalanced((3, 0))
        (False, True, True)
    """
    return max(counts) >= RATIO * min(counts) and max(counts) > min(counts)


def frequencies(counts: Sequence[int], class_names: Sequence[str]) -> str:
    """Describe the frequency of each class in percent; of many classes those of the ends.

    Example:
        >>> frequencies((9, 1), ("healthy", "ill")), frequencies((5, 5), ("cat", "dog"))
        ('healthy 90.0 %, ill 10.0 %', 'equal: 50.0 % each')
    """
    total = sum(counts)
    if min(counts) == max(counts):
        return f"equal: {percent(1 / len(counts), 1)} each"
    shares = [
        f"{in_line(name)} {percent(count / total, 1)}"
        for name, count in zip(class_names, counts, strict=True)
    ]
    if len(shares) <= _MAX_LISTED:
        return ", ".join(shares)
    return from_least_to_most(shares, counts)


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
