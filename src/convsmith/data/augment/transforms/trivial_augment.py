"""TrivialAugment: one random operation of a random magnitude."""

from typing import ClassVar, Literal

from convsmith.data.augment.random_operations import RandomOperations
from convsmith.data.augment.strengths import WIDE


class TrivialAugment(RandomOperations):
    """Apply one of the fourteen operations, with a magnitude drawn uniformly from the wide ranges.

    Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", arXiv 2103.10158.
    """

    title: ClassVar = "TrivialAugment"
    strengths: ClassVar = WIDE

    name: Literal["TrivialAugment"]

    @property
    def count(self) -> int:
        return 1

    @property
    def fixed_magnitude(self) -> None:
        return None

    @property
    def label_risk(self) -> str:
        return "digits such as 6 and 9, by turns of up to 135 degrees; classes that differ by colour"

    @property
    def details(self) -> str:
        return f"one operation of a random magnitude, wide ranges; {self.frequency}"
