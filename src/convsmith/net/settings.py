"""The settings of a net: bias, norm, activation, their order, dropout, initialisation."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class NetSettings(BaseModel):
    """What the notation leaves open, with the usual defaults.

    The last layer with weights is the classifier. No activation or dropout follows it, and a norm only with
    `classifier_norm` or `:n1`. Fully connected layers have no norm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bias: bool | Literal["auto"] = Field(
        default="auto",
        description='biases of convolutions and fully connected layers; "auto": if no norm follows',
    )
    norm: Literal["batch", "group", "layer", "instance", "none"] = Field(
        default="batch",
        description='normalisation after each convolution; "layer": a group norm with one group',
    )
    norm_groups: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=8, description="groups of channels that a group norm normalises together"
    )
    classifier_norm: bool = Field(
        default=False, description="normalise after the classifier too, if it is a convolution"
    )
    activation: Literal["relu", "leaky-relu", "gelu", "silu", "hardswish", "none"] = Field(
        default="relu", description="activation after each layer with weights"
    )
    order: Literal["conv-norm-activation", "conv-activation-norm"] = Field(
        default="conv-norm-activation", description="what follows a convolution, in this order"
    )
    dropout: Probability = Field(default=0.0, description="dropout probability, 0 for none")
    dropout_at: Literal["layer", "block", "classifier"] = Field(
        default="layer", description="where: after each layer, after each block, or before the classifier"
    )
    init: Literal["default", "kaiming-normal", "kaiming-uniform", "orthogonal", "dirac"] = Field(
        default="default",
        description='initial weights; "default" is PyTorch\'s own, "dirac" adds an identity to it',
    )
    init_gain: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        default=1.0,
        description="factor on the initial weights before a norm: a step changes large weights less",
    )


class NotationConfig(NetSettings):
    """The `[model]` table of a net in the notation: the net, and its settings."""

    TAG: ClassVar[str] = "a net in the notation"

    net: str = Field(min_length=1, description='the net, for example "C16 C16:s2 / G F10"')
