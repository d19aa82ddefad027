"""The constant learning rate."""

from typing import TYPE_CHECKING, ClassVar, Literal

from convsmith.training.schedules.base import ScheduleTable

if TYPE_CHECKING:
    import torch


class Constant(ScheduleTable):
    """A constant learning rate."""

    unit: ClassVar[Literal["step", "epoch"]] = "epoch"

    name: Literal["constant"] = "constant"

    def build(self, optimizer: "torch.optim.Optimizer", *, epochs: int, steps_per_epoch: int) -> None:
        del optimizer, epochs, steps_per_epoch

    def source(self) -> None:
        return None

    def describe(self) -> str:
        return "the same throughout"
