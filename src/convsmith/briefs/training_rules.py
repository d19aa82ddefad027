"""Checks of a training: epochs, batch size, optimizer and schedule. What is not known is not applicable."""

from collections.abc import Iterator, Mapping
from math import gcd
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from convsmith.briefs.bounds import Bound, bound_text, nearest, toml_text, within
from convsmith.briefs.check import Check, check, not_applicable
from convsmith.briefs.requirements import Requirements
from convsmith.briefs.subject import Subject
from convsmith.briefs.table_rules import TableRule
from convsmith.codegen import number
from convsmith.training.config import TrainConfig

_UNKNOWN = "the training is not known"
# The weight of the penalty that hand-ins of the course use.
_USUAL_L1 = 1e-5


def training_checks(brief: Requirements, subject: Subject) -> Iterator[Check]:
    """Check the settings of a training against a brief."""
    training = subject.training
    if brief.epochs is not None:
        yield _epochs_check(brief.epochs, subject)
    if brief.batch_size is not None:
        size = training.batch_size if training is not None and training.epochs else None
        yield _bound_check("batch size", size, brief.batch_size, lambda: _batch_size_fix(brief, training))
    if brief.optimizer is not None:
        yield _table_check("optimizer", brief.optimizer, training)
    if brief.schedule is not None:
        yield _table_check("schedule", brief.schedule, training)
    if brief.l1 is not None:
        yield _l1_check(brief.l1, training)


def _epochs_check(bound: Bound, subject: Subject) -> Check:
    training, metrics = subject.training, subject.metrics
    if training is not None and training.epochs:
        epochs: int | None = training.epochs_run
    else:
        epochs = max((each.epoch for each in metrics.epochs), default=None) if metrics else None

    def fix() -> str:
        changes: dict[str, Any] = {"epochs": nearest(epochs, bound)}
        if training is not None and training.stop_after is not None:
            changes["stop_after"] = None
        return _override_text(training, changes)

    return _bound_check("epochs", epochs, bound, fix)


def _bound_check(title: str, value: int | None, bound: Bound, fix: Any) -> Check:
    required = bound_text(bound)
    if value is None:
        return not_applicable(title, required, _UNKNOWN)
    return check(title, passed=within(value, bound), actual=f"{value:,}", required=required, fix=fix)


def _l1_check(rule: bool | Bound, training: TrainConfig | None) -> Check:
    required = "a penalty" if isinstance(rule, bool) else f"a weight of {bound_text(rule)}"
    if training is None or not training.epochs:
        return not_applicable("L1 penalty", required, _UNKNOWN)
    return check(
        "L1 penalty",
        passed=training.l1 > 0 if isinstance(rule, bool) else within(training.l1, rule),
        actual=f"a weight of {number(training.l1)}" if training.l1 else "none",
        required=required,
        fix=lambda: _override_text(training, {"l1": l1_within(rule, training.l1)}),
    )


def l1_within(rule: bool | Bound, weight: float) -> float:
    """Return the weight of an L1 penalty that a brief allows, the nearest to another one.

    Example:
        >>> l1_within(True, 0.0), l1_within((0.001, 0.1), 0.0), l1_within(True, 0.5)
        (1e-05, 0.001, 0.5)
    """
    return float((weight or _USUAL_L1) if isinstance(rule, bool) else nearest(weight, rule))


def _batch_size_fix(brief: Requirements, training: TrainConfig | None) -> str:
    if training is None or brief.batch_size is None:
        return ""
    size = nearest(training.batch_size, brief.batch_size)
    changes = {"batch_size": size}
    part = training.microbatch_size
    if part is not None and size % part:
        changes["microbatch_size"] = gcd(size, part) if gcd(size, part) > 1 else size
    return _override_text(training, changes)


def _table_check(
    title: Literal["optimizer", "schedule"], rule: TableRule, training: TrainConfig | None
) -> Check:
    if training is None or not training.epochs:
        return not_applicable(title, rule.requirement, _UNKNOWN)
    present: BaseModel = getattr(training, title)
    name = getattr(present, "name", "")
    excesses = rule.excesses(present) if name == rule.name else []
    return check(
        title,
        passed=name == rule.name and not excesses,
        actual=", ".join([name, *excesses]),
        required=rule.requirement,
        fix=lambda: _table_fix(title, rule, present, training),
    )


def _table_fix(title: str, rule: TableRule, present: BaseModel, training: TrainConfig) -> str:
    """Return the overrides that lead to a table within the limits; another table keeps a learning rate."""
    if getattr(present, "name", "") == rule.name:
        return _override_text(training, {title: {**present.model_dump(), **rule.nearest_settings(present)}})
    return _override_text(training, {title: rule.default_settings})


def _override_text(training: TrainConfig | None, changes: Mapping[str, Any]) -> str:
    """Return changes of `[train]` as overrides of the command line, each tried."""
    if training is None:
        name, value = next(iter(changes.items()))
        return f"train with {name.replace('_', ' ')} {value}"
    try:
        TrainConfig.model_validate({**training.model_dump(exclude_none=True), **changes})
    except ValidationError:
        return "no single change of the training satisfies the brief"
    texts = []
    for name, value in changes.items():
        before = getattr(training, name).model_dump() if isinstance(value, dict) else {}
        if isinstance(value, dict) and value["name"] != before["name"]:
            texts.append(f"train.{name}={value['name']}")
            before = {"name": value["name"]}
        leaves = value.items() if isinstance(value, dict) else [("", value)]
        texts += [
            f"train.{name}{key and '.'}{key}={toml_text(False if each is None else each)}"
            for key, each in leaves
            if not key or before.get(key) != each
        ]
    return f"set {' '.join(texts)}"
