"""The loss of a training: cross-entropy with the labels."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


class LabelLoss:
    """The cross-entropy of logits with labels or class probabilities, with weights of the classes.

    It is that of `torch.nn.CrossEntropyLoss(weight=..., label_smoothing=...)` over the whole batch. For
    labels the mean is weighted: divided by the sum of the weights of the batch's labels. For class
    probabilities, which mixing gives, PyTorch divides by the number of images, so the weights should have
    the mean 1 over the images (`class_weights.loss_weights_of`).

    Args:
        class_weights: One for each class, or None.
        label_smoothing: Share of each target that is spread over all classes.
        device: Of logits and targets.

    Example:
        >>> loss = LabelLoss((1.0, 3.0), 0.0, torch.device("cpu"))
        >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        >>> mean = loss.mean_weight(labels)
        >>> torch.allclose(loss(logits, labels, mean), functional.cross_entropy(logits, labels, loss.weight))
        True
    """

    def __init__(
        self, class_weights: Sequence[float] | None, label_smoothing: float, device: torch.device
    ) -> None:
        self.label_smoothing = label_smoothing
        self.weight = None if class_weights is None else torch.tensor(class_weights, device=device)

    def mean_weight(self, labels: Tensor) -> Tensor | None:
        """Return the mean weight of the labels `(N,)` of a batch, a scalar; None without weights."""
        return None if self.weight is None else self.weight.index_select(0, labels).mean()

    def __call__(self, logits: Tensor, targets: Tensor, mean_weight: Tensor | None) -> Tensor:
        """Return the loss of a part of a batch, a scalar.

        The mean of the parts, each weighted by its number of images, is the loss of the batch.

        Args:
            logits: `(N, num_classes)` float32.
            targets: Labels `(N,)`, or probabilities `(N, num_classes)`.
            mean_weight: Of the labels of the whole batch, from `mean_weight`.
        """
        smoothing = self.label_smoothing
        if self.weight is None:
            return functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        total = functional.cross_entropy(
            logits, targets, self.weight, label_smoothing=smoothing, reduction="sum"
        )
        if targets.is_floating_point() or mean_weight is None:
            return total / len(logits)
        return total / (len(logits) * mean_weight)
