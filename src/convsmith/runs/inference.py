"""The forward passes of an evaluation."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from convsmith.recipes.session import Session
from convsmith.training.metrics import (
    Outputs,
    SplitMetrics,
    compute_logits,
    compute_outputs,
    evaluate_split,
)


class Inference(Protocol):
    """The forward passes of a run's net on the images of its splits, without augmentation."""

    def metrics(self, name: str) -> SplitMetrics:
        """Return loss and accuracy on a split, without holding the logits of all images at once."""

    def outputs(self, name: str) -> Outputs:
        """Return the logits and features of a split."""

    def logits(self, name: str) -> Tensor:
        """Return the logits of a split `(N, num_classes)` float32, on the CPU."""


@dataclass(frozen=True, kw_only=True)
class LocalInference:
    """In this process, on the device of the session.

    Attributes:
        net: With the weights of the run, on the device.
        session: Of the run.
    """

    net: nn.Module
    session: Session

    def metrics(self, name: str) -> SplitMetrics:
        session = self.session
        return evaluate_split(self.net, session.data.splits[name], session.normalizer, session.dtype)

    def outputs(self, name: str) -> Outputs:
        session = self.session
        return compute_outputs(self.net, session.data.splits[name], session.normalizer, session.dtype)

    def logits(self, name: str) -> Tensor:
        session = self.session
        return compute_logits(self.net, session.data.splits[name], session.normalizer, session.dtype)
