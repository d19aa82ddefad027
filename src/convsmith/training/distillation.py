"""Knowledge distillation: a student learns from the outputs of a teacher in addition to the labels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.training.config import Distillation


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained net that teaches another one.

    Attributes:
        net: From the student's normalized images `(N, C, H, W)` to logits `(N, num_classes)`; on the
            student's device, in evaluation mode, its parameters without gradients.
        config: Weight and temperature.
    """

    net: nn.Module
    config: Distillation

    def logits(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        """Return the logits `(N, num_classes)` float32, without gradients."""
        with torch.no_grad():
            logits: Tensor = self.net(images_NCHW)
        return logits.float()

    def loss(self, label_loss: Tensor, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return the loss of the student, a scalar.

        Args:
            label_loss: Mean cross-entropy with the labels, a scalar.
            logits: Logits of the student, `(N, num_classes)` float32.
            teacher_logits: Logits of the teacher, from `logits`.
        """
        alpha, temperature = self.config.alpha, self.config.temperature
        soft_loss = distillation_loss(logits, teacher_logits, temperature)
        return (1 - alpha) * label_loss + alpha * soft_loss


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return the mean Kullback-Leibler divergence of the teacher's softened probabilities, times T**2.

    Its gradient is proportional to 1 / T**2, so that without the factor the weight of the teacher would fall
    with the temperature. It differs from Hinton's cross-entropy by the entropy of the teacher, which has no
    gradient, and is 0 if student and teacher agree.

    Example:
        >>> distillation_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 2.0]]), temperature=2.0).item()
        0.0
    """
    student, teacher = (
        functional.log_softmax(each / temperature, dim=1) for each in (logits, teacher_logits)
    )
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2
