"""The meaning of a classifier's outputs: logits, log-probabilities or probabilities.

Cross-entropy takes log-probabilities as they are, since log-softmax does not change them; divided by a
temperature they are logits too. Probabilities are neither: under cross-entropy they train badly, because a
softmax follows that flattens them. Their logarithm is taken.
"""

from typing import Any

import torch
from torch import Tensor, nn

from convsmith.modules.config import Outputs

# Far above the rounding of a softmax over thousands of classes, far below that of any other outputs.
_TOLERANCE = 1e-3


def recognize_outputs(outputs_NK: Tensor) -> Outputs:  # noqa: N803 - shape suffix
    """Recognize the meaning of outputs by their values: the rows of probabilities sum to one.

    Args:
        outputs_NK: `(N, num_classes)`, for images that differ.

    Example:
        >>> logits = torch.randn(4, 10)
        >>> recognize_outputs(logits), recognize_outputs(logits.softmax(1))
        ('logits', 'probabilities')
        >>> recognize_outputs(logits.log_softmax(1))
        'log_probabilities'
    """
    values = outputs_NK.detach().double()
    if values.shape[1] < 2:
        return "logits"
    if bool((values >= 0).all()) and _are_close(values.sum(1), 1):
        return "probabilities"
    if bool((values <= 0).all()) and _are_close(values.logsumexp(1), 0):
        return "log_probabilities"
    return "logits"


def _are_close(sums: Tensor, expected: float) -> bool:
    return bool(((sums - expected).abs() < _TOLERANCE).all())


def use_logarithm(net: nn.Module) -> None:
    """Make a net return the logarithm of its outputs, which are probabilities, in place.

    The names of its parameters do not change.

    Example:
        >>> net = nn.Softmax(dim=1)
        >>> use_logarithm(net)
        >>> net(torch.zeros(1, 2)).exp()
        tensor([[0.5000, 0.5000]])
    """
    net.register_forward_hook(_logarithm)


def _logarithm(_module: nn.Module, _inputs: Any, probabilities: Tensor) -> Tensor:
    # In fp32: bf16 has no probabilities between 0.996 and 1. A probability of 0 has a finite logarithm.
    return probabilities.float().clamp_min(torch.finfo(torch.float32).tiny).log()
