"""Schedules: one module each, with its table, how it is built, its source text and its description."""

from typing import Annotated

from pydantic import Field

from convsmith.training.schedules.annealing import Cosine, Linear
from convsmith.training.schedules.constant import Constant
from convsmith.training.schedules.one_cycle import OneCycle
from convsmith.training.schedules.plateau import Plateau
from convsmith.training.schedules.step import Step

Schedule = Annotated[Constant | Step | Plateau | OneCycle | Cosine | Linear, Field(discriminator="name")]
