"""The meaning of a classifier's outputs: logits, log-probabilities or probabilities.

Cross-entropy takes log-probabilities as they are, since log-softmax does not change them; divided by a
temperature they are logits too. Probabilities are neither: under cross-entropy they train badly, because a
softmax follows that flattens them. Their logarithm is taken.
"""

from typing import Any

import torch
from torch import Tensor, nn

from convsmith.errors import Problem
from convsmith.modules.config import Outputs
from convsmith.text import plural

# Far above the rounding of a softmax over thousands of classes, far below that of any other outputs.
_TOLERANCE = 1e-3
_LISTED = 5


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


def output_notes(outputs: Outputs, *, trains: bool) -> list[str]:
    """Return notes on outputs that are no logits; `trains` is whether the net is to be trained."""
    if outputs == "log_probabilities":
        return ["its outputs are log-probabilities, which cross-entropy takes as they are"]
    if outputs == "probabilities" and not trains:
        return ["its outputs are probabilities, whose logarithm is taken"]
    if outputs == "probabilities":
        note = "its outputs are probabilities, whose logarithm is taken: under cross-entropy alone such a net"
        return [f"{note} trains badly; end it with the logits, or with log_softmax, to use it elsewhere"]
    return []


def output_problem(
    outputs: object, num_images: int, num_classes: int, subject: str, *, trains: bool
) -> Problem | None:
    """Return why outputs are not those of a classifier; None if they are.

    Args:
        outputs: What the net returns.
        num_images: For how many images.
        num_classes: Of the data.
        subject: "forward", as the subject of the sentence.
        trains: Whether the net is to be trained.

    Example:
        >>> output_problem(torch.zeros(4, 7), 4, 10, "forward", trains=True).what
        'the net has 7 outputs, the data has 10 classes'
    """
    fix = f"return one tensor, the logits, of shape (N, {num_classes})"
    if not isinstance(outputs, Tensor):
        if "training" in subject:
            fix += ", in training mode too; some classes have an argument such as aux_logits=False"
        return Problem(what=f"{subject} returns {_described(outputs)}, expected the logits alone", fix=fix)
    shape, expected = tuple(outputs.shape), (num_images, num_classes)
    if shape == expected and outputs.is_floating_point():
        return None
    if shape == expected:
        return Problem(what=f"{subject} returns numbers of {outputs.dtype}, expected logits", fix=fix)
    what = f"{subject} returns {shape} for {num_images} images, expected {expected}"
    if len(shape) == 2 and shape[0] == num_images:
        return Problem(
            what=f"the net has {plural(shape[1], 'output')}, the data has {plural(num_classes, 'class')}",
            fix=f"give its last layer {plural(num_classes, 'output')}, perhaps by an argument of the class"
            if trains
            else f"name data of {plural(shape[1], 'class')}, those that the weights were trained on",
        )
    if len(shape) > 2 and shape[:2] == expected and outputs.numel() == num_images * num_classes:
        return Problem(what=what, fix="flatten them at the end of forward: x.flatten(1)")
    if len(shape) == 2 and shape[1] == num_classes:
        return Problem(
            what=f"{what}; a view such as x.view(-1, {num_classes}) mixes positions and images",
            fix="use images of the size that it was written for, data.resize=..., or pool before the view",
        )
    return Problem(what=what, fix=fix)


def _described(value: object) -> str:
    if isinstance(value, dict):
        return f"a dictionary with {', '.join(map(repr, list(value)[:_LISTED]))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


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
