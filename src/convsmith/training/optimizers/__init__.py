"""Optimizers: one module each, with its table, how it is built, its source text and its description."""

from typing import Annotated

from pydantic import Field

from convsmith.training.optimizers.adam import Adam, AdamW
from convsmith.training.optimizers.muon import Muon
from convsmith.training.optimizers.rmsprop import RMSprop
from convsmith.training.optimizers.sgd import SGD

Optimizer = Annotated[SGD | RMSprop | Adam | AdamW | Muon, Field(discriminator="name")]
