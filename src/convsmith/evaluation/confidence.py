"""The conversion of logits to probabilities, and the threshold of doubt, of a run and of its exports.

Importing this module needs no torch and no SciPy: a bundle is opened with it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Confidence(BaseModel):
    """The conversion of logits to probabilities, and the low-confidence threshold.

    Attributes:
        temperature: The divisor of the logits before the softmax.
        unsure_below: A prediction with a lower confidence is unsure.
        fitted_on: The split that both were fitted on.
        images: The size of that split.
        accuracy_if_sure: The accuracy of the other predictions on that split; None if all are unsure, and in
            bundles of version 0.1.0, whose threshold only was the confidence that 95 % of the correct
            predictions reach.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # Far beyond the range that is fitted; below it, probabilities are not numbers.
    temperature: float = Field(ge=1e-3, le=1000, allow_inf_nan=False)
    unsure_below: Share
    fitted_on: Literal["validation", "test"]
    images: Annotated[int, Field(ge=0, le=2**53)]
    accuracy_if_sure: Share | None = None
