"""The metrics of a run that a brief judges."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EpochAccuracy:
    """The accuracies after an epoch, from 0 to 1; None for a split that was not measured.

    Attributes:
        epoch: Counts from 1.
        train: Measured during the epoch, with dropout and on augmented images.
        test: Measured after it.
    """

    epoch: int
    train: float | None = None
    test: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunMetrics:
    """The metrics of a run, from 0 to 1.

    Attributes:
        accuracy: On the test set, of the last epoch.
        calibration_error: The expected calibration error on the test set.
        epochs: The accuracies of every epoch, in order; empty if they are not known.
        kind: Of the images: "test", or "held-out" if they are a fold of the training set.
    """

    accuracy: float
    calibration_error: float | None = None
    epochs: tuple[EpochAccuracy, ...] = ()
    kind: str = "test"
