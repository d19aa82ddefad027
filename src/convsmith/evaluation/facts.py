"""From predictions to facts: accuracy, per class, and which images are wrong."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Logits `(N, num_classes)` float32 and labels `(N,)` int64 of one split, in the split's order."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def predicted(self) -> Indices:
        """The class of the largest logit, `(N,)`."""
        result: Indices = self.logits.argmax(1)
        return result

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Softmax of the logits, `(N, num_classes)`."""
        shifted = np.exp(self.logits.astype(np.float64) - self.logits.max(1, keepdims=True))
        result: NDArray[np.float64] = shifted / shifted.sum(1, keepdims=True)
        return result

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class, `(N,)`."""
        result: NDArray[np.float64] = self.probabilities.max(1)
        return result


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """How one class fares. `accuracy` is None where the split has no image of it."""

    name: str
    correct: int
    total: int

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.total if self.total else None

    def line(self) -> str:
        """One line in the course's form.

        >>> ClassFacts(name="cat", correct=703, total=1000).line()
        'Accuracy of cat : 70.30 % (703/1000)'
        """
        share = "n/a" if self.accuracy is None else f"{self.accuracy:.2%}".replace("%", " %")
        return f"Accuracy of {self.name} : {share} ({self.correct}/{self.total})"


def per_class(predictions: Predictions, class_names: tuple[str, ...]) -> tuple[ClassFacts, ...]:
    """Accuracy of each class: of the images that are of it, the share that is recognised."""
    matrix = confusion_matrix(predictions.labels, predictions.predicted, labels=np.arange(len(class_names)))
    return tuple(
        ClassFacts(name=name, correct=int(matrix[index, index]), total=int(matrix[index].sum()))
        for index, name in enumerate(class_names)
    )


def mistakes(predictions: Predictions) -> Indices:
    """Indices of the wrong predictions, the most confident first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    order: Indices = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")]
    return order


def classes_record(facts: tuple[ClassFacts, ...]) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "correct": each.correct, "total": each.total, "accuracy": each.accuracy}
        for each in facts
    ]
