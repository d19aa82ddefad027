"""The integer arithmetic against PyTorch: shapes, parameters and MACs."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.utils.flop_counter import FlopCounterMode

from convsmith.net.arithmetic import analyze
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from helpers.nets import legal, net_settings, notations

property_test = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


SIZE = 40


@property_test
@given(notations(), net_settings)
def test_shapes_parameters_and_macs(text: str, config: NetSettings) -> None:
    planned = legal(text, config)
    analysis, net = analyze(planned), build(planned)
    names = [op.name for op in planned.operations()]
    assert len(set(names)) == len(names)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in net.named_modules():
        module.register_forward_hook(
            lambda _, __, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:]))
        )
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        net.eval()(torch.zeros(1, *planned.input_shape))
    rows = {row.name: row.out_shape for row in analysis.rows}
    assert set(names) <= set(rows)
    assert rows == {name: shapes[name] for name in rows}
    assert analysis.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert analysis.buffers == sum(buffer.numel() for buffer in net.buffers())
    # PyTorch counts a multiply-accumulate as two operations.
    assert analysis.macs * 2 == counter.get_total_flops()


def test_receptive_field_of_a_dilated_pool() -> None:
    assert analyze(plan(parse("M2:s1:d3 / G F10"), (2, 16, 16))).receptive_field == 4


@pytest.mark.parametrize(
    "text", ["C4 +(G P4) F10", "C4:p0 / +(G) F10", "C4 +(G P8:s1) P10 / G", "C4:k1:s2 +(G P4) F10"]
)
def test_a_residual_around_global_average_pooling(text: str) -> None:
    """Its output sees every pixel that the map before it sees."""
    planned = plan(parse(text), (3, 16, 16))
    analysis = analyze(planned)
    net = build(planned).double().eval()
    for parameter in net.parameters():
        parameter.data.uniform_(0.1, 1)
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    net(image).sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1)) > 0
    rows, columns = 16 - seen.any(1).sum().item(), 16 - seen.any(0).sum().item()
    assert analysis.uncovered == (rows, columns)
