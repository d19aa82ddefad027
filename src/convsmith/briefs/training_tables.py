"""The optimizer and the schedule that a brief requires, by name and with limits of their settings."""

from collections.abc import Mapping
from typing import ClassVar, get_args

from pydantic import BaseModel

from convsmith.briefs.table_rules import TableRule
from convsmith.system.unset import models_in
from convsmith.training.optimizers import Optimizer
from convsmith.training.schedules import Schedule


def _by_name(union: object) -> dict[str, type[BaseModel]]:
    return {
        str(name): table
        for table in models_in(union)
        for name in get_args(table.model_fields["name"].annotation)
    }


class OptimizerRule(TableRule):
    """The optimizer of a training.

    Example:
        >>> OptimizerRule.model_validate({"name": "adam", "lr": [0.001, 0.1]}).requirement
        'adam, lr 0.001 to 0.1'
    """

    tables: ClassVar[Mapping[str, type[BaseModel]]] = _by_name(Optimizer)
    noun: ClassVar[str] = "optimizer"


class ScheduleRule(TableRule):
    """The schedule of the learning rate.

    Example:
        >>> ScheduleRule.model_validate("one-cycle").requirement
        'one-cycle'
    """

    tables: ClassVar[Mapping[str, type[BaseModel]]] = _by_name(Schedule)
    noun: ClassVar[str] = "schedule"
