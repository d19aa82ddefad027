"""Logits, log-probabilities and probabilities are told apart by their values, and all train alike."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from convsmith.modules.outputs import recognize_outputs, use_logarithm


@given(
    seed=st.integers(0, 2**32),
    classes=st.integers(2, 200),
    scale=st.sampled_from([0.01, 1.0, 30.0]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_outputs_are_recognized_by_their_values(
    seed: int, classes: int, scale: float, dtype: torch.dtype
) -> None:
    logits = torch.randn(4, classes, generator=torch.Generator().manual_seed(seed)) * scale
    assert recognize_outputs(logits.to(dtype)) == "logits"
    assert recognize_outputs(logits.relu()) == "logits"
    # Of 0 and a large negative number alone, the exponentials would sum to one.
    assert recognize_outputs(-logits.relu() - 0.1) == "logits"
    if dtype is not torch.bfloat16:
        assert recognize_outputs(logits.to(dtype).softmax(1)) == "probabilities"
        assert recognize_outputs(logits.to(dtype).log_softmax(1)) == "log_probabilities"


def test_one_output_is_no_probability() -> None:
    assert recognize_outputs(torch.ones(4, 1)) == "logits"


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.Identity()])
def test_the_logarithm_of_probabilities_gives_the_loss_of_the_logits(end: nn.Module) -> None:
    """Cross-entropy is minus the logarithm of the softmax at the label, whatever the net ends with."""
    torch.manual_seed(0)
    body = nn.Linear(8, 5)
    images, labels = torch.randn(16, 8), torch.randint(5, (16,))
    net = nn.Sequential(body, end)
    if isinstance(end, nn.Softmax):
        use_logarithm(net)
    losses: list[Tensor] = []
    gradients: list[Tensor] = []
    for outputs in (net(images), body(images)):
        loss = functional.cross_entropy(outputs, labels)
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, body.weight)[0])
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_probability_of_zero_has_a_finite_logarithm_and_gradient() -> None:
    net = nn.Softmax(1)
    use_logarithm(net)
    logits = torch.tensor([[0.0, -1e4]], requires_grad=True)
    loss = functional.cross_entropy(net(logits), torch.tensor([1]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_the_logarithm_keeps_the_names_of_the_parameters() -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.Softmax(1))
    before = list(net.state_dict())
    use_logarithm(net)
    assert list(net.state_dict()) == before
