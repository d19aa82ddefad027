"""Optimizers: one module each, with its table, how it is built, its source text and its description."""

from typing import Annotated

from pydantic import Field

from convsmith.training.optimizers.elementwise import Elementwise
from convsmith.training.optimizers.muon import Muon

Optimizer = Annotated[Elementwise | Muon, Field(discriminator="name")]
