"""The `[model]` table of a PyTorch module of the user's own."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Outputs = Literal["logits", "log_probabilities", "probabilities"]


class ModuleConfig(BaseModel):
    """The `[model]` table of a PyTorch module of the user's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    TAG: ClassVar[str] = "a module"

    module: str = Field(
        min_length=1,
        max_length=4096,
        description='the class with its arguments, for example "model.py:Net(width=32)"',
    )
    outputs: Outputs | None = Field(
        default=None, description="meaning of the outputs; by default it is recognised by their values"
    )
