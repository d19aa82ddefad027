"""The `[model]` table of a PyTorch module of the user's own, and how it differs from the notation's."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from convsmith.net.settings import NetSettings, NotationConfig

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

    @model_validator(mode="before")
    @classmethod
    def _check_settings(cls, table: Any) -> Any:
        settings = [name for name in NetSettings.model_fields if isinstance(table, dict) and name in table]
        if settings:
            raise ValueError(
                f"{', '.join(settings)}: for nets in the notation; a module has its own layers, so "
                "give its class arguments instead, as in model.module='model.py:Net(width=32)'"
            )
        return table


def kind_of_model(table: Any) -> str:
    """Return the tag of the kind of net that a table, or a validated one, describes.

    >>> kind_of_model({"module": "model.py:Net"}), kind_of_model({"net": "C8 / G F10"})
    ('a module', 'a net in the notation')
    """
    has_module = "module" in table if isinstance(table, dict) else isinstance(table, ModuleConfig)
    return ModuleConfig.TAG if has_module else NotationConfig.TAG
