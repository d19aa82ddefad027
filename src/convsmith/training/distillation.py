"""Knowledge distillation: a student learns from what a teacher says of each image, beside the label."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.training.config import Distillation


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A net that is asked and never changed.

    Attributes:
        net: From the student's normalised images `(N, C, H, W)` to logits `(N, num_classes)`; on the
            student's device, in evaluation mode, its parameters without gradients.
        config: How much it counts, and at which temperature.
    """

    net: nn.Module
    config: Distillation

    def logits(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        """What it says of a batch, `(N, num_classes)` float32; only its forward pass is computed."""
        with torch.no_grad():
            logits: Tensor = self.net(images_NCHW)
        return logits.float()

    def loss(self, of_labels: Tensor, logits: Tensor, taught: Tensor) -> Tensor:
        """The loss that the student learns from.

        Args:
            of_labels: Its mean cross-entropy with the labels, a scalar.
            logits: Its own, `(N, num_classes)` float32.
            taught: The teacher's, from `logits`.
        """
        alpha = self.config.alpha
        return (1 - alpha) * of_labels + alpha * soft_loss(logits, taught, self.config.temperature)


def soft_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """How far a student's class probabilities are from its teacher's, both softened, as a mean over images.

    The Kullback-Leibler divergence times T**2: its gradient falls with 1 / T**2, so that without the factor
    the teacher would count for less the higher the temperature is. It differs from Hinton's cross-entropy
    by the teacher's entropy, which no gradient sees, and is 0 where both agree.

    Example:
        >>> soft_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 2.0]]), temperature=2.0).item()
        0.0
    """
    student, teacher = (functional.log_softmax(each / temperature, dim=1) for each in (logits, taught))
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2
