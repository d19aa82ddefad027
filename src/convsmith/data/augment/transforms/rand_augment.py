"""RandAugment: a number of random operations, all of one magnitude."""

from typing import ClassVar, Literal

from pydantic import Field

from convsmith.data.augment.random_operations import RandomOperations
from convsmith.data.augment.strengths import AUTO_AUGMENT


class RandAugment(RandomOperations):
    """Apply a number of the fourteen operations, drawn with replacement, all of one magnitude.

    Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space",
    arXiv 1909.13719.
    """

    title: ClassVar = "RandAugment"
    strengths: ClassVar = AUTO_AUGMENT

    name: Literal["RandAugment"]
    num_operations: int = Field(default=2, ge=1, le=14, description="operations in turn, N in the paper")
    magnitude: int = Field(default=9, ge=0, le=30, description="strength, from 0, none, to 30, AutoAugment's")

    @property
    def count(self) -> int:
        return self.num_operations

    @property
    def fixed_magnitude(self) -> int:
        return self.magnitude

    @property
    def label_risk(self) -> str:
        return "classes that differ by colour or brightness" if self.magnitude > 15 else ""

    @property
    def details(self) -> str:
        operations = "operation" if self.num_operations == 1 else "operations"
        return f"{self.num_operations} {operations} of magnitude {self.magnitude} of 30; {self.frequency}"

    def inactive_reason(self, height: int, width: int) -> str:
        # Autocontrast and equalize, which have no magnitude, are left.
        return super().inactive_reason(height, width) or ("magnitude is 0" if self.magnitude == 0 else "")
