"""Checks of the course and the result of a training: accuracies of epochs, and calibration."""

from collections.abc import Iterator

from convsmith.briefs.check import Check, check, not_applicable
from convsmith.briefs.metrics import RunMetrics
from convsmith.briefs.requirements import Requirements
from convsmith.text import plural

# How a net alone gets what is judged.
_WEIGHTS = "check the folder of a run, or add --weights FILE --data SOURCE, or --train"
_TRAIN = "check the folder of a run, or add --train"
_LONGER = "train longer, or change the net or the settings"


def metric_checks(brief: Requirements, metrics: RunMetrics | None) -> Iterator[Check]:
    """Check the metrics of a run against a brief. What was not measured is not applicable."""
    if (least := brief.min_accuracy) is not None:
        accuracy = None if metrics is None else metrics.accuracy
        yield _metric_check(f"{_kind(metrics)} accuracy", metrics, accuracy, least, fix=_LONGER)
        if brief.each_of_last is not None:
            yield _last_epochs_check(brief.each_of_last, least, metrics)
    if (rule := brief.train_accuracy) is not None:
        accuracies = {each.epoch: each.train for each in (metrics.epochs if metrics else ())}
        yield _metric_check(
            f"training accuracy after epoch {rule.epoch}",
            metrics,
            accuracies.get(rule.epoch),
            rule.min,
            fix="raise the learning rate, use less dropout and augmentation, or a smaller batch size",
            source=_TRAIN,
        )
    if (most := brief.max_calibration_error) is not None:
        yield _metric_check(
            "calibration error",
            metrics,
            None if metrics is None else metrics.calibration_error,
            most,
            fix="use less label smoothing, or a temperature fitted on held-out images",
            at_most=True,
        )


def _kind(metrics: RunMetrics | None) -> str:
    return "test" if metrics is None else metrics.kind


def _last_epochs_check(count: int, least: float, metrics: RunMetrics | None) -> Check:
    """The accuracy in each of the last epochs: the best epoch alone does not count."""
    title = f"{_kind(metrics)} accuracy of the last {plural(count, 'epoch')}"
    epochs = metrics.epochs if metrics else ()
    last = [each.test for each in epochs[-count:]]
    values = [each for each in last if each is not None]
    worst = min(values, default=None)
    decimals = max((_decimals(value, least) for value in values), default=_decimals(None, least))
    required = f"at least {least:.{decimals}%} in each"
    if worst is None or len(values) < len(last):
        reason = "not trained" if metrics is None else "the epochs are not known"
        return not_applicable(title, required, reason, fix=_TRAIN)
    shares = ", ".join(f"{value:.{decimals}%}" for value in values)
    few = len(values) < count
    actual = f"{shares}; {plural(len(values), 'epoch')} only" if few else shares
    fix = f"train for {count} epochs or more" if few else f"{_LONGER}: the last epochs must not vary"
    return check(title, passed=worst >= least and not few, actual=actual, required=required, fix=lambda: fix)


def _metric_check(
    title: str,
    metrics: RunMetrics | None,
    value: float | None,
    limit: float,
    *,
    fix: str,
    source: str = _WEIGHTS,
    at_most: bool = False,
) -> Check:
    decimals = _decimals(value, limit)
    required = f"at {'most' if at_most else 'least'} {limit:.{decimals}%}"
    if value is None:
        return not_applicable(
            title, required, "not trained" if metrics is None else "not measured", fix=source
        )
    passed = value <= limit if at_most else value >= limit
    return check(title, passed=passed, actual=f"{value:.{decimals}%}", required=required, fix=lambda: fix)


def _decimals(value: float | None, limit: float) -> int:
    """Return the decimals at which a percentage is exact for a limit, and tells a value from it."""

    def is_enough(decimals: int) -> bool:
        differs = value is None or value == limit or f"{value:.{decimals}%}" != f"{limit:.{decimals}%}"
        return differs and round(limit, decimals + 2) == limit

    return next(filter(is_enough, range(2, 8)), 8)
