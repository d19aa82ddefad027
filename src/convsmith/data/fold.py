"""Folds of a training set, and how the images that a net is evaluated on are named."""

import re
from dataclasses import dataclass
from typing import Self

MOST_FOLDS = 1000
_FOLD = re.compile(r"([1-9]\d{0,3})/([1-9]\d{0,3})")


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """The names of the images that a net is evaluated on.

    Attributes:
        kind: Goes with another noun: "test" image, "held-out" accuracy.
        name: Of all of them: "test set", "held-out fold 2 of 5".
    """

    kind: str
    name: str

    @property
    def title(self) -> str:
        """The kind as the first word of a sentence.

        >>> TEST_SET.title
        'Test'
        """
        return self.kind[:1].upper() + self.kind[1:]

    @property
    def heading(self) -> str:
        """The name as the first words of a sentence.

        >>> Fold(number=2, count=5).evaluation_set.heading
        'Held-out fold 2 of 5'
        """
        return self.name[:1].upper() + self.name[1:]


TEST_SET = EvaluationSet(kind="test", name="test set")


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One of several equal parts of a training set, which is held out and evaluated.

    Attributes:
        number: Counts from 1.
        count: Of all folds, at least 2.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "2/5", the second of five folds.

        Raises:
            ValueError: The text is no fold.

        >>> Fold.parse("2/5")
        Fold(number=2, count=5)
        """
        parts = _FOLD.fullmatch(text)
        number, count = map(int, parts.groups()) if parts else (0, 0)
        if not (1 <= number <= count and 2 <= count <= MOST_FOLDS):
            raise ValueError(
                f'found {text!r}; write a fold and the number of folds, 2 to {MOST_FOLDS:,}, such as "2/5"'
            )
        return cls(number=number, count=count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def evaluation_set(self) -> EvaluationSet:
        """The names of its images as those that a net is evaluated on."""
        return EvaluationSet(kind="held-out", name=f"held-out fold {self.number} of {self.count}")
