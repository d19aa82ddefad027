"""A candidate of a search: a net and hyperparameters."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A net and hyperparameters, and their origin.

    Attributes:
        net: In the notation.
        fields: The values of the hyperparameters, by key.
        parent: The number of the trial that was mutated; None for the starting point.
        changes: Descriptions of the mutations.
    """

    net: str
    fields: Mapping[str, float]
    parent: int | None = None
    changes: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """A key that is equal for candidates with equal training."""
        return self.net, tuple(sorted(self.fields.items()))
