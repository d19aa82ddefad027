"""What a brief judges: a net, and what is known of its training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convsmith.briefs.metrics import RunMetrics
from convsmith.data.augment.transform import Augmentation
from convsmith.net.analysis import Analysis
from convsmith.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A net with what is known of its training. Checks of what is not known are not applicable.

    Attributes:
        analysis: The analysis of the net.
        augmentations: Those of the training.
        training: Its settings.
        metrics: Those of a run.
        notes: The texts about a step of a hand-in, by name: target, result and analysis.
    """

    analysis: Analysis
    augmentations: Sequence[Augmentation] | None = None
    training: TrainConfig | None = None
    metrics: RunMetrics | None = None
    notes: Mapping[str, str] | None = None
